from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tandem import Contract, Field, Prediction
from tandem.column_rules import MAX_VIOLATIONS, check_columns
from tandem.errors import ContractViolation
from tandem.rows import RowReader, json_values


def contract(as_of: str | None = None, **fields: Field) -> Contract:
    return Contract(
        model="m",
        serving_keys={"id": Field("string")},
        passed_features=fields,
        request_parameters={},
        prediction=Prediction("y"),
        outputs={},
        as_of=as_of,
    )


FULL = contract(
    "at",
    x=Field("float64", ge=0, lt=10),
    n=Field("int64", default=7),
    kind=Field("int64", enum=(1, 2), default=2),
    flag=Field("bool", default=True),
    color=Field("string", enum=("red", "blue")),
    maybe=Field("float64", optional=True),
    at=Field("timestamp", optional=True),
    since=Field("timestamp", default="2026-01-01T00:00:00Z"),
)
ROW = {"id": "a", "x": 1.5, "color": "red"}
NOW = np.datetime64("2026-05-01", "us")


def decode(reader: RowReader, rows: list[dict[str, Any]]) -> list[Any]:
    return msgspec.json.decode(msgspec.json.encode(rows), type=list[reader.row_type])


def test_columns_have_fillers_where_clients_left_fields_out() -> None:
    reader = RowReader(FULL)
    rows = [
        ROW,
        {**ROW, "n": None, "kind": 1, "flag": False, "maybe": 2, "at": "2026-05-01T10:00:00+02:00", "since": None},
    ]
    columns = reader.columns(decode(reader, rows))
    assert list(columns) == list(FULL.inputs)
    assert {name: column.dtype for name, column in columns.items()} == {
        name: field.dtype for name, field in FULL.inputs.items()
    }
    assert columns["n"].tolist() == [7, 7]
    assert columns["kind"].tolist() == [2, 1]
    assert columns["flag"].tolist() == [True, False]
    assert np.isnan(columns["maybe"][0])
    assert columns["maybe"][1] == 2
    assert np.isnat(columns["at"][0])
    assert columns["at"][1] == np.datetime64("2026-05-01T08:00")
    assert (columns["since"] == np.datetime64("2026-01-01")).all()
    as_of = reader.as_of(columns, NOW)
    assert as_of.tolist() == [NOW.item(), columns["at"][1].item()]


def test_without_as_of_the_time_of_arrival_counts() -> None:
    reader = RowReader(contract())
    assert reader.as_of(reader.columns(decode(reader, [{"id": "a"}] * 3)), NOW).tolist() == [NOW.item()] * 3


def test_given_counts_the_keys_that_stood_in_the_body() -> None:
    reader = RowReader(FULL)
    rows = [ROW, {**ROW, "n": None}, {**ROW, "n": 1, "flag": True}]
    assert reader.given(decode(reader, rows)) == sum(map(len, rows))


BROKEN = [
    ({"x": -1}, "x", "must be >= 0"),
    ({"x": 10}, "x", "must be < 10"),
    ({"x": "1"}, "x", "must be a number"),
    ({"x": True}, "x", "must be a number"),
    ({"x": None}, "x", "must not be null"),
    ({"n": 1.5}, "n", "must be a whole number"),
    ({"n": 2**63}, "n", "must fit into 64 bits"),
    ({"kind": 3}, "kind", "must be one of 1, 2"),
    ({"kind": True}, "kind", "must be a whole number"),
    ({"flag": 1}, "flag", "must be true or false"),
    ({"color": "green"}, "color", "must be one of red, blue"),
    ({"color": None}, "color", "must not be null"),
    (
        {"at": "2026-05-01T10:00:00"},
        "at",
        "must be an RFC 3339 timestamp with a time zone, such as 2026-05-01T08:00:00Z",
    ),
    ({"at": 5}, "at", "must be an RFC 3339 timestamp"),
    ({"stranger": 1}, "stranger", "unknown field"),
]


@pytest.mark.parametrize(("change", "field", "rule"), BROKEN)
def test_decoder_and_violations_agree(change: dict[str, Any], field: str, rule: str) -> None:
    reader = RowReader(FULL)
    with pytest.raises(msgspec.ValidationError):
        decode(reader, [ROW, {**ROW, **change}])
    (violation,) = reader.violations([ROW, {**ROW, **change}])
    assert (violation.row, violation.field, violation.rule) == (1, field, rule)


def test_field_left_out_and_row_that_is_none() -> None:
    reader = RowReader(FULL)
    violations = reader.violations([{"id": "a", "x": 1}, 5])
    assert [(v.row, v.field, v.rule) for v in violations] == [
        (0, "color", "is required"),
        (1, "", "a row must be an object"),
    ]


def test_violations_end_at_a_hundred() -> None:
    assert len(RowReader(FULL).violations([{}] * 1000)) == MAX_VIOLATIONS


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_numbers_that_are_none_are_refused_from_python_too(value: float) -> None:
    reader = RowReader(contract(x=Field("float64"), y=Field("float64", gt=0, default=1.0)))
    for name in ("x", "y"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert([{"id": "a", "x": 1.0, name: value}], list[reader.row_type])


@pytest.mark.parametrize("name", ["self", "cls", "items", "keys", "tag", "name", "type", "row", "encode", "Row"])
def test_fields_may_be_called_like_anything_of_python(name: str) -> None:
    reader = RowReader(contract(**{name: Field("int64", default=3)}))
    columns = reader.columns(decode(reader, [{"id": "a", name: 1}, {"id": "b"}]))
    assert columns[name].tolist() == [1, 3]


def columns(**changes: Any) -> dict[str, Any]:
    reader = RowReader(FULL)
    good = reader.columns(decode(reader, [ROW, ROW]))
    return good | {name: np.array(values, good[name].dtype) for name, values in changes.items()}


def test_columns_that_obey_pass() -> None:
    check_columns(FULL, columns())


@pytest.mark.parametrize(
    ("changes", "violations"),
    [
        ({"x": [1, -1]}, [(1, "x", "must be >= 0")]),
        ({"x": [10, 1]}, [(0, "x", "must be < 10")]),
        ({"x": [1, np.nan]}, [(1, "x", "must be finite")]),
        ({"x": [np.inf, 1]}, [(0, "x", "must be finite")]),
        ({"maybe": [np.nan, np.inf]}, [(1, "maybe", "must be finite")]),
        ({"kind": [1, 3]}, [(1, "kind", "must be one of 1, 2")]),
        ({"color": ["red", "green"]}, [(1, "color", "must be one of red, blue")]),
        ({"since": ["NaT", "2026-01-01"]}, [(0, "since", "must be given")]),
        (
            {"x": [-1, -1], "kind": [3, 1]},
            [(0, "x", "must be >= 0"), (0, "kind", "must be one of 1, 2"), (1, "x", "must be >= 0")],
        ),
    ],
)
def test_columns_that_break_rules(changes: dict[str, Any], violations: list[Any]) -> None:
    with pytest.raises(ContractViolation) as caught:
        check_columns(FULL, columns(**changes))
    assert [(v.row, v.field, v.rule) for v in caught.value.violations] == violations


def test_values_as_json_has_them() -> None:
    assert json_values(np.array([1.5, 2.0])) == [1.5, 2.0]
    assert json_values(np.array(["a"], object)) == ["a"]
    instants = np.array(["2026-05-01T08:00:00.25", "NaT"], "datetime64[us]")
    assert json_values(instants) == ["2026-05-01T08:00:00.250000Z", None]
