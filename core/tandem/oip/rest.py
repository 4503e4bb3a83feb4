"""Requests and responses over REST: JSON, and the binary-tensor extension.

A body is JSON, or JSON followed by the raw bytes of those tensors that have a ``binary_data_size``, in the order of the
tensors. In the second case the header ``Inference-Header-Content-Length`` gives the length of the JSON.

Sources: the Open Inference Protocol's ``rest_predict_v2.yaml``; Triton, ``extension_binary_data.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from tandem.oip import binary, jsondata, jsontext
from tandem.oip.rest_header import HEADER_LENGTH, REQUEST, RESPONSE, count_keys, decode_header, decode_tensors
from tandem.oip.tensors import (
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
    unique,
)

#: The same as servers and clients compare it.
HEADER_LENGTH_KEY: Final = HEADER_LENGTH.lower().encode()

TIMEOUT_KEY: Final = b"x-envoy-expected-rq-timeout-ms"
"""Header with the milliseconds that the client's side will wait; Envoy sets it on every request that it forwards."""

# The binary part starts at a multiple of this, so that numbers in it can be used where they lie.
_ALIGNMENT: Final = 8


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
    header, text, header_length = decode_header(REQUEST, body, header_length)
    jsontext.check_keys(text, count_keys(header))
    outputs = [RequestedOutput(output.name, output.parameters or {}) for output in header.outputs or ()]
    unique("output", (output.name for output in outputs))
    return InferRequest(
        model_name=model_name,
        model_version=model_version,
        id=header.id or "",
        inputs=decode_tensors("input", header.inputs, body, header_length),
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
    header, _, header_length = decode_header(RESPONSE, body, header_length)
    return InferResponse(
        model_name=header.model_name,
        model_version=header.model_version or "",
        id=header.id or "",
        outputs=decode_tensors("output", header.outputs, body, header_length),
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
    # an output that was not requested takes the form of the others: some clients cannot read both forms in one body
    return len(binary) == len(request.outputs) or binary


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
    # blanks after JSON are allowed; with them the receiver need not copy the numbers
    text += b" " * (-len(text) % _ALIGNMENT)
    return Body(b"".join((text, *parts)), len(text))
