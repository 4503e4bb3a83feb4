from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import MalformedRequest
from tandem.oip import InferRequest, InferResponse, RequestedOutput, Tensor, rest

from .strategies import mutated, requests, responses, same


@given(requests())
def test_binary_request_round_trip(request: InferRequest) -> None:
    body = rest.encode_request(request)
    decoded = rest.decode_request(*body, model_name=request.model_name, model_version=request.model_version)
    assert (decoded.model_name, decoded.model_version, decoded.id) == (
        request.model_name,
        request.model_version,
        request.id,
    )
    assert all(same(actual, expected) for actual, expected in zip(decoded.inputs, request.inputs, strict=True))
    assert [output.name for output in decoded.outputs] == [output.name for output in request.outputs]
    decoded.parameters.pop("binary_data_output", None)
    assert decoded.parameters == request.parameters


@given(requests(json=True))
def test_json_request_round_trip(request: InferRequest) -> None:
    body = rest.encode_request(request, binary_data=False)
    assert body.header_length is None
    decoded = rest.decode_request(*body)
    assert len(decoded.inputs) == len(request.inputs)
    assert all(same(actual, expected) for actual, expected in zip(decoded.inputs, request.inputs, strict=True))


@given(responses())
def test_binary_response_round_trip(response: InferResponse) -> None:
    request = InferRequest("m", [], parameters={"binary_data_output": True})
    decoded = rest.decode_response(*rest.encode_response(response, request))
    assert (decoded.model_name, decoded.model_version, decoded.id, decoded.parameters) == (
        response.model_name,
        response.model_version,
        response.id,
        response.parameters,
    )
    assert all(same(actual, expected) for actual, expected in zip(decoded.outputs, response.outputs, strict=True))


@given(responses(json=True))
def test_json_response_round_trip(response: InferResponse) -> None:
    decoded = rest.decode_response(*rest.encode_response(response))
    assert all(same(actual, expected) for actual, expected in zip(decoded.outputs, response.outputs, strict=True))


@given(st.data(), st.booleans())
def test_mutated_bytes_are_malformed_at_worst(data: st.DataObject, binary_data: bool) -> None:
    request = data.draw(requests(json=not binary_data))
    content, header_length = rest.encode_request(request, binary_data=binary_data)
    content = data.draw(mutated(content))
    for decode in (rest.decode_request, rest.decode_response):
        with contextlib.suppress(MalformedRequest):
            decode(content, header_length)


@given(st.binary(max_size=200), st.none() | st.integers())
def test_any_bytes_are_malformed_at_worst(content: bytes, header_length: int | None) -> None:
    for decode in (rest.decode_request, rest.decode_response):
        with contextlib.suppress(MalformedRequest):
            decode(content, header_length)


def body(**tensor: Any) -> bytes:
    return json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]} | tensor]}).encode()


def test_nested_data_is_row_major() -> None:
    nested = rest.decode_request(body(shape=[2, 2], data=[[1, 2], [3, 4]]))
    flat = rest.decode_request(body(shape=[2, 2], data=[1, 2, 3, 4]))
    assert nested.inputs[0].data.tolist() == flat.inputs[0].data.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("tensor", "rule"),
    [
        ({"data": [1]}, r"shape \[1\], stated is \[2\]"),
        ({"shape": [1, 2], "data": [[1], [2]]}, r"shape \[2, 1\], stated is \[1, 2\]"),
        ({"shape": [2, 2], "data": [[1, 2], [3]]}, "ragged"),
        ({"datatype": "BYTES", "shape": [2, 2], "data": [["a", "b"], ["c"]]}, "ragged"),
        ({"data": [1, [2]]}, "not FP32"),
        ({"data": ["1", "2"]}, "not FP32"),
        ({"data": [True, False]}, "not FP32"),
        ({"datatype": "INT64", "data": [1, 1.5]}, "not INT64"),
        ({"datatype": "INT64", "data": [1, True]}, "not INT64"),
        ({"datatype": "INT64", "data": [1, 2**63]}, "range of INT64"),
        ({"datatype": "UINT8", "data": [1, 256]}, "range of UINT8"),
        ({"datatype": "UINT64", "data": [1, -1]}, "range of UINT64"),
        ({"data": [1, 1e39]}, "range of FP32"),
        ({"datatype": "FP16", "data": [1, 1e6]}, "range of FP16"),
        ({"datatype": "BOOL", "data": [0, 1]}, "not BOOL"),
        ({"datatype": "BYTES", "data": [0, 1]}, "not BYTES"),
        ({"datatype": "BF16", "data": [0, 1]}, "no JSON form"),
        ({"datatype": "FP8"}, "unknown datatype 'FP8'"),
        ({"shape": [-2]}, "negative"),
        ({"shape": [2**40, 2**40]}, "too large"),
        ({"shape": [2**62, 2**62, 0], "data": []}, "too large"),
        ({"shape": [1] * 33}, "33 dimensions"),
        ({"data": 1}, "must be an array"),
        ({"data": "text"}, "must be an array"),
        ({"parameters": {"binary_data_size": 8}}, "either data or"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared memory"),
    ],
)
def test_refused_json_tensor(tensor: dict[str, Any], rule: str) -> None:
    with pytest.raises(MalformedRequest, match=rf"^tensor 'x': .*{rule}"):
        rest.decode_request(body(**tensor))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [NaN]}]}', "NaN is not JSON; send null"),
        (b'{"inputs": [], "parameters": {"a": {"b": 1}}}', "parameters"),
        (b'{"inputs": [], "id": "\xff"}', "utf-8"),
        (b'{"inputs": [], "junk": ' + b"[" * 10_000, "recursion"),
        (b'{"inputs": [], "junk": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": [], "junk": [[' + b"1234567890," * 8_000, "truncated"),
        (b'{"inputs": [], "junk": [[[[1],' + b"1," * 50_000, "brackets do not match"),
        (b'{"inputs": [], "junk": [[[' + b"1," * 50_000 + b"1]]]}", "long array where none belongs"),
    ],
)
def test_refused_text(text: bytes, rule: str) -> None:
    with pytest.raises(MalformedRequest, match=rule):
        rest.decode_request(text)


def test_deep_nesting_of_data() -> None:
    text = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": %s}]}'
    for depth in (33, 200):
        with pytest.raises(MalformedRequest, match="nested at most 32 deep"):
            rest.decode_request(text % (b"[" * depth + b"]" * depth))
    with pytest.raises(MalformedRequest, match="nested too deeply"):
        rest.decode_request(text % (b"[" * 100_000 + b"]" * 100_000))


def test_names_occur_once() -> None:
    tensor = Tensor.of("x", np.zeros(1, np.float32))
    with pytest.raises(MalformedRequest, match="'x': input occurs more than once"):
        rest.decode_request(*rest.encode_request(InferRequest("m", [tensor, tensor])))
    outputs = [RequestedOutput("y"), RequestedOutput("y")]
    with pytest.raises(MalformedRequest, match="'y': output occurs more than once"):
        rest.decode_request(*rest.encode_request(InferRequest("m", [tensor], outputs=outputs)))


def binary_body(size: Any, content: bytes, datatype: str = "FP32") -> tuple[bytes, int]:
    tensor = {"name": "x", "datatype": datatype, "shape": [2], "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [tensor]}).encode()
    return header + content, len(header)


@pytest.mark.parametrize(
    ("size", "content", "datatype", "rule"),
    [
        (8, b"1234567", "FP32", "8 bytes announced, 7 left"),
        (7, b"1234567", "FP32", "7 bytes given, FP32 of shape .2. takes 8"),
        (-8, b"12345678", "FP32", "number of bytes"),
        (8.0, b"12345678", "FP32", "number of bytes"),
        (True, b"1", "FP32", "number of bytes"),
        (2, b"\0\2", "BOOL", "neither 0 nor 1"),
        (7, b"\0\0\0\0\0\0\0", "BYTES", "cannot hold 2 elements"),
        (8, b"\1\0\0\0\1\0\0\0", "BYTES", "element 1 is cut off"),
        (8, b"\5\0\0\0\1\0\0\0", "BYTES", "element 0 is cut off"),
        (9, b"\0\0\0\0\0\0\0\0\0", "BYTES", "1 bytes follow the last of 2 elements"),
    ],
)
def test_refused_binary_tensor(size: Any, content: bytes, datatype: str, rule: str) -> None:
    with pytest.raises(MalformedRequest, match=f"tensor 'x': .*{rule}"):
        rest.decode_request(*binary_body(size, content, datatype))


def test_lengths_that_do_not_fit_the_body() -> None:
    content, length = binary_body(8, b"12345678")
    with pytest.raises(MalformedRequest, match=f"Length is {len(content) + 1}, the body has"):
        rest.decode_request(content, len(content) + 1)
    with pytest.raises(MalformedRequest, match="Length is -1"):
        rest.decode_request(content, -1)
    with pytest.raises(MalformedRequest, match="1 bytes follow the last binary tensor"):
        rest.decode_request(content + b"9", length)
    with pytest.raises(MalformedRequest, match="tensor 'x'"):
        rest.decode_request(content[:length])


def test_an_output_that_comes_unasked_has_the_form_of_the_others() -> None:
    """Triton's client in C++ crashes on a body in which one output is JSON and the others are binary."""
    tensors = [Tensor(name, "FP32", (1,), np.ones(1, np.float32)) for name in ("asked", "unasked")]
    for binary in (True, False):
        request = InferRequest("m", [], outputs=[RequestedOutput("asked", {"binary_data": binary})])
        body = rest.encode_response(InferResponse("m", tensors), request)
        header = json.loads(body.content[: body.header_length])
        assert [("data" in output) for output in header["outputs"]] == [not binary] * 2


def test_binary_numbers_are_not_copied() -> None:
    sent = np.arange(4, dtype=np.float64)
    content, length = rest.encode_request(InferRequest("m", [Tensor.of("x", sent)]))
    received = rest.decode_request(content, length).inputs[0].data
    assert np.shares_memory(received, np.frombuffer(content, np.uint8))
    assert not received.flags.writeable


def test_an_unaligned_array_is_copied() -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}
    header = json.dumps({"inputs": [tensor]}).encode()
    header += b" " * (-len(header) % 8 + 1)
    assert rest.decode_request(header + bytes(8), len(header)).inputs[0].data.flags.aligned


def test_the_client_chooses_the_form_of_each_output() -> None:
    response = InferResponse("m", [Tensor.of(name, np.ones(2, np.float32)) for name in ("a", "b")])
    outputs = [RequestedOutput("a", {"binary_data": True}), RequestedOutput("b")]
    content, length = rest.encode_response(response, InferRequest("m", [], outputs=outputs))
    a, b = json.loads(content[:length])["outputs"]
    assert a["parameters"] == {"binary_data_size": 8}
    assert "data" not in a
    assert b["data"] == [1, 1]
    assert content[length:] == np.ones(2, "<f4").tobytes()
    outputs = [RequestedOutput("a", {"binary_data": False}), RequestedOutput("b", {"binary_data": False})]
    request = InferRequest("m", [], outputs=outputs, parameters={"binary_data_output": True})
    assert rest.encode_response(response, request).header_length is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (np.array([1, np.inf], np.float32), "infinity_not_json"),
        (np.array([-np.inf, np.nan]), "infinity_not_json"),
        (np.array([b"\xff"], object), "malformed_request"),
    ],
)
def test_what_json_cannot_carry(data: Any, code: str) -> None:
    with pytest.raises(MalformedRequest, match="tensor 'y'") as refused:
        rest.encode_response(InferResponse("m", [Tensor.of("y", data)]))
    assert refused.value.code == code


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_missing_number_is_null_both_ways(dtype: Any) -> None:
    sent = InferRequest("m", [Tensor.of("x", np.array([1, np.nan, 3], dtype))])
    body, _ = rest.encode_request(sent, binary_data=False)
    assert json.loads(body)["inputs"][0]["data"] == [1, None, 3]
    (tensor,) = rest.decode_request(body).inputs
    np.testing.assert_array_equal(tensor.data, sent.inputs[0].data)
    nested = body.replace(b"[3]", b"[3,1]").replace(b"[1.0,null,3.0]", b"[[1.0],[null],[3.0]]")
    np.testing.assert_array_equal(rest.decode_request(nested).inputs[0].data.ravel(), sent.inputs[0].data)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20), st.data())
def test_whole_numbers_may_be_written_as_floats(values: list[int], data: st.DataObject) -> None:
    written = [float(value) if data.draw(st.booleans()) else value for value in values]
    tensor = {"name": "x", "datatype": "INT32", "shape": [len(values)], "data": written}
    (decoded,) = rest.decode_request(json.dumps({"inputs": [tensor]}).encode()).inputs
    assert decoded.data.dtype == np.int32
    assert decoded.data.tolist() == values


TENSOR = b'{"name":"x","datatype":"INT64","shape":[1],"data":[1]}'


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":"a","id":"b","inputs":[%b]}' % TENSOR,
        b'{"inputs":[%b],"inputs":[%b]}' % (TENSOR, TENSOR),
        b'{"inputs":[%b]}' % TENSOR.replace(b'"data"', b'"data":[2],"data"'),
        b'{"inputs":[%b]}' % TENSOR.replace(b'"data"', b'"d\\u0061ta" :[2],"data"'),
        b'{"inputs":[%b],"parameters":{"a":1,"a" :2}}' % TENSOR,
        b'{"inputs":[%b],"outputs":[{"name":"y","name":"z"}]}' % TENSOR,
        b'{"inputs":[%b],"unknown":{"a":1,"a":2}}' % TENSOR,
    ],
)
def test_keys_given_twice_are_refused(text: bytes) -> None:
    with pytest.raises(MalformedRequest, match="given twice") as refused:
        rest.decode_request(text)
    assert refused.value.code == "duplicate_key"


@pytest.mark.parametrize(
    "text",
    [
        b'{"inputs" : [%b] , "junk":{"a":{"b":[]}}}' % TENSOR,
        b'{"id":"a\\":b","inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["\\":"]}]}',
    ],
)
def test_keys_given_once_are_not(text: bytes) -> None:
    assert len(rest.decode_request(text).inputs) == 1


def test_a_nan_of_python_is_named_by_row_and_tensor() -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [2, 2], "data": [1.0, 2.0, 3.0, float("nan")]}
    with pytest.raises(MalformedRequest, match="row 1, field 'x': NaN is not JSON; send null") as refused:
        rest.decode_request(json.dumps({"inputs": [tensor]}).encode())
    assert refused.value.details == [
        {"row": 1, "field": "x", "rule": "NaN is not JSON; send null where a value is missing"}
    ]


@pytest.mark.parametrize("shape", ["a", [], [1, None], [1, "a"], [1, 2.5], [1, -2], [1, 2**40], [0] * 99, {}])
def test_a_nan_beside_a_shape_that_is_none_is_named_too(shape: Any) -> None:
    text = json.dumps({"inputs": [{"name": "x", "datatype": "FP64", "shape": shape, "data": [1.0, float("nan")]}]})
    with pytest.raises(MalformedRequest, match="NaN is not JSON; send null"):
        rest.decode_request(text.encode())


def test_of_many_nans_the_first_hundred_are_listed() -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1000], "data": [float("nan")] * 1000}
    with pytest.raises(MalformedRequest, match="and many more") as refused:
        rest.decode_request(json.dumps({"inputs": [tensor]}).encode())
    assert [detail["row"] for detail in refused.value.details] == list(range(100))


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["inputs", "instances", "name", "shape", "data", "x"]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_any_json_of_python_is_taken_or_refused(value: Any) -> None:
    tensor = value if isinstance(value, dict) else {"name": "x", "datatype": "FP64", "shape": [1], "data": value}
    for body in (value, {"inputs": [value]}, {"inputs": [tensor]}, {"instances": value}):
        with contextlib.suppress(MalformedRequest):
            rest.decode_request(json.dumps(body).encode())


def test_content_type() -> None:
    assert rest.Body(b"", None).content_type == "application/json"
    assert rest.Body(b"", 2).content_type == "application/octet-stream"
