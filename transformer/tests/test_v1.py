from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from core.tests.oip.peaks import MIB
from hypothesis import given
from hypothesis import strategies as st

from tandem import Contract, Field, Prediction
from tandem.errors import ContractViolation, MalformedRequest, RequestError, RequestTooLarge
from tandem.inputs import Degradation
from tandem.oip import jsonscan
from tandem.rows import RowReader
from tandem.signature import Signature, TensorSpec
from tandem_transformer.batch import BatchAnswer, CallAnswer
from tandem_transformer.v1 import V1

from . import world
from .world import good_row

READER = RowReader(world.model().contract)
SIGNATURE = Signature((TensorSpec("x", "float32", ("a", "b"), (-1, 2)),), ())
ANY_TEXT = st.text(st.characters(codec="utf-8"))


def v1(max_rows: int = 1000) -> V1:
    return V1(READER, SIGNATURE, "parcels", "v1", max_rows)


def body(*rows: Any, **members: Any) -> bytes:
    return json.dumps({"instances": rows, **members}).encode()


def refused(content: bytes) -> RequestError:
    with pytest.raises(RequestError) as error:
        v1().decode(content)
    return error.value


def test_rows() -> None:
    (first, second) = v1().decode(body(good_row(), good_row(parts=..., tariff=None)))
    assert (first.customer_id, first.depot_id, first.weight_kg) == ("c1", 2, 2.5)  # type: ignore[attr-defined]
    assert (second.parts, second.tariff) == (msgspec.UNSET, None)  # type: ignore[attr-defined]


def test_whole_numbers_are_numbers() -> None:
    assert v1().decode(body(good_row(weight_kg=3)))[0].weight_kg == 3.0  # type: ignore[attr-defined]


def test_every_broken_rule_is_named() -> None:
    error = refused(body(good_row(), good_row(weight_kg=0, colour="red"), "row", good_row(fragile=..., parts=21)))
    assert isinstance(error, ContractViolation)
    assert error.details == [
        {"row": 1, "field": "colour", "rule": "unknown field"},
        {"row": 1, "field": "weight_kg", "rule": "must be > 0"},
        {"row": 2, "field": "", "rule": "a row must be an object"},
        {"row": 3, "field": "fragile", "rule": "is required"},
        {"row": 3, "field": "parts", "rule": "must be <= 20"},
    ]


def test_a_hundred_broken_rules_are_named() -> None:
    error = refused(body(*[good_row(weight_kg=-1)] * 150))
    assert len(error.details) == 100
    assert error.details[99]["row"] == 99


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", 'with a list of "instances"'),
        (b"{}", 'with a list of "instances"'),
        (b'{"instances": {}}', 'with a list of "instances"'),
        (b'{"instances": []}', '"instances" is empty'),
        (body(good_row(), instance="x"), "unknown key 'instance'"),
        (body(good_row()) + b"x", "not JSON"),
        (b"\xef\xbb\xbf" + body(good_row()), "not JSON"),
        (b'{"instances": "\xff"}', "not JSON"),
        (b'{"instances":' + b"[" * 100_000, "nested too deeply"),
        (b'{"instances":[{"customer_id":' * 50_000, "nested too deeply"),
    ],
)
def test_what_is_no_request(content: bytes, reason: str) -> None:
    error = refused(content)
    assert isinstance(error, MalformedRequest)
    assert reason in str(error)


@pytest.mark.parametrize(
    "content",
    [
        body(good_row()).replace(b'"parts"', b'"parts": 9, "parts"'),
        body(good_row()).replace(b'"parts"', b'"parts" : 9, "parts"'),
        body(good_row()).replace(b'"parts"', b'"p\\u0061rts": 9, "parts"'),
        body(good_row()).replace(b'"parts"', b'"parts"\n:9, "parts"'),
        body(good_row())[:-1] + b"," + body(good_row())[1:],
        # one key twice, another one left out: the number of keys is right
        body(good_row(depth_m=...)).replace(b'"parts"', b'"parts":9,"parts"'),
        # as many keys as there are seem right, because the value of another looks like one
        body(good_row(postcode='":')).replace(b'"parts"', b'"parts":9,"parts"'),
        body(good_row(tariff=None)).replace(b'"tariff": null', b'"tariff": null, "tariff": null'),
    ],
)
def test_a_key_given_twice(content: bytes) -> None:
    error = refused(content)
    assert (error.status, error.code) == (400, "duplicate_key")


@given(st.lists(st.fixed_dictionaries({"customer_id": ANY_TEXT, "postcode": ANY_TEXT}), min_size=1, max_size=3))
def test_text_of_any_kind_is_no_key(texts: list[dict[str, str]]) -> None:
    rows = [good_row(**text) for text in texts]
    decoded = v1().decode(body(*rows))
    assert [{"customer_id": r.customer_id, "postcode": r.postcode} for r in decoded] == texts  # type: ignore[attr-defined]
    assert len(v1().decode(msgspec.json.encode({"instances": rows}))) == len(rows)


def test_too_many_rows() -> None:
    assert len(v1(max_rows=2).decode(body(good_row(), good_row()))) == 2
    with pytest.raises(RequestTooLarge, match="3 instances; at most 2") as error:
        v1(max_rows=2).decode(body(good_row(), good_row(), good_row()))
    assert error.value.code == "too_many_rows"


def batch(degraded: dict[int, dict[str, Any]] | None = None) -> BatchAnswer:
    return BatchAnswer(
        {
            "minutes": np.array([1.5, 0.1, 3.0]),
            "eta": np.array(["a", "ü", '"'], object),
            "promised": np.array([1, 2, 3]),
            "slow": np.array([True, False, True]),
        },
        {"x": np.arange(6, dtype=np.float32).reshape(3, 2)},
        degraded or {},
        (0.0,) * 6,
    )


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (1, 3), (1, 2)])
def test_an_answer(start: int, stop: int) -> None:
    predictions = [
        {"minutes": 1.5, "eta": "a", "promised": 1, "slow": True},
        {"minutes": 0.1, "eta": "ü", "promised": 2, "slow": False},
        {"minutes": 3.0, "eta": '"', "promised": 3, "slow": True},
    ]
    answer = json.loads(v1().encode(CallAnswer(batch(), start, stop), explain=False))
    assert answer == {"predictions": predictions[start:stop], "model_name": "parcels", "model_version": "v1"}


def test_an_answer_with_reasons_and_vectors() -> None:
    answer = json.loads(
        v1().encode(CallAnswer(batch({1: {"route": Degradation("missing", "default")}}), 1, 3), explain=True)
    )
    degraded = [prediction.get("degraded") for prediction in answer["predictions"]]
    assert degraded == [{"route": {"reason": "missing", "source": "default"}}, None]
    assert [prediction["vector"] for prediction in answer["predictions"]] == [{"a": 2, "b": 3}, {"a": 4, "b": 5}]


def test_encoding_an_answer_leaves_the_batch_as_it_is() -> None:
    shared = batch()
    first = v1().encode(CallAnswer(shared, 0, 1), explain=True)
    assert v1().encode(CallAnswer(shared, 0, 1), explain=True) == first
    assert b"vector" not in v1().encode(CallAnswer(shared, 0, 1), explain=False)


def test_arrays_are_lists_of_numbers() -> None:
    contract = Contract(
        model="m",
        serving_keys={"id": Field("string")},
        passed_features={"e": Field("float64[2]", ge=0), "c": Field("float64[2]", default=[1, 2])},
        request_parameters={},
        prediction=Prediction("y"),
        outputs={},
    )
    reader = RowReader(contract)
    protocol = V1(reader, SIGNATURE, "m", "v1", 10)
    columns = reader.columns(protocol.decode(body({"id": "a", "e": [1, 2.5]}, {"id": "b", "e": [0, 1], "c": [3, 4]})))
    assert columns["e"].tolist() == [[1, 2.5], [0, 1]]
    assert columns["c"].tolist() == [[1, 2], [3, 4]]
    rows = [{"id": "a", "e": [1]}, {"id": "a", "e": [1, -1]}, {"id": "a", "e": 5}, {"id": "a", "e": [1, None]}]
    with pytest.raises(ContractViolation) as error:
        protocol.decode(body(*rows))
    assert [(detail["row"], detail["rule"]) for detail in error.value.details] == [
        (0, "must be a list of 2 numbers, not 1"),
        (1, "number 1 must be >= 0"),
        (2, "must be a list of 2 numbers"),
        (3, "number 1 must be a number"),
    ]


@pytest.fixture(params=[200, 700])
def in_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies of a few rows are long."""
    monkeypatch.setattr(jsonscan, "LONG", request.param)
    monkeypatch.setattr(jsonscan, "_LONG_ARRAY", 100)


BAD = [
    {"weight_kg": 0},
    {"colour": "red"},
    {"fragile": ...},
    {"parts": 21.5},
    {"parts": None, "depth_m": "x"},
    {"parts": 2.0},
]


def test_a_long_body_comes_to_the_same_as_its_rows(in_pieces: None) -> None:
    rng = np.random.default_rng(7)
    for bad_rows in ([], [3], [0, 29], range(30), [5, 6, 7]):
        rows: list[Any] = world.rows(30, seed=len(bad_rows))
        for index in bad_rows:
            rows[index] = good_row(**BAD[int(rng.integers(len(BAD)))])
        wrong = []
        for index, row in enumerate(rows):
            try:
                v1().decode(body(row))
            except ContractViolation as error:
                wrong += [detail | {"row": index} for detail in error.details]
        if wrong:
            assert refused(body(*rows)).details == wrong
        else:
            assert v1().decode(body(*rows)) == [v1().decode(body(row))[0] for row in rows]


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_of_a_long_body(in_pieces: None, indent: int | None) -> None:
    rows = world.rows(40, seed=1)
    content = json.dumps({"signature_name": "x", "instances": rows, "parameters": {"a": [1]}}, indent=indent).encode()
    assert [row.customer_id for row in v1().decode(content)] == [row["customer_id"] for row in rows]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (body(*[good_row()] * 30).replace(b"}, {", b"} {", 1), MalformedRequest, "not JSON"),
        (body(*[good_row()] * 30)[:-1] + b",}", MalformedRequest, "not JSON"),
        (body(*[good_row()] * 30)[:-2], MalformedRequest, "brackets do not match"),
        (body(*[good_row()] * 30) + b"x", MalformedRequest, "not JSON"),
        (body(*[good_row()] * 30).replace(b"]}", b',]}'), MalformedRequest, "not JSON|is empty"),
        (b'{"instances":[' + b"{}," * 1000 + b"{}]}", RequestTooLarge, "more than 1000 instances"),
        (body(*[good_row()] * 1001), RequestTooLarge, "more than 1000 instances"),
        (body(*[good_row()] * 30, other=1), MalformedRequest, "unknown key 'other'"),
        (body(*[good_row()] * 30, parameters=[1] * 500), MalformedRequest, "where none belongs"),
        (body(*[good_row()] * 30).replace(b'"parts": 2', b'"parts": 2,"parts": 2', 1), MalformedRequest, "given twice"),
        (body(*[good_row()] * 30)[:-1] + b', "instances": []}', MalformedRequest, "given twice"),
        (b'{"rows":[' + b"{}," * 1000 + b"{}]}", MalformedRequest, "with a list of"),
        (json.dumps([good_row()] * 30).encode(), MalformedRequest, "must be an object with a list"),
        (body(good_row(), {f"k{index}": 1 for index in range(5000)}), ContractViolation, "row 1.* at most 1030 values"),
    ],
)  # fmt: skip
def test_a_long_body_that_is_refused(in_pieces: None, content: bytes, error: type[RequestError], reason: str) -> None:
    with pytest.raises(error, match=reason):
        v1().decode(content)


def test_errors_of_a_long_body_are_collected_up_to_a_hundred(in_pieces: None) -> None:
    error = refused(body(good_row(), *[good_row(weight_kg=0)] * 900))
    assert [detail["row"] for detail in error.details] == list(range(1, 101))
    constants = refused(body(*[good_row()] * 20, good_row(weight_kg=float("nan"))))
    assert constants.details[0]["row"] == 20


def test_a_long_value_is_a_value(in_pieces: None) -> None:
    (row,) = v1().decode(body(good_row(customer_id="x, [" * 500)))
    assert row.customer_id == "x, [" * 500  # type: ignore[attr-defined]


def test_no_body_takes_more_than_four_times_its_bytes_and_a_mebibyte() -> None:
    measured = json.loads(subprocess.check_output([sys.executable, "-m", "transformer.tests.peaks"]))
    beyond = {
        name: f"{peak} beside {size} bytes: {outcome}"
        for name, (size, peak, outcome) in measured.items()
        if size + peak > 4 * size + MIB
    }
    assert not beyond
    assert {outcome for _, _, outcome in measured.values()} >= {"ok", "too_many_rows", "too_many_parts"}
