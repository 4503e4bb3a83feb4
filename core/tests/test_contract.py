from __future__ import annotations

from typing import Any

import pytest

from tandem import Contract, DefinitionError, Field, Prediction


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({"name": "y", "type": "bool"}, "float64, float32, int64, string or an array"),
        ({"name": "y", "buckets": (2, 1)}, "must ascend"),
        ({"name": "y", "buckets": (1, 1)}, "must ascend"),
        ({"name": "as_of"}, "reserved"),
    ],
)
def test_prediction_refused(definition: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        Prediction(**definition)


def test_schemas() -> None:
    contract = Contract(
        model="m",
        serving_keys={"id": Field("string")},
        passed_features={"x": Field("float64", gt=0, le=9, unit="km", description="how far")},
        request_parameters={
            "n": Field("int64", enum=(1, 2), default=2),
            "at": Field("timestamp", optional=True),
        },
        prediction=Prediction("y"),
        outputs={"label": Field("string")},
    )
    row = contract.row_schema()
    assert row["required"] == ["id", "x"]
    assert row["additionalProperties"] is False
    assert row["properties"] == {
        "id": {"type": "string"},
        "x": {"type": "number", "exclusiveMinimum": 0, "maximum": 9, "description": "how far [km]"},
        "n": {"type": ["integer", "null"], "enum": [1, 2, None], "default": 2},
        "at": {"type": ["string", "null"], "format": "date-time"},
    }
    assert contract.answer_schema()["required"] == ["y", "label"]


@pytest.mark.parametrize("column", [-1, True])
def test_a_prediction_is_a_column_from_0(column: int) -> None:
    with pytest.raises(DefinitionError, match="must be a whole number from 0"):
        Prediction("p", tensor="probabilities", column=column)
