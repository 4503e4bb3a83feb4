from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import MalformedRequest
from tandem.oip import DATATYPES, InferRequest, InferResponse, Tensor, protobuf
from tandem.oip import grpc_predict_v2_pb2 as pb

from .strategies import mutated, requests, responses, same


@given(requests())
def test_request_round_trip(request: InferRequest) -> None:
    decoded = protobuf.decode_request(protobuf.encode_request(request))
    assert (decoded.model_name, decoded.model_version, decoded.id) == (
        request.model_name,
        request.model_version,
        request.id,
    )
    assert decoded.parameters == request.parameters
    assert decoded.outputs == request.outputs
    assert all(same(actual, expected) for actual, expected in zip(decoded.inputs, request.inputs, strict=True))


@given(responses())
def test_response_round_trip(response: InferResponse) -> None:
    decoded = protobuf.decode_response(protobuf.encode_response(response))
    assert (decoded.model_name, decoded.parameters) == (response.model_name, response.parameters)
    assert all(same(actual, expected) for actual, expected in zip(decoded.outputs, response.outputs, strict=True))


@given(st.data())
def test_mutated_bytes_are_malformed_at_worst(data: st.DataObject) -> None:
    message = data.draw(mutated(protobuf.encode_request(data.draw(requests()))))
    for decode in (protobuf.decode_request, protobuf.decode_response):
        with contextlib.suppress(MalformedRequest):
            decode(message)


def contents(datatype: str, shape: list[int], **fields: Any) -> bytes:
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="x", datatype=datatype, shape=shape, contents=pb.InferTensorContents(**fields)
    )
    return pb.ModelInferRequest(model_name="m", inputs=[tensor]).SerializeToString()


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-(2**15), 2**15 - 1]),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [0, 2**16 - 1]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "fp32_contents", [0.5, -1.0]),
        ("FP64", "fp64_contents", [0.1, -1.0]),
        ("BYTES", "bytes_contents", [b"\xff", b""]),
    ],
)
def test_typed_contents(datatype: str, field: str, values: list[Any]) -> None:
    (tensor,) = protobuf.decode_request(contents(datatype, [2, 1], **{field: values})).inputs
    assert tensor.data.dtype == DATATYPES[datatype]
    assert tensor.data.tolist() == [[value] for value in values]


@pytest.mark.parametrize(("datatype", "field"), [("FP32", "fp32_contents"), ("INT16", "int_contents")])
def test_many_typed_contents(datatype: str, field: str) -> None:
    values = [number % 30_000 for number in range(20_000)]
    (tensor,) = protobuf.decode_request(contents(datatype, [len(values)], **{field: values})).inputs
    assert tensor.data.tolist() == values


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (contents("FP32", [3], fp32_contents=[1, 2]), "2 values, shape .3. takes 3"),
        (contents("FP32", [1], fp64_contents=[1]), "belongs into fp32_contents, not into fp64_contents"),
        (contents("INT8", [1], int_contents=[128]), "range of INT8"),
        (contents("UINT16", [1], uint_contents=[65536]), "range of UINT16"),
        (contents("FP16", [1], fp32_contents=[1]), "FP16 has no typed contents"),
        (contents("FP8", [1], fp32_contents=[1]), "unknown datatype"),
        (contents("FP32", [-1], fp32_contents=[1]), "negative"),
    ],
)
def test_refused_contents(message: bytes, rule: str) -> None:
    with pytest.raises(MalformedRequest, match=f"^tensor 'x': .*{rule}"):
        protobuf.decode_request(message)


def test_raw_contents_exclude_typed_ones() -> None:
    message = pb.ModelInferRequest.FromString(contents("FP32", [1], fp32_contents=[1]))
    message.raw_input_contents.append(b"1234")
    with pytest.raises(MalformedRequest, match="tensor 'x': has contents although"):
        protobuf.decode_request(message.SerializeToString())
    message.inputs[0].ClearField("contents")
    message.raw_input_contents.append(b"1234")
    with pytest.raises(MalformedRequest, match="1 tensors, but 2 raw contents"):
        protobuf.decode_request(message.SerializeToString())


def test_parameters_out_of_range() -> None:
    with pytest.raises(MalformedRequest, match="parameter 'p'"):
        protobuf.encode_request(InferRequest("m", [], parameters={"p": 2**64}))


def test_wrong_array_type() -> None:
    with pytest.raises(MalformedRequest, match="FP32 is carried by float32, not by float64"):
        protobuf.encode_request(InferRequest("m", [Tensor("x", "FP32", (1,), np.zeros(1))]))


@pytest.mark.parametrize("module", ["kserve.protocol.grpc.grpc_predict_v2_pb2", "tritonclient.grpc.service_pb2"])
def test_lives_beside_other_definitions_of_the_protocol(module: str) -> None:
    program = f"""
import {module} as theirs
from tandem.oip import grpc_predict_v2_pb2 as ours
assert ours.ModelInferRequest is not theirs.ModelInferRequest
message = ours.ModelInferRequest(model_name="m", raw_input_contents=[b"1"])
assert theirs.ModelInferRequest.FromString(message.SerializeToString()).raw_input_contents == [b"1"]
"""
    subprocess.run([sys.executable, "-c", program], check=True)
