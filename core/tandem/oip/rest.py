"""Requests and responses over REST: JSON, and the binary-tensor extension.

A body is JSON, or JSON followed by the raw bytes of those tensors that have a ``binary_data_size``, in the order of the
tensors. In the second case the header ``Inference-Header-Content-Length`` gives the length of the JSON.

Sources: the Open Inference Protocol's ``rest_predict_v2.yaml``; Triton, ``extension_binary_data.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from tandem.errors import MalformedRequest
from tandem.oip import binary, jsondata, jsonscan, jsontext
from tandem.oip.memory import Budget
from tandem.oip.tensors import (
    InferRequest,
    InferResponse,
    Parameter,
    RequestedOutput,
    Tensor,
    malformed,
    unique,
)

#: Name of the header with the length of the JSON part; absent where all tensors are in JSON.
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
#: The same as servers and clients compare it.
HEADER_LENGTH_KEY: Final = HEADER_LENGTH.lower().encode()

# The binary part starts at a multiple of this, so that numbers in it can be used where they lie.
_ALIGNMENT: Final = 8

# The data of a tensor is in the tensor, which is in a list, which is in the whole.
_DATA_DEPTH: Final = 4


class Body(NamedTuple):
    """An encoded request or response.

    Attributes:
        content: Bytes to send.
        header_length: Value for the header :data:`HEADER_LENGTH`; None where the header must not be sent.
    """

    content: bytes
    header_length: int | None

    @property
    def content_type(self) -> str:
        """``application/octet-stream`` with binary tensors, else ``application/json``."""
        return "application/json" if self.header_length is None else "application/octet-stream"


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Parameter] | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _RequestedOutput(msgspec.Struct):
    name: str
    parameters: dict[str, Parameter] | None = None


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_RequestedOutput] | None = None
    parameters: dict[str, Parameter] | None = None


class _Response(msgspec.Struct):
    outputs: list[_Tensor]
    model_name: str = ""
    model_version: str | None = None
    id: str | None = None
    parameters: dict[str, Parameter] | None = None


_REQUEST: Final = msgspec.json.Decoder(_Request)
_RESPONSE: Final = msgspec.json.Decoder(_Response)
_ENCODER: Final = msgspec.json.Encoder()


def decode_request(
    body: bytes, header_length: int | None = None, *, model_name: str = "", model_version: str = ""
) -> InferRequest:
    """A request out of its body.

    Binary numbers are not copied where they are aligned: their arrays are read-only views of ``body``.

    Args:
        body: The whole body.
        header_length: Value of :data:`HEADER_LENGTH`, None if the request has no such header.
        model_name: Name of the model, from the path.
        model_version: Its version, from the path; empty if there is none.

    Raises:
        MalformedRequest: The body breaks the protocol; names the tensor and the rule.
    """
    header, text, header_length = _decode_header(_REQUEST, body, header_length)
    jsontext.check_keys(text, _count_keys(header))
    outputs = [RequestedOutput(output.name, output.parameters or {}) for output in header.outputs or ()]
    unique("output", (output.name for output in outputs))
    return InferRequest(
        model_name=model_name,
        model_version=model_version,
        id=header.id or "",
        inputs=_decode_tensors("input", header.inputs, body, header_length),
        outputs=outputs,
        parameters=header.parameters or {},
    )


def encode_request(request: InferRequest, *, binary_data: bool = True) -> Body:
    """The body of a request; the model's name and version belong into the path.

    Args:
        request: What to ask.
        binary_data: Send the inputs as binary data and ask for the outputs in the same form; else all in JSON.

    Raises:
        MalformedRequest: JSON cannot carry a value, or an array is not of its tensor's datatype.
    """
    parameters = request.parameters
    if binary_data and not request.outputs:
        parameters = {**parameters, "binary_data_output": True}
    header: dict[str, Any] = {}
    if request.id:
        header["id"] = request.id
    if parameters:
        header["parameters"] = parameters
    header["inputs"], parts = _encode_tensors(request.inputs, binary_data)
    if request.outputs:
        header["outputs"] = [
            {"name": output.name, "parameters": {"binary_data": binary_data, **output.parameters}}
            for output in request.outputs
        ]
    return _join(header, parts)


def decode_response(body: bytes, header_length: int | None = None) -> InferResponse:
    """A response out of its body.

    Args:
        body: The whole body.
        header_length: Value of :data:`HEADER_LENGTH`, None if the response has no such header.

    Raises:
        MalformedRequest: The body breaks the protocol; names the tensor and the rule.
    """
    header, _, header_length = _decode_header(_RESPONSE, body, header_length)
    return InferResponse(
        model_name=header.model_name,
        model_version=header.model_version or "",
        id=header.id or "",
        outputs=_decode_tensors("output", header.outputs, body, header_length),
        parameters=header.parameters or {},
    )


def encode_response(response: InferResponse, request: InferRequest | None = None) -> Body:
    """The body of a response.

    Args:
        response: What to answer.
        request: The request that it answers, which says what outputs go out as binary data; all in JSON without it.

    Raises:
        MalformedRequest: The client asked for JSON, which cannot carry a value of an output.
    """
    header: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        header["id"] = response.id
    if response.parameters:
        header["parameters"] = response.parameters
    header["outputs"], parts = _encode_tensors(response.outputs, _binary_outputs(request))
    return _join(header, parts)


def _binary_outputs(request: InferRequest | None) -> bool | Collection[str]:
    """Names of the outputs that the client wants in binary form; True for all."""
    if request is None:
        return False
    default = bool(request.parameters.get("binary_data_output"))
    if not request.outputs:
        return default
    binary = {output.name for output in request.outputs if output.parameters.get("binary_data", default)}
    # an output that comes unasked takes the form of the others: some clients cannot read both forms in one body
    return len(binary) == len(request.outputs) or binary


def _decode_header(
    decoder: msgspec.json.Decoder[Any], body: bytes, header_length: int | None
) -> tuple[Any, bytes, int]:
    """The JSON of a body, that of it which was decoded at once, and its length."""
    if header_length is None:
        header_length = len(body)
    elif not 0 <= header_length <= len(body):
        raise MalformedRequest(f"{HEADER_LENGTH} is {header_length}, the body has {len(body)} bytes")
    text = body if header_length == len(body) else body[:header_length]
    if len(text) > jsonscan.LONG:
        text = text.strip()
    outline = jsonscan.outline(text, _DATA_DEPTH) if len(text) > jsonscan.LONG else None
    short = text if outline is None else outline.text
    if outline is not None:
        jsonscan.check_structure(short, len(body))
    try:
        header = decoder.decode(short)
    except jsondata.REFUSALS as error:
        message = f"the body is not an inference request or response in JSON: {error}"
        raise jsontext.not_json(short, message) from None
    if outline is not None:
        for tensor in header.inputs if isinstance(header, _Request) else header.outputs:
            if tensor.data is not msgspec.UNSET:
                tensor.data = outline.resolve(memoryview(tensor.data))
        outline.check_all_taken()
    return header, short, header_length


def _count_keys(header: _Request) -> int:
    """How many keys the JSON of a request has, each key of an object once; unknown ones are not counted."""
    count = 1 + sum(part is not None for part in (header.id, header.outputs, header.parameters))
    count += len(header.parameters or ())
    for tensor in header.inputs:
        count += 3 + (tensor.data is not msgspec.UNSET)
        if tensor.parameters is not None:
            count += 1 + len(tensor.parameters)
    for output in header.outputs or ():
        count += 1
        if output.parameters is not None:
            count += 1 + len(output.parameters)
    return count


def _decode_tensors(kind: str, headers: Sequence[_Tensor], body: bytes, offset: int) -> list[Tensor]:
    unique(kind, (header.name for header in headers))
    budget = Budget(len(body), jsonscan.HELD if offset > jsonscan.LONG else 0)
    tensors = []
    for header in headers:
        size = _binary_size(header)
        if header.data is not msgspec.UNSET:
            text = memoryview(header.data)
            tensors.append(jsondata.decode_tensor(header.name, header.datatype, header.shape, text, budget))
        else:
            tensors.append(binary.decode_tensor(header.name, header.datatype, header.shape, body, offset, size, budget))
            offset += size
    if offset != len(body):
        raise MalformedRequest(f"{len(body) - offset} bytes follow the last binary tensor")
    return tensors


def _binary_size(header: _Tensor) -> int:
    """The announced size; 0 for a tensor in JSON."""
    parameters = header.parameters or {}
    if "shared_memory_region" in parameters:
        raise malformed(header.name, "shared memory is not served")
    size = parameters.get("binary_data_size")
    if (size is None) is (header.data is msgspec.UNSET):
        raise malformed(header.name, "needs either data or the parameter binary_data_size")
    if size is None:
        return 0
    if type(size) is not int or size < 0:
        raise malformed(header.name, f"binary_data_size must be a number of bytes, not {size!r}")
    return size


def _encode_tensors(
    tensors: Sequence[Tensor], as_binary: bool | Collection[str]
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The JSON part of each tensor, and the binary parts, in order."""
    headers, parts = [], []
    for tensor in tensors:
        header: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if as_binary is True or (as_binary and tensor.name in as_binary):
            part = binary.encode_tensor(tensor)
            header["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            header["data"] = jsondata.encode_tensor(tensor)
        headers.append(header)
    return headers, parts


def _join(header: dict[str, Any], parts: list[bytes]) -> Body:
    text = _ENCODER.encode(header)
    if not parts:
        return Body(text, None)
    text += b" " * (-len(text) % _ALIGNMENT)
    return Body(b"".join((text, *parts)), len(text))
