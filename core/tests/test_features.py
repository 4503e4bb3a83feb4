from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tandem import DefinitionError, Feature, FeatureView
from tandem.durations import parse_duration

VIEW = FeatureView("v", keys=["k"], features=[Feature("x"), Feature("n", "int64"), Feature("s", "string")])


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({"keys": []}, "at least one key"),
        ({"features": []}, "at least one key and one feature"),
        ({"features": [Feature("k")]}, "k named twice"),
        ({"features": [Feature("x"), Feature("x")]}, "x named twice"),
        ({"max_age": "2 days"}, "not a duration"),
        ({"name": "a-b"}, "Python identifier"),
    ],
)
def test_view_refused(definition: dict[str, Any], reason: str) -> None:
    parts = {"name": "v", "keys": ["k"], "features": [Feature("x")]} | definition
    with pytest.raises(DefinitionError, match=reason):
        FeatureView(**parts)


def test_use_of_a_view_names_its_columns() -> None:
    use = VIEW.on(prefix="origin_", k="origin_id")
    assert (use.name, use.serving_keys, use.column_names()) == (
        "origin_v", ("origin_id",), ("origin_x", "origin_n", "origin_s"))  # fmt: skip
    with pytest.raises(DefinitionError, match="no key z"):
        VIEW.on(z="a")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("2d", 172800), ("1w", 604800), ("3m", 180)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == np.timedelta64(seconds, "s")
