"""The JSON part of a body over REST: decoded to a header, and its tensors with their data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tandem.errors import MalformedRequest
from tandem.oip import binary, jsondata, jsonscan, jsontext
from tandem.oip.memory import Budget
from tandem.oip.tensors import (
    Parameter,
    Tensor,
    malformed,
    unique,
)

#: Name of the header with the length of the JSON part; absent where all tensors are in JSON.
HEADER_LENGTH: Final = "Inference-Header-Content-Length"

# The data of a tensor is in the tensor, which is in a list, which is in the whole.
_DATA_DEPTH: Final = 4


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


REQUEST: Final = msgspec.json.Decoder(_Request)
RESPONSE: Final = msgspec.json.Decoder(_Response)


def decode_header(decoder: msgspec.json.Decoder[Any], body: bytes, header_length: int | None) -> tuple[Any, bytes, int]:
    """The JSON of a body, that of it which was decoded at once, and its length."""
    if header_length is None:
        header_length = len(body)
    elif not 0 <= header_length <= len(body):
        raise MalformedRequest(f"{HEADER_LENGTH} is {header_length}, the body has {len(body)} bytes")
    # a slice of bytes is a copy
    text = body if header_length == len(body) else body[:header_length]
    if len(text) > jsonscan.LONG:
        text = text.strip()
    outline = jsonscan.outline(text, _DATA_DEPTH) if len(text) > jsonscan.LONG else None
    short = text if outline is None else outline.text
    if outline is not None:
        # before the decoder makes objects of it: a few bytes may stand for hundreds
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
        # a long array elsewhere would go unread, and so unchecked
        outline.check_all_taken()
    return header, short, header_length


def count_keys(header: _Request) -> int:
    """How many keys the JSON of a request has, each key of an object once; unknown ones are not counted."""
    count = 1 + sum(part is not None for part in (header.id, header.outputs, header.parameters))
    count += len(header.parameters or ())
    for tensor in header.inputs:
        # name, datatype and shape are required
        count += 3 + (tensor.data is not msgspec.UNSET)
        if tensor.parameters is not None:
            count += 1 + len(tensor.parameters)
    for output in header.outputs or ():
        count += 1
        if output.parameters is not None:
            count += 1 + len(output.parameters)
    return count


def decode_tensors(kind: str, headers: Sequence[_Tensor], body: bytes, offset: int) -> list[Tensor]:
    """The tensors of a body.

    Args:
        kind: ``input`` or ``output``, for errors.
        headers: The JSON part of each tensor.
        body: The whole body.
        offset: Where the binary part begins.

    Raises:
        MalformedRequest: The body breaks the protocol; names the tensor and the rule.
    """
    unique(kind, (header.name for header in headers))
    # a long text is decoded in pieces, of which one at a time is held
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
    # Triton's extension for clients on the same host
    if "shared_memory_region" in parameters:
        raise malformed(header.name, "shared memory is not served")
    size = parameters.get("binary_data_size")
    if (size is None) is (header.data is msgspec.UNSET):
        raise malformed(header.name, "needs either data or the parameter binary_data_size")
    if size is None:
        return 0
    # no isinstance: true is an int to Python
    if type(size) is not int or size < 0:
        raise malformed(header.name, f"binary_data_size must be a number of bytes, not {size!r}")
    return size
