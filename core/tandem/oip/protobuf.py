"""Requests and responses over gRPC. Needs the extra ``grpc``.

Tensors travel as raw bytes (``raw_input_contents``, one for each tensor) or typed (``contents``), never both in one
message. FP16 and BF16 have no typed form. Whatever is sent from here is raw.

Source: the Open Inference Protocol's ``grpc_predict_v2.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from tandem.errors import MalformedRequest, RequestTooLarge
from tandem.oip import binary, wire
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip.memory import Budget
from tandem.oip.tensors import (
    Array,
    InferRequest,
    InferResponse,
    Parameter,
    Parameters,
    RequestedOutput,
    Tensor,
    count_elements,
    dtype_of,
    malformed,
    unique,
)

#: Full name of the gRPC service.
SERVICE: Final = "inference.GRPCInferenceService"
#: Full path of its inference method, for channels that send the bytes of these functions as they are.
INFER_METHOD: Final = f"/{SERVICE}/ModelInfer"
#: Longest message of any other kind: none has a reason to be longer.
MAX_OTHER_BYTES: Final = 64 * 1024

_STEP: Final = 1024

_CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def decode_request(message: bytes) -> InferRequest:
    """A request out of a serialised ``ModelInferRequest``.

    Raises:
        MalformedRequest: The message breaks the protocol; names the tensor and the rule.
        RequestTooLarge: ``too_many_parts``: it would take too much memory.
    """
    header, raw = wire.split(message, wire.REQUEST)
    parsed = _parse(pb.ModelInferRequest, header)
    outputs = [RequestedOutput(output.name, _decode_parameters(output.parameters)) for output in parsed.outputs]
    unique("output", (output.name for output in outputs))
    return InferRequest(
        model_name=parsed.model_name,
        model_version=parsed.model_version,
        id=parsed.id,
        # a short message is not scanned, so protobuf has its raw contents
        inputs=_decode_tensors("input", parsed.inputs, raw or _whole(parsed.raw_input_contents), Budget(len(message))),
        outputs=outputs,
        parameters=_decode_parameters(parsed.parameters),
    )


def encode_request(request: InferRequest) -> bytes:
    """A serialised ``ModelInferRequest``, tensors raw.

    Raises:
        MalformedRequest: A parameter is out of range, or an array is not of its tensor's datatype.
    """
    message = pb.ModelInferRequest(model_name=request.model_name, model_version=request.model_version, id=request.id)
    _encode_parameters(request.parameters, message.parameters)
    for tensor in request.inputs:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(binary.encode_tensor(tensor))
    for output in request.outputs:
        _encode_parameters(output.parameters, message.outputs.add(name=output.name).parameters)
    return message.SerializeToString()


def decode_response(message: bytes) -> InferResponse:
    """A response out of a serialised ``ModelInferResponse``.

    Raises:
        MalformedRequest: The message breaks the protocol; names the tensor and the rule.
        RequestTooLarge: ``too_many_parts``: it would take too much memory.
    """
    header, raw = wire.split(message, wire.RESPONSE)
    parsed = _parse(pb.ModelInferResponse, header)
    budget = Budget(len(message))
    return InferResponse(
        model_name=parsed.model_name,
        model_version=parsed.model_version,
        id=parsed.id,
        outputs=_decode_tensors("output", parsed.outputs, raw or _whole(parsed.raw_output_contents), budget),
        parameters=_decode_parameters(parsed.parameters),
    )


def encode_response(response: InferResponse) -> bytes:
    """A serialised ``ModelInferResponse``, tensors raw.

    Raises:
        MalformedRequest: A parameter is out of range, or an array is not of its tensor's datatype.
    """
    message = pb.ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id
    )
    _encode_parameters(response.parameters, message.parameters)
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(binary.encode_tensor(tensor))
    return message.SerializeToString()


def parse(kind: Any, message: bytes) -> Any:
    """A message of a generated class out of its bytes; not for inference, which has functions of its own.

    Raises:
        MalformedRequest: They are none.
        RequestTooLarge: They are more than any message of this kind needs.
    """
    if len(message) > MAX_OTHER_BYTES:
        raise RequestTooLarge(f"a {kind.DESCRIPTOR.name} has at most {MAX_OTHER_BYTES} bytes")
    return _parse(kind, message)


def _parse(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except (DecodeError, RecursionError):
        raise MalformedRequest(f"the message is not a valid {kind.DESCRIPTOR.name}") from None


def _whole(contents: Sequence[bytes]) -> list[wire.Raw]:
    return [(content, 0, len(content)) for content in contents]


def _decode_tensors(kind: str, headers: Sequence[Any], raw: Sequence[wire.Raw], budget: Budget) -> list[Tensor]:
    unique(kind, (header.name for header in headers))
    if not raw:
        return [_decode_contents(header) for header in headers]
    for header in headers:
        if header.HasField("contents"):
            raise malformed(header.name, "has contents although the message has raw contents")
    if len(raw) != len(headers):
        raise MalformedRequest(f"{len(headers)} tensors, but {len(raw)} raw contents")
    return [
        binary.decode_tensor(header.name, header.datatype, list(header.shape), content, start, size, budget)
        for header, (content, start, size) in zip(headers, raw, strict=True)
    ]


def _decode_contents(header: Any) -> Tensor:
    name, datatype, shape = header.name, header.datatype, tuple(header.shape)
    dtype = dtype_of(name, datatype)
    count = count_elements(name, shape)
    field = _CONTENTS.get(datatype)
    if field is None:
        raise malformed(name, f"{datatype} has no typed contents; send raw contents")
    for tensor_field, _ in header.contents.ListFields():
        if tensor_field.name != field:
            raise malformed(name, f"{datatype} belongs into {field}, not into {tensor_field.name}")
    values = getattr(header.contents, field)
    if len(values) != count:
        raise malformed(name, f"{len(values)} values, shape {list(shape)} takes {count}")
    return Tensor(name, datatype, shape, _array(name, datatype, dtype, values).reshape(shape))


def _array(name: str, datatype: str, dtype: np.dtype[Any], values: Sequence[Any]) -> Array:
    if dtype.itemsize < 4 and dtype.kind in "iu":  # the field is wider than the datatype
        wide = _numbers(values, np.dtype(np.int64))
        data = wide.astype(dtype)
        if (data != wide).any():
            raise malformed(name, f"a value is out of the range of {datatype}")
        return data
    return _numbers(values, dtype)


def _numbers(values: Sequence[Any], dtype: np.dtype[Any]) -> Array:
    """Values of a field as an array, in steps that leave other threads their turn."""
    data = np.empty(len(values), dtype)
    for at in range(0, len(values), _STEP):
        data[at : at + _STEP] = np.fromiter(values[at : at + _STEP], dtype)
    return data


def _decode_parameters(parameters: Mapping[str, Any]) -> Parameters:
    if not parameters:
        return {}
    decoded: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise MalformedRequest(f"parameter {name!r} has no value")
        decoded[name] = getattr(parameter, choice)
    return decoded


def _encode_parameters(parameters: Parameters, into: Any) -> None:
    for name, value in parameters.items():
        try:
            setattr(into[name], _parameter_field(value), value)
        except ValueError:
            raise MalformedRequest(f"parameter {name!r}: {value} is out of range") from None


def _parameter_field(value: Parameter) -> str:
    match value:
        # ahead of int, which True is too
        case bool():
            return "bool_param"
        case int():
            return "int64_param" if value < 2**63 else "uint64_param"
        case float():
            return "double_param"
    return "string_param"
