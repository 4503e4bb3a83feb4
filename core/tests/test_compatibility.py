from __future__ import annotations

from typing import Any

import pytest

from tandem import Contract, Field, Prediction
from tandem.compatibility import ContractChange, compare


def contract(**changes: Any) -> Contract:
    parts: dict[str, Any] = {
        "model": "m",
        "serving_keys": {"id": Field("string")},
        "passed_features": {"x": Field("float64")},
        "request_parameters": {},
        "prediction": Prediction("y", unit="s"),
        "outputs": {"text": Field("string")},
    }
    return Contract(**(parts | changes))


def passing(field: Field) -> Contract:
    return contract(passed_features={"x": field})


BREAKING = True
HARMLESS = False
X = Field("float64", ge=0, le=10)
E = Field("string", enum=("a", "b"))

INPUTS = [
    (X, Field("int64", ge=0, le=10), BREAKING, "type changed from float64 to int64"),
    (Field("int64"), Field("float64"), HARMLESS, "type changed from int64 to float64"),
    (Field("float64", unit="s"), Field("float64", unit="ms"), BREAKING, "unit changed from s to ms"),
    (Field("float64"), Field("float64", unit="ms"), BREAKING, "unit changed from none to ms"),
    (Field("float64", default=1), Field("float64"), BREAKING, "now required"),
    (Field("float64"), Field("float64", default=1), HARMLESS, "may now be left out"),
    (Field("float64"), Field("float64", optional=True), HARMLESS, "may now be left out"),
    (Field("float64", default=1), Field("float64", default=2), HARMLESS, "default changed from 1 to 2"),
    (X, Field("float64", ge=1, le=10), BREAKING, "lower bound narrowed"),
    (X, Field("float64", gt=0, le=10), BREAKING, "lower bound narrowed"),
    (X, Field("float64", ge=0, lt=10), BREAKING, "upper bound narrowed"),
    (X, Field("float64", ge=0, le=9), BREAKING, "upper bound narrowed"),
    (Field("float64", gt=0), Field("float64", ge=0), HARMLESS, "lower bound widened"),
    (X, Field("float64", le=10), HARMLESS, "lower bound widened"),
    (X, Field("float64", ge=0, le=11), HARMLESS, "upper bound widened"),
    (Field("float64"), Field("float64", ge=-1e300), BREAKING, "lower bound narrowed"),
    (E, Field("string", enum=("b", "a")), None, ""),
    (E, Field("string", enum=("a",)), BREAKING, "no longer allowed: b"),
    (E, Field("string", enum=("a", "b", "c")), HARMLESS, "also allowed: c"),
    (E, Field("string"), HARMLESS, "any value is allowed now"),
    (Field("string"), E, BREAKING, "only a, b allowed now"),
    (Field("float64"), Field("float64", description="more words"), None, ""),
    (Field("float32"), Field("float64"), HARMLESS, "type changed from float32 to float64"),
    (Field("int64[2]"), Field("float32[2]"), HARMLESS, "type changed from int64[2] to float32[2]"),
    (Field("float64[2]"), Field("float32[2]"), BREAKING, "type changed from float64[2] to float32[2]"),
    (Field("int64[2]"), Field("int64[3]"), BREAKING, "type changed from int64[2] to int64[3]"),
    (Field("int64[2]"), Field("int64[<=2]"), HARMLESS, "type changed from int64[2] to int64[<=2]"),
    (Field("int64[<=2]"), Field("int64[<=3]"), HARMLESS, "type changed from int64[<=2] to int64[<=3]"),
    (Field("int64[<=3]"), Field("int64[<=2]"), BREAKING, "type changed from int64[<=3] to int64[<=2]"),
    (Field("int64[<=2]"), Field("int64[2]"), BREAKING, "type changed from int64[<=2] to int64[2]"),
    (Field("int64"), Field("int64[1]"), BREAKING, "type changed from int64 to int64[1]"),
    (Field("bytes"), Field("string"), BREAKING, "type changed from bytes to string"),
    (Field("bytes", max_bytes=9), Field("bytes", max_bytes=8), BREAKING, "largest size narrowed"),
    (Field("bytes"), Field("bytes", max_bytes=8), BREAKING, "largest size narrowed"),
    (Field("bytes", max_bytes=8), Field("bytes"), HARMLESS, "largest size widened"),
]


@pytest.mark.parametrize(("old", "new", "breaking", "message"), INPUTS)
def test_change_of_a_request_field(old: Field, new: Field, breaking: bool | None, message: str) -> None:
    expected = [] if breaking is None else [ContractChange("x", breaking, message)]
    assert compare(passing(old), passing(new)) == expected


OTHERS = [
    ({"model": "n"}, "model", BREAKING, "renamed from m to n"),
    ({"passed_features": {}}, "x", BREAKING, "removed: requests that have it are refused"),
    ({"request_parameters": {"n": Field("int64")}}, "n", BREAKING, "added, required"),
    ({"request_parameters": {"n": Field("int64", default=1)}}, "n", HARMLESS, "added, may be left out"),
    ({"outputs": {}}, "text", BREAKING, "removed from answers"),
    ({"outputs": {"text": Field("string"), "z": Field("bool")}}, "z", HARMLESS, "added to answers"),
    ({"outputs": {"text": Field("float64")}}, "text", BREAKING, "type in answers changed from string to float64"),
    ({"prediction": Prediction("y", unit="min")}, "y", BREAKING, "unit in answers changed from s to min"),
    (
        {"prediction": Prediction("y", "int64", unit="s")},
        "y",
        BREAKING,
        "type in answers changed from float64 to int64",
    ),
]


CLASSES = contract(prediction=Prediction("y", unit="s", classes=["a", "b"]))


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (Prediction("y", unit="s", classes=["b", "a"]), "classes in answers changed"),
        (Prediction("y", "float64[2]", unit="s"), "classes in answers changed"),
        (Prediction("y", unit="s", classes=["a", "b", "c"]), "type in answers changed from float64[2] to float64[3]"),
    ],
)
def test_other_classes_break_clients(prediction: Prediction, message: str) -> None:
    assert compare(CLASSES, contract(prediction=prediction)) == [ContractChange("y", BREAKING, message)]


def test_a_further_prediction_is_added_to_answers() -> None:
    changed = contract(further_predictions=(Prediction("z"),))
    assert compare(contract(), changed) == [ContractChange("z", HARMLESS, "added to answers")]
    assert compare(changed, contract()) == [ContractChange("z", BREAKING, "removed from answers")]


@pytest.mark.parametrize(("changes", "field", "breaking", "message"), OTHERS)
def test_other_changes(changes: dict[str, Any], field: str, breaking: bool, message: str) -> None:
    assert compare(contract(), contract(**changes)) == [ContractChange(field, breaking, message)]


def test_moving_a_field_between_its_groups_changes_nothing_for_clients() -> None:
    moved = contract(passed_features={}, request_parameters={"x": Field("float64")})
    assert compare(contract(), moved) == []


def test_other_buckets_are_told_but_break_nothing() -> None:
    (change,) = compare(contract(), contract(prediction=Prediction("y", unit="s", buckets=(1, 2))))
    assert not change.breaking
    assert "buckets" in change.what


def test_renamed_prediction_breaks() -> None:
    changes = compare(contract(), contract(prediction=Prediction("z", unit="s")))
    assert [change.breaking for change in changes] == [BREAKING, HARMLESS]
