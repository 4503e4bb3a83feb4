from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest

from tandem import Contract, Field, Prediction
from tandem.errors import ContractViolation, RequestTooLarge
from tandem.examples import TENSOR_DATATYPES
from tandem.inputs import Degradation
from tandem.oip import DATATYPES, InferRequest, RequestedOutput, Tensor
from tandem.rows import RowReader
from tandem_transformer.batch import BatchAnswer, CallAnswer
from tandem_transformer.v2 import V2

from . import world
from .ask import tensors
from .world import good_row

MISSING, STALE = Degradation("missing", "default"), Degradation("stale", "default")

CONTRACT = world.model().contract


def v2(max_rows: int = 1000) -> V2:
    return V2(CONTRACT, "parcels", "v1", max_rows)


def request(*inputs: Tensor, outputs: tuple[str, ...] = ()) -> InferRequest:
    return InferRequest("parcels", inputs, id="r1", outputs=[RequestedOutput(name) for name in outputs])


def changed(*changes: Tensor, without: str = "", rows: int = 1) -> InferRequest:
    """A good request with some tensors replaced."""
    by_name = {tensor.name: tensor for tensor in tensors([good_row()] * rows)}
    by_name |= {tensor.name: tensor for tensor in changes}
    by_name.pop(without, None)
    return request(*by_name.values())


def refused(wrong: InferRequest) -> list[dict[str, Any]]:
    with pytest.raises(ContractViolation) as error:
        v2().decode(wrong)
    return error.value.details


def test_metadata() -> None:
    metadata = v2().metadata()
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("parcels", ["v1"], "tandem")
    assert metadata["inputs"] == [
        {"name": "customer_id", "datatype": "BYTES", "shape": [-1]},
        {"name": "depot_id", "datatype": "INT64", "shape": [-1]},
        {"name": "weight_kg", "datatype": "FP64", "shape": [-1]},
        {"name": "fragile", "datatype": "BOOL", "shape": [-1]},
        {"name": "asked_at", "datatype": "BYTES", "shape": [-1]},
        {"name": "pickup_at", "datatype": "BYTES", "shape": [-1]},
        {"name": "postcode", "datatype": "BYTES", "shape": [-1]},
        {"name": "parts", "datatype": "INT64", "shape": [-1]},
        {"name": "tariff", "datatype": "BYTES", "shape": [-1]},
        {"name": "depth_m", "datatype": "FP64", "shape": [-1]},
    ]
    assert metadata["outputs"] == [
        {"name": "minutes", "datatype": "FP64", "shape": [-1]},
        {"name": "eta", "datatype": "BYTES", "shape": [-1]},
        {"name": "promised", "datatype": "INT64", "shape": [-1]},
        {"name": "slow", "datatype": "BOOL", "shape": [-1]},
    ]


def test_tensors_become_the_columns_that_rows_become() -> None:
    rows = [good_row(parts=parts, customer_id=f"c{parts}", depth_m=0.25 * parts) for parts in range(1, 6)]
    reader = RowReader(CONTRACT)
    expected = reader.columns([reader.row_type(**_parsed(row)) for row in rows])
    columns = v2().decode(request(*tensors(rows)))
    assert list(columns) == list(expected)
    for name, column in expected.items():
        assert columns[name].dtype == column.dtype
        np.testing.assert_array_equal(columns[name], column)


def _parsed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: datetime.fromisoformat(value) if name.endswith("_at") else value for name, value in row.items()}


def test_fields_left_out_become_their_defaults() -> None:
    rows = [{k: v for k, v in good_row().items() if k not in ("parts", "tariff", "depth_m", "asked_at")}] * 2
    columns = v2().decode(request(*tensors(rows)))
    assert columns["parts"].tolist() == [1, 1]
    assert columns["tariff"].tolist() == ["day", "day"]
    assert np.isnan(columns["depth_m"]).all()
    assert np.isnat(columns["asked_at"]).all()


@pytest.mark.parametrize("datatype", TENSOR_DATATYPES["float64"])
def test_numbers_of_any_kind(datatype: str) -> None:
    tensor = Tensor("weight_kg", datatype, (1, 1), np.array([[2]], DATATYPES[datatype]))
    column = v2().decode(changed(tensor))["weight_kg"]
    assert (column.tolist(), column.dtype) == ([2.0], np.dtype(np.float64))


def test_timestamps_in_microseconds() -> None:
    moment = int(np.datetime64("2026-05-01T08:00:00.000001", "us").astype(np.int64))
    column = v2().decode(changed(Tensor("pickup_at", "INT64", (1,), np.array([moment]))))["pickup_at"]
    assert column.tolist() == [np.datetime64("2026-05-01T08:00:00.000001").item()]


@pytest.mark.parametrize(
    ("tensor", "rule"),
    [
        (Tensor("weight_kg", "BYTES", (1,), np.array([b"2"], object)), "must have datatype FP64 or"),
        (Tensor("weight_kg", "UINT64", (1,), np.array([2], "u8")), "must have datatype FP64 or"),
        (Tensor("parts", "FP64", (1,), np.array([2.0])), "must have datatype INT64 or"),
        (Tensor("fragile", "INT64", (1,), np.array([1])), "must have datatype BOOL"),
        (Tensor("postcode", "INT64", (1,), np.array([1])), "must have datatype BYTES"),
        (Tensor("pickup_at", "FP64", (1,), np.array([1.0])), "must have datatype BYTES or INT64"),
        (Tensor("weight_kg", "FP64", (), np.array(2.0)), "must have shape [rows] or [rows, 1], not []"),
        (Tensor("weight_kg", "FP64", (1, 2), np.ones((1, 2))), "must have shape [rows] or [rows, 1], not [1, 2]"),
        (Tensor("weight_kg", "FP64", (0,), np.ones(0)), "must have at least one row"),
        (Tensor("colour", "FP64", (1,), np.ones(1)), "unknown field"),
    ],
)
def test_tensors_that_do_not_fit(tensor: Tensor, rule: str) -> None:
    (detail,) = refused(changed(tensor))
    assert (detail["row"], detail["field"]) == (None, tensor.name)
    assert detail["rule"].startswith(rule)


def test_a_tensor_that_lacks() -> None:
    assert refused(changed(without="weight_kg")) == [{"row": None, "field": "weight_kg", "rule": "is required"}]


def test_tensors_of_different_length() -> None:
    (detail,) = refused(changed(Tensor("weight_kg", "FP64", (2,), np.ones(2))))
    assert (detail["field"], detail["rule"]) == (
        "weight_kg",
        "has 2 rows, others have 1; all must have the same number",
    )


def test_no_tensors_at_all() -> None:
    assert {detail["rule"] for detail in refused(request())} == {"is required"}


@pytest.mark.parametrize(
    ("tensor", "rule"),
    [
        (Tensor("weight_kg", "FP64", (3,), np.array([1.0, np.nan, 1.0])), "must be finite"),
        (Tensor("weight_kg", "FP64", (3,), np.array([1.0, -np.inf, 1.0])), "must be finite"),
        (Tensor("weight_kg", "FP64", (3,), np.array([1.0, 1000.5, 1.0])), "must be <= 1000"),
        (Tensor("weight_kg", "FP64", (3,), np.array([1.0, 0.0, 1.0])), "must be > 0"),
        (Tensor("depth_m", "FP64", (3,), np.array([1.0, np.inf, 1.0])), "must be finite"),
        (Tensor("parts", "INT64", (3,), np.array([1, 0, 1])), "must be >= 1"),
        (Tensor("tariff", "BYTES", (3,), np.array([b"day", b"DAY", b"night"], object)), "must be one of day, night"),
        (Tensor("postcode", "BYTES", (3,), np.array([b"1", b"\xff", b"1"], object)), "must be UTF-8"),
        (Tensor("pickup_at", "INT64", (3,), np.array([1, -(2**63), 1])), "must be given"),
    ],
)
def test_values_that_break_the_contract(tensor: Tensor, rule: str) -> None:
    assert refused(changed(tensor, rows=3)) == [{"row": 1, "field": tensor.name, "rule": rule}]


@pytest.mark.parametrize("text", [b"2026-05-01T08:00:00", b"yesterday", b"", b"2026-13-01T08:00:00Z"])
def test_timestamps_that_are_none(text: bytes) -> None:
    good = b"2026-05-01T08:00:00Z"
    (detail,) = refused(changed(Tensor("pickup_at", "BYTES", (2,), np.array([good, text], object)), rows=2))
    assert (detail["row"], detail["field"]) == (1, "pickup_at")
    assert detail["rule"].startswith("must be an RFC 3339 timestamp")


def test_an_optional_number_may_be_nan() -> None:
    columns = v2().decode(changed(Tensor("depth_m", "FP64", (1,), np.array([np.nan]))))
    assert np.isnan(columns["depth_m"]).all()


def test_an_optional_timestamp_may_be_absent() -> None:
    columns = v2().decode(changed(Tensor("asked_at", "INT64", (1,), np.array([-(2**63)]))))
    assert np.isnat(columns["asked_at"]).all()


def test_an_output_that_is_unknown() -> None:
    with pytest.raises(ContractViolation) as error:
        v2().decode(request(*tensors([good_row()]), outputs=("minutes", "colour")))
    assert error.value.details == [{"row": None, "field": "colour", "rule": "unknown output"}]


def test_too_many_rows() -> None:
    with pytest.raises(RequestTooLarge, match="3 rows; at most 2"):
        v2(max_rows=2).decode(request(*tensors([good_row()] * 3)))


def answer(degraded: dict[int, dict[str, Any]] | None = None) -> CallAnswer:
    columns = {
        "minutes": np.array([1.5, 0.1, 3.0]),
        "eta": np.array(["a", "ü", ""], object),
        "promised": np.array([1, 2, 3]),
        "slow": np.array([True, False, True]),
    }
    return CallAnswer(BatchAnswer(columns, {}, degraded or {}, (0.0,) * 6), 1, 3)


def test_an_answer() -> None:
    response = v2().encode(answer(), request())
    assert (response.model_name, response.model_version, response.id) == ("parcels", "v1", "r1")
    outputs = {output.name: (output.datatype, output.shape, output.data.tolist()) for output in response.outputs}
    assert outputs == {
        "minutes": ("FP64", (2,), [0.1, 3.0]),
        "eta": ("BYTES", (2,), ["ü".encode(), b""]),
        "promised": ("INT64", (2,), [2, 3]),
        "slow": ("BOOL", (2,), [False, True]),
    }


def test_an_answer_with_the_outputs_that_were_asked_for() -> None:
    response = v2().encode(answer(), request(outputs=("slow", "eta")))
    assert {output.name for output in response.outputs} == {"eta", "slow"}


def test_an_answer_says_what_was_not_used() -> None:
    response = v2().encode(answer({0: {"x": STALE}, 2: {"route": MISSING, "customer": STALE}}), request())
    degraded = response.output("degraded")
    assert degraded.data.tolist() == [b"", b"route:missing:default,customer:stale:default"]


def test_degraded_is_said_whatever_was_asked_for() -> None:
    response = v2().encode(answer({2: {"route": MISSING}}), request(outputs=("eta",)))
    assert [output.name for output in response.outputs] == ["eta", "degraded"]


def test_degraded_is_there_when_it_is_asked_for() -> None:
    response = v2().encode(answer(), request(outputs=("degraded",)))
    assert response.output("degraded").data.tolist() == [b"", b""]


ARRAYS = Contract(
    model="m",
    serving_keys={"id": Field("string")},
    passed_features={
        "embedding": Field("float64[3]", ge=-1, le=1),
        "context": Field("float64[2]", default=[0.5, 0.25]),
        "hint": Field("float64[2]", optional=True),
        "price": Field("float64", gt=0, default=9.0),
        "since": Field("timestamp", default="2026-01-01T00:00:00Z"),
    },
    request_parameters={},
    prediction=Prediction("y"),
    outputs={},
)


def array_tensors(**changes: Any) -> InferRequest:
    values = {
        "id": np.array([b"a", b"b"], object),
        "embedding": np.array([[0.0, 1.0, -1.0], [0.5, 0.5, 0.5]], np.float32),
    } | {name: np.array(value) for name, value in changes.items()}
    datatypes = {"O": "BYTES", "f": "FP64", "i": "INT64"}
    return request(
        *(
            Tensor(name, "FP32" if value.dtype == np.float32 else datatypes[value.dtype.kind], value.shape, value)
            for name, value in values.items()
        )
    )


def test_arrays_are_tensors_of_two_dimensions() -> None:
    reader = V2(ARRAYS, "m", "v1", 100)
    assert reader.metadata()["inputs"][1] == {"name": "embedding", "datatype": "FP64", "shape": [-1, 3]}
    columns = reader.decode(array_tensors(context=[[1.0, 2.0], [3.0, 4.0]]))
    assert columns["embedding"].tolist() == [[0.0, 1.0, -1.0], [0.5, 0.5, 0.5]]
    assert columns["embedding"].dtype == np.float64
    assert columns["context"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert np.isnan(columns["hint"]).all()
    assert columns["hint"].shape == (2, 2)


def test_nan_and_nat_are_nulls() -> None:
    nat = np.iinfo(np.int64).min
    nulls = array_tensors(
        price=[np.nan, 2.0], since=[nat, 0], context=[[1.0, np.nan], [3.0, 4.0]], hint=[[1.0, np.nan], [1.0, 2.0]]
    )
    columns = V2(ARRAYS, "m", "v1", 100).decode(nulls)
    assert columns["price"].tolist() == [9.0, 2.0]
    assert columns["since"].tolist() == [datetime(2026, 1, 1), datetime(1970, 1, 1)]
    assert columns["context"].tolist() == [[0.5, 0.25], [3.0, 4.0]]
    assert np.isnan(columns["hint"]).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        (
            {"embedding": np.zeros((2, 2))},
            {"row": None, "field": "embedding", "rule": "must have shape [rows, 3], not [2, 2]"},
        ),
        (
            {"embedding": [[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]},
            {"row": 0, "field": "embedding", "rule": "number 1 must be <= 1"},
        ),
        (
            {"embedding": [[0.0, 0.0, 0.0], [0.0, 0.0, np.nan]]},
            {"row": 1, "field": "embedding", "rule": "number 2 must be finite"},
        ),
        ({"hint": [[0.0, np.inf], [0.0, 0.0]]}, {"row": 0, "field": "hint", "rule": "number 1 must be finite"}),
        ({"price": [0.0, np.nan]}, {"row": 0, "field": "price", "rule": "must be > 0"}),
    ],
)
def test_arrays_that_break_the_contract(changes: dict[str, Any], details: dict[str, Any]) -> None:
    with pytest.raises(ContractViolation) as error:
        V2(ARRAYS, "m", "v1", 100).decode(array_tensors(**changes))
    assert error.value.details == [details]
