from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import MalformedRequest, RequestTooLarge
from tandem.oip import InferRequest, RequestedOutput, Tensor, protobuf
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip.memory import MAX_PARTS

from . import peaks
from .strategies import requests, same


def test_no_message_takes_more_than_four_times_its_bytes_and_a_mebibyte() -> None:
    measured = json.loads(subprocess.check_output([sys.executable, "-m", "core.tests.oip.peaks"]))
    beyond = {}
    for name, (size, peak, outcome) in measured.items():
        # of what is compressed the content counts, which has a limit of its own
        counted = max(size, peaks.MIB) if name.startswith("gzip") else size
        if size + peak > 4 * counted + peaks.MIB:
            beyond[name] = f"{peak} beside {size} bytes: {outcome}"
    assert not beyond
    assert {outcome for _, _, outcome in measured.values()} >= {"ok", "too_many_parts"}


@pytest.mark.parametrize("number", [4, 5, 6, 7])
def test_more_parts_than_are_taken_are_refused_by_name(number: int) -> None:
    part = {4: "parameters", 5: "tensors", 6: "outputs", 7: "raw contents"}[number]
    with pytest.raises(RequestTooLarge, match=f"more than {MAX_PARTS} {part}") as refused:
        protobuf.decode_request(bytes([number << 3 | 2, 0]) * 2000)
    assert refused.value.code == "too_many_parts"
    assert refused.value.grpc_status == "RESOURCE_EXHAUSTED"


def test_many_parts_are_taken() -> None:
    tensors = [Tensor.of(f"x{number}", np.full(1, number)) for number in range(1000)]
    outputs = [RequestedOutput(f"y{number}") for number in range(1000)]
    decoded = protobuf.decode_request(protobuf.encode_request(InferRequest("m", tensors, outputs=outputs)))
    assert [tensor.data.tolist() for tensor in decoded.inputs] == [[number] for number in range(1000)]
    assert list(decoded.outputs) == outputs


@given(requests(), st.binary(min_size=3000, max_size=3000))
def test_a_long_message_comes_to_the_same_as_a_short_one(request: InferRequest, filling: bytes) -> None:
    message = pb.ModelInferRequest.FromString(protobuf.encode_request(request))
    message.inputs.add(name="filling", datatype="UINT8", shape=[len(filling)])
    message.raw_input_contents.append(filling)
    decoded = protobuf.decode_request(message.SerializeToString())
    assert decoded.outputs == request.outputs
    assert decoded.parameters == request.parameters
    assert all(same(actual, expected) for actual, expected in zip(decoded.inputs, request.inputs, strict=False))
    assert decoded.inputs[-1].data.tobytes() == filling


def test_raw_contents_between_other_fields_are_found() -> None:
    contents = [pb.ModelInferRequest(raw_input_contents=[bytes(8 * 500)]).SerializeToString() for _ in range(2)]
    tensors = [pb.ModelInferRequest(inputs=[{"name": name, "datatype": "FP64", "shape": [500]}]) for name in "ab"]
    first, second = (tensor.SerializeToString() for tensor in tensors)
    decoded = protobuf.decode_request(contents[0] + first + b"\x0a\x01m" + contents[1] + second)
    assert decoded.model_name == "m"
    assert [(tensor.name, tensor.shape) for tensor in decoded.inputs] == [("a", (500,)), ("b", (500,))]


def test_raw_contents_within_a_group_are_not_the_message_s() -> None:
    inner = pb.ModelInferRequest(raw_input_contents=[bytes(3000)]).SerializeToString()
    tensor = pb.ModelInferRequest(inputs=[{"name": "x", "datatype": "FP64", "shape": [0]}]).SerializeToString()
    decoded = protobuf.decode_request(tensor + b"\x9b\x06" + inner + b"\x9c\x06")
    assert decoded.inputs[0].shape == (0,)


@pytest.mark.parametrize("cut", [1, 1500, 2999])
def test_a_long_message_that_is_cut_off_is_malformed(cut: int) -> None:
    message = protobuf.encode_request(InferRequest("m", [Tensor.of("x", np.zeros(3000, np.uint8))]))
    with pytest.raises(MalformedRequest, match="the message is no"):
        protobuf.decode_request(message[:-cut])


def test_other_messages_are_short() -> None:
    with pytest.raises(RequestTooLarge, match="ModelMetadataRequest has at most"):
        protobuf.parse(pb.ModelMetadataRequest, pb.ModelMetadataRequest(name="x" * 70_000).SerializeToString())


def test_the_cases_are_of_every_decoder() -> None:
    assert {name.partition(":")[0] for name in peaks.cases()} == {
        "protobuf",
        "protobuf response",
        "JSON",
        "binary",
        "gzip",
    }
