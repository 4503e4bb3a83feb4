"""Arrays, arrays of different length and bytes come to the same columns whatever the protocol, and back to clients."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem import Contract, Field, Prediction
from tandem.comparison import first_difference
from tandem.dtypes import Columns
from tandem.errors import ContractViolation
from tandem.oip import InferRequest, Tensor, protobuf, rest
from tandem.rows import RowReader
from tandem.signature import Signature
from tandem_transformer.batch import BatchAnswer, CallAnswer
from tandem_transformer.v1 import V1
from tandem_transformer.v2 import V2

CONTRACT = Contract(
    model="m",
    serving_keys={"id": Field("string")},
    passed_features={
        "x": Field("float32", ge=-1e30),
        "e": Field("float32[3]", le=1e30),
        "ids": Field("int64[2]"),
        "hint": Field("float32[2]", optional=True),
        "recent": Field("int64[<=4]", ge=-9, default=[1, 2]),
        "weights": Field("float64[<=3]", default=[]),
        "photo": Field("bytes", max_bytes=12, default="AAAA"),
    },
    request_parameters={},
    prediction=Prediction("kind", classes=["a", "b"]),
    further_predictions=(Prediction("vector", "float32[2]"), Prediction("ranks", "int64[3]"), Prediction("y")),
    outputs={"top": Field("float32")},
)
READER = RowReader(CONTRACT)
V1_PROTOCOL = V1(READER, Signature((), ()), "m", "v1", 100)
V2_PROTOCOL = V2(CONTRACT, "m", "v1", 100)

FLOATS = st.floats(-(2.0**90), 2.0**90, width=32)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(max_size=3),
            "x": st.floats(-1e30, 1e30),  # of more digits than a float32 has
            "e": st.lists(st.floats(-1e30, 1e30), min_size=3, max_size=3),
            "ids": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2),
            "hint": st.none() | st.lists(FLOATS, min_size=2, max_size=2),
            "recent": st.lists(st.integers(-9, 2**63 - 1), max_size=4),
            "weights": st.lists(st.floats(-1e300, 1e300), max_size=3),
            # text: JSON has no other form for elements of BYTES
            "photo": st.text(st.characters(codec="ascii"), max_size=12).map(str.encode),
        }
    ),
    min_size=1,
    max_size=5,
)


def from_json(rows: Sequence[dict[str, Any]]) -> Columns:
    body = [row | {"photo": b64encode(row["photo"]).decode()} for row in rows]
    return READER.columns(V1_PROTOCOL.decode(json.dumps({"instances": body}).encode()))


def tensor(name: str, datatype: str, values: Any, dtype: Any) -> Tensor:
    data = np.array(values, dtype)
    return Tensor(name, datatype, data.shape, data)


def texts(name: str, values: Sequence[bytes]) -> Tensor:
    data = np.empty(len(values), object)
    data[:] = values
    return Tensor(name, "BYTES", data.shape, data)


def padded(name: str, datatype: str, arrays: Sequence[list[Any]], dtype: Any, filler: Any) -> list[Tensor]:
    """Values and mask, as wide as the longest array."""
    width = max(map(len, arrays))
    mask = [[at < len(array) for at in range(width)] for array in arrays]
    values = [array + [filler] * (width - len(array)) for array in arrays]
    return [
        tensor(name, datatype, np.array(values, dtype).reshape(len(arrays), width), dtype),
        tensor(f"{name}_mask", "BOOL", np.array(mask, bool).reshape(len(arrays), width), bool),
    ]


def as_request(rows: Sequence[dict[str, Any]], wide: str = "FP32") -> InferRequest:
    """The rows as tensors; what stands in the padding breaks every rule."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    dtype = {"FP32": np.float32, "FP64": np.float64}[wide]
    hints = [[np.nan] * 2 if hint is None else hint for hint in columns["hint"]]
    return InferRequest(
        "m",
        [
            texts("id", [name.encode() for name in columns["id"]]),
            tensor("x", wide, columns["x"], dtype),
            tensor("e", wide, columns["e"], dtype),
            tensor("ids", "INT64", columns["ids"], np.int64),
            tensor("hint", "FP32", hints, np.float32),
            *padded("recent", "INT64", columns["recent"], np.int64, -10),
            *padded("weights", "FP64", columns["weights"], np.float64, np.nan),
            texts("photo", columns["photo"]),
        ],
    )


def over_rest(request: InferRequest, *, binary_data: bool) -> InferRequest:
    body, length = rest.encode_request(request, binary_data=binary_data)
    return rest.decode_request(body, length)


WIRES = {
    "REST, binary": lambda request: over_rest(request, binary_data=True),
    "REST, JSON": lambda request: over_rest(request, binary_data=False),
    "gRPC": lambda request: protobuf.decode_request(protobuf.encode_request(request)),
}


@given(ROWS, st.sampled_from(["FP32", "FP64"]))
def test_columns_are_the_same_whatever_the_protocol(rows: list[dict[str, Any]], wide: str) -> None:
    expected = from_json(rows)
    for wire, sent in WIRES.items():
        columns = V2_PROTOCOL.decode(sent(as_request(rows, wide)))
        for name, column in expected.items():
            assert first_difference(columns[name], column) is None, f"{name} by {wire}"


def row(**changes: Any) -> dict[str, Any]:
    good = {"id": "a", "x": 1, "e": [1, 2, 3], "ids": [1, 2], "hint": None, "recent": [3], "weights": []}
    return good | {"photo": b"abc"} | changes


def test_fields_that_are_left_out_have_their_fillers() -> None:
    columns = READER.columns(
        V1_PROTOCOL.decode(b'{"instances": [{"id": "a", "x": 1, "e": [1, 2, 3], "ids": [1.0, 2], "recent": null}]}')
    )
    assert columns["ids"].tolist() == [[1, 2]]
    # the last number of such a column is the length
    assert columns["recent"].tolist() == [[1, 2, 0, 0, 2]]
    assert columns["weights"].tolist() == [[0, 0, 0, 0]]
    assert columns["photo"].tolist() == [b"\0\0\0"]
    assert (columns["hint"].dtype, np.isnan(columns["hint"]).all()) == (np.float32, True)
    sent = as_request([row()])
    few = [tensor for tensor in sent.inputs if tensor.name.partition("_")[0] in ("id", "x", "e", "ids")]
    filled_columns = V2_PROTOCOL.decode(InferRequest("m", few))
    assert all(first_difference(filled_columns[name], columns[name]) is None for name in filled_columns)


def test_without_a_mask_all_numbers_count() -> None:
    sent = as_request([row(recent=[3, 4]), row(recent=[5, 6])])
    inputs = [tensor for tensor in sent.inputs if tensor.name != "recent_mask"]
    assert V2_PROTOCOL.decode(InferRequest("m", inputs))["recent"].tolist() == [[3, 4, 0, 0, 2], [5, 6, 0, 0, 2]]


def test_bytes_are_any_bytes() -> None:
    content = bytes(range(244, 256))
    assert from_json([row(photo=content)])["photo"].tolist() == [content]
    for wire in ("REST, binary", "gRPC"):
        assert V2_PROTOCOL.decode(WIRES[wire](as_request([row(photo=content)])))["photo"].tolist() == [content]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"e": [1, 2]}, "must be a list of 3 numbers, not 2"),
        ({"e": [1, 2, 1e39]}, "number 2 must be finite in 32 bits"),
        ({"e": [1, 2, 1e31]}, "number 2 must be <= 1e+30"),
        ({"e": [1, 2, None]}, "number 2 must be a number"),
        ({"e": None}, "must not be null"),
        ({"x": 1e39}, "must be finite in 32 bits"),
        ({"ids": [1, 2.5]}, "number 1 must be a whole number"),
        ({"ids": [1, 2**63]}, "number 1 must fit into 64 bits"),
        ({"recent": [1] * 5}, "must be a list of at most 4 numbers, not 5"),
        ({"recent": [1, -10]}, "number 1 must be >= -9"),
        ({"recent": [1, None]}, "number 1 must be a whole number"),
        ({"photo": "AAA"}, "must be bytes in base64"),
        ({"photo": b64encode(bytes(13)).decode()}, "must have at most 12 bytes, not 13"),
        ({"photo": 5}, "must be bytes in base64"),
    ],
)
def test_a_broken_rule_in_json(changes: dict[str, Any], rule: str) -> None:
    good = row(photo="AAAA")
    with pytest.raises(ContractViolation) as error:
        V1_PROTOCOL.decode(json.dumps({"instances": [good, good | changes]}).encode())
    assert error.value.details == [{"row": 1, "field": next(iter(changes)), "rule": rule}]


GAP = "must be true for the numbers of a row, and false after the last"


@pytest.mark.parametrize(
    ("changed", "row_index", "rule"),
    [
        (tensor("e", "FP32", np.zeros((2, 4)), np.float32), None, "must have shape [rows, 3], not [2, 4]"),
        (tensor("e", "FP64", [[0, 0, 0], [0, 1e39, 0]], float), 1, "number 1 must be finite in 32 bits"),
        (tensor("e", "FP32", [[0, 0, 0], [0, np.nan, 0]], np.float32), 1, "number 1 must be finite in 32 bits"),
        (tensor("ids", "FP32", np.zeros((2, 2)), np.float32), None, "must have datatype INT64 or INT8"),
        (tensor("recent", "INT64", np.zeros((2, 5)), int), None, "must have shape [rows, at most 4], not [2, 5]"),
        (tensor("recent", "INT64", np.zeros(2), int), None, "must have shape [rows, at most 4], not [2]"),
        (tensor("recent", "INT64", [[-10], [1]], int), 0, "number 0 must be >= -9"),
        (tensor("recent_mask", "INT64", [[1], [1]], int), None, "must have datatype BOOL"),
        (tensor("recent_mask", "BOOL", np.ones((2, 2)), bool), None, "must have the shape of recent, [2, 1]"),
        (texts("photo", [b"", bytes(13)]), 1, "must have at most 12 bytes"),
    ],
)
def test_a_broken_rule_in_tensors(changed: Tensor, row_index: int | None, rule: str) -> None:
    tensors = {sent.name: sent for sent in as_request([row(), row()]).inputs} | {changed.name: changed}
    with pytest.raises(ContractViolation) as error:
        V2_PROTOCOL.decode(InferRequest("m", list(tensors.values())))
    detail = next(detail for detail in error.value.details if detail["field"] == changed.name)
    assert (detail["row"], detail["rule"][: len(rule)]) == (row_index, rule)


def test_a_mask_with_a_gap_or_without_values() -> None:
    tensors = {sent.name: sent for sent in as_request([row(recent=[1, 2]), row(recent=[1, 2])]).inputs}
    tensors["recent_mask"] = tensor("recent_mask", "BOOL", [[True, True], [False, True]], bool)
    with pytest.raises(ContractViolation) as error:
        V2_PROTOCOL.decode(InferRequest("m", list(tensors.values())))
    assert error.value.details == [{"row": 1, "field": "recent_mask", "rule": GAP}]
    del tensors["recent"]
    with pytest.raises(ContractViolation) as error:
        V2_PROTOCOL.decode(InferRequest("m", list(tensors.values())))
    rule = "is the mask of recent, which is missing"
    assert error.value.details == [{"row": None, "field": "recent_mask", "rule": rule}]


def answer() -> CallAnswer:
    columns = {
        "kind": np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]),
        "vector": np.array([[1.5, 2], [3, 4], [5, 6]], np.float32),
        "ranks": np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        "y": np.array([1.0, 2.0, 3.0]),
        "top": np.array([0.5, 0.25, 0.125], np.float32),
    }
    return CallAnswer(BatchAnswer(columns, {}, {}, (0.0,) * 6), 1, 3)


def test_answers_with_arrays_and_classes() -> None:
    encoded = json.loads(V1_PROTOCOL.encode(answer(), explain=False))
    assert encoded["predictions"] == [
        {"kind": {"a": 1.0, "b": 0.0}, "vector": [3, 4], "ranks": [4, 5, 6], "y": 2, "top": 0.25},
        {"kind": {"a": 0.5, "b": 0.5}, "vector": [5, 6], "ranks": [7, 8, 9], "y": 3, "top": 0.125},
    ]
    response = V2_PROTOCOL.encode(answer(), InferRequest("m", []))
    assert {output.name: (output.datatype, output.shape) for output in response.outputs} == {
        "kind": ("FP64", (2, 2)),
        "vector": ("FP32", (2, 2)),
        "ranks": ("INT64", (2, 3)),
        "y": ("FP64", (2,)),
        "top": ("FP32", (2,)),
    }
    for body, length in (rest.encode_response(response),):
        decoded = rest.decode_response(body, length)
        assert all(decoded.output(sent.name).data.tolist() == sent.data.tolist() for sent in response.outputs)
    decoded = protobuf.decode_response(protobuf.encode_response(response))
    assert all(first_difference(decoded.output(sent.name).data, sent.data) is None for sent in response.outputs)


def test_encoding_classes_leaves_the_batch_as_it_is() -> None:
    shared = answer()
    assert V1_PROTOCOL.encode(shared, explain=False) == V1_PROTOCOL.encode(shared, explain=False)
    assert shared.batch.lists[0][1] == [1.0, 0.0]


def test_metadata_has_masks_and_free_lengths() -> None:
    described = {spec["name"]: (spec["datatype"], spec["shape"]) for spec in V2_PROTOCOL.metadata()["inputs"]}
    assert described == {
        "id": ("BYTES", [-1]),
        "x": ("FP32", [-1]),
        "e": ("FP32", [-1, 3]),
        "ids": ("INT64", [-1, 2]),
        "hint": ("FP32", [-1, 2]),
        "recent": ("INT64", [-1, -1]),
        "weights": ("FP64", [-1, -1]),
        "photo": ("BYTES", [-1]),
        "recent_mask": ("BOOL", [-1, -1]),
        "weights_mask": ("BOOL", [-1, -1]),
    }
    optional = {spec["name"] for spec in V2_PROTOCOL.configuration()["input"] if spec["optional"]}
    assert optional == {"hint", "recent", "weights", "photo", "recent_mask", "weights_mask"}


def test_a_long_body_has_rows_with_large_files() -> None:
    fields = {"photo": Field("bytes", max_bytes=400_000), "e": Field("float32[2]")}
    contract = Contract(
        model="m",
        serving_keys={"id": Field("string")},
        passed_features=fields,
        request_parameters={},
        prediction=Prediction("y"),
        outputs={},
    )
    reader = RowReader(contract)
    photos = [np.random.default_rng(seed).bytes(300_000 + seed) for seed in range(3)]
    instances = [{"id": "a", "photo": b64encode(photo).decode(), "e": [1, 2]} for photo in photos]
    protocol = V1(reader, Signature((), ()), "m", "v1", 10)
    columns = reader.columns(protocol.decode(json.dumps({"instances": instances}).encode()))
    assert columns["photo"].tolist() == photos
    instances[1]["photo"] += "!"  # type: ignore[operator]
    with pytest.raises(ContractViolation) as error:
        protocol.decode(json.dumps({"instances": instances}).encode())
    assert error.value.details == [{"row": 1, "field": "photo", "rule": "must be bytes in base64"}]
