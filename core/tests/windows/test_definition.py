"""What a view declares about its windows: mistakes are named with field and rule, and all of it is in the checksums."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tandem import DefinitionError, Feature, FeatureView, Statistic, Window
from tandem.packed_rows import RowLayout

PARTS: dict[str, Any] = {
    "name": "pace",
    "keys": ["athlete"],
    "features": [Feature("mean_pace", statistic=Statistic("mean", "pace"))],
    "window": Window(size="5m", event_time="sent_at", grace="10s"),
}


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({}, "needs either size or gap"),
        ({"size": "1m", "gap": "1m"}, "needs either size or gap"),
        ({"gap": "1m", "hop": "1m"}, "hop is for windows with a size"),
        ({"size": "1m", "hop": "2m"}, "hop '2m' must be at most size '1m'"),
        ({"size": "1d", "hop": "1s"}, "hop '1s' puts an event into 86400 windows of size '1d'.*at most 1440"),
        ({"size": "1 minute"}, "size '1 minute' is not a duration"),
        ({"size": "0s"}, "size '0s' must be longer than nothing"),
        ({"gap": "0.0000001s"}, "gap '0.0000001s' must be longer than nothing"),
        ({"size": "1m", "grace": "later"}, "grace 'later' is not a duration"),
        ({"size": "1m", "event_time": "sent-at"}, "event_time 'sent-at': a name must be a Python identifier"),
    ],
)
def test_window_refused(definition: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        Window(**{"event_time": "sent_at", "grace": "0s"} | definition)


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (("median", "pace"), "statistic 'median': kind is one of count, sum"),
        (("mean",), "statistic 'mean': needs a column"),
        (("mean", "a-b"), "statistic 'mean': column 'a-b': a name must be"),
        (("mean", "pace", "string"), "statistic 'mean': type is 'string'; it is one of float64, int64"),
        (("distinct", "pace"), "statistic 'distinct': type is 'float64'; it is one of string"),
        (("last", "pace", "float64[3]"), "statistic 'last': type is 'float64\\[3\\]'"),
    ],
)
def test_statistic_refused(definition: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        Statistic(*definition)


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        (
            {"type": "float64", "statistic": Statistic("count")},
            "'x': statistic 'count' is int64, and the feature float64",
        ),
        (
            {"type": "int64", "statistic": Statistic("max", "n", "int64")},
            "'x': statistic 'max' may be null; the feature",
        ),
    ],
)
def test_feature_refused(feature: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        Feature("x", **feature)


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({"window": None}, "'pace': feature 'mean_pace': statistic is mean; the view has no window"),
        ({"features": [Feature("x")]}, "'pace': feature 'x': statistic is None; in a view with a window"),
        (
            {"features": [*PARTS["features"], Feature("x", "int64", statistic=Statistic("count", "pace", "string"))]},
            "'pace': feature 'x': column 'pace' is string here, and float64 elsewhere",
        ),
        (
            {"features": [Feature("x", statistic=Statistic("mean", "sent_at"))]},
            "'x': column 'sent_at' is float64 here, and timestamp elsewhere",
        ),
    ],
)
def test_view_refused(definition: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        FeatureView(**PARTS | definition)


def test_a_view_with_a_window_is_read_from_a_manifest_as_it_was() -> None:
    view = FeatureView(**PARTS)
    assert msgspec.json.decode(msgspec.json.encode(view), type=FeatureView) == view
    assert hash(view) == hash(FeatureView(**PARTS))


def test_a_view_without_a_window_is_written_as_before() -> None:
    text = msgspec.json.encode(FeatureView("v", keys=["k"], features=[Feature("x")]))
    assert text == b'{"name":"v","keys":["k"],"features":[{"name":"x"}]}'
    assert RowLayout(FeatureView("v", keys=["k"], features=[Feature("x")])).checksum == 0x30A3EFD


@pytest.mark.parametrize(
    "definition",
    [
        {"window": Window(size="6m", event_time="sent_at", grace="10s")},
        {"window": Window(size="5m", event_time="sent_at", grace="11s")},
        {"window": Window(gap="5m", event_time="sent_at", grace="10s")},
        {"features": [Feature("mean_pace", statistic=Statistic("max", "pace"))]},
        {"features": [Feature("mean_pace", statistic=Statistic("mean", "speed"))]},
    ],
)
def test_another_window_or_statistic_has_another_checksum(definition: dict[str, Any]) -> None:
    assert RowLayout(FeatureView(**PARTS | definition)).checksum != RowLayout(FeatureView(**PARTS)).checksum
