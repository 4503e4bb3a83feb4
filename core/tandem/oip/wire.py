"""A scan of the wire form of a protobuf message of inference, which makes no objects, before it is parsed.

Source: the encoding of Protocol Buffers (tags, varints, length-delimited fields, groups).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from tandem.errors import MalformedRequest
from tandem.oip import memory
from tandem.oip.tensors import MAX_DIMENSIONS

Part = Literal["tensors", "outputs", "parameters", "raw contents"]
Layout = Mapping[int, Part]
"""What the fields of a message are, by their tags."""

Raw = tuple[bytes, int, int]
"""The raw contents of one tensor: what they lie in, where they start, and how many bytes they are."""

_VARINT, _DELIMITED = 0, 2
_FIXED64, _FIXED32 = 1, 5
_GROUP, _END_GROUP = 3, 4


def _tag(number: int, kind: int = _DELIMITED) -> int:
    return number << 3 | kind


REQUEST: Final[Layout] = {_tag(4): "parameters", _tag(5): "tensors", _tag(6): "outputs", _tag(7): "raw contents"}
RESPONSE: Final[Layout] = {_tag(4): "parameters", _tag(5): "tensors", _tag(6): "raw contents"}

_TENSOR: Final[Layout] = {_tag(4): "parameters"}
_OUTPUT: Final[Layout] = {_tag(2): "parameters"}
# a parser must take repeated numbers packed and one by one
_SHAPE: Final = frozenset({_tag(3, _VARINT), _tag(3)})
_CONTENTS: Final = _tag(5)
_INTEGERS: Final = frozenset(_tag(number, kind) for number in (2, 3, 4, 5) for kind in (_VARINT, _DELIMITED))
_ELEMENTS: Final = _tag(8)

SMALL: Final = 2048
"""A message up to this length comes to less than :data:`tandem.oip.memory.SLACK`, whatever is in it."""

MAX_FIELDS: Final = 65_536
"""Most fields of one message, at all levels; this bounds the scan itself. Raw contents are one for each tensor."""

# What parts come to, in bytes of protobuf's and of Python's objects, as measured: test_memory.py keeps them honest.
_COSTS: Final[Mapping[Part, int]] = {"tensors": 450, "outputs": 360, "parameters": 300, "raw contents": 50}
_FIELD_COST: Final = 8
_DIMENSION_COST: Final = 48
_INTEGER_COST: Final = 32
_ELEMENT_COST: Final = 64


@dataclass(slots=True)
class _Scan:
    """What has been seen of a message so far."""

    message: bytes
    fields: int = 0
    cost: int = 0
    counts: dict[Part, int] = field(default_factory=lambda: dict.fromkeys(_COSTS, 0))


def split(message: bytes, layout: Layout) -> tuple[bytes, list[Raw]]:
    """A message without its raw contents, and these where they lie, for a parser to be spared them.

    Raw contents of a small message are left to the parser.

    Args:
        message: A serialised message.
        layout: :data:`REQUEST` or :data:`RESPONSE`.

    Raises:
        RequestTooLarge: ``too_many_parts``: it has too many, or would take too much memory.
        MalformedRequest: It is not valid protobuf, or a tensor has too many dimensions.
    """
    if len(message) <= SMALL:
        return message, []
    scan, parts, raw = _Scan(message), [], []
    begin = previous = 0
    for tag, start, stop in _fields(scan, 0, len(message)):
        part = layout.get(tag)
        if part is not None:
            _count(scan, part, start, stop)
        # left out of what protobuf parses, which would copy them
        if part == "raw contents":
            parts.append(message[begin:previous])
            raw.append((message, start, stop - start))
            begin = stop
        previous = stop
    memory.Budget(len(message)).spend(scan.cost + _FIELD_COST * scan.fields, "its parts")
    return b"".join((*parts, message[begin:])), raw


def _count(scan: _Scan, part: Part, start: int, stop: int) -> None:
    scan.counts[part] += 1
    memory.check_count(scan.counts[part], part)
    scan.cost += _COSTS[part]
    if part == "tensors":
        _scan_tensor(scan, start, stop)
    elif part == "outputs":
        for tag, inner, end in _fields(scan, start, stop):
            if tag in _OUTPUT:
                _count(scan, _OUTPUT[tag], inner, end)


def _scan_tensor(scan: _Scan, start: int, stop: int) -> None:
    dimensions = 0
    for tag, inner, end in _fields(scan, start, stop):
        if tag in _SHAPE:
            dimensions += _varints(scan.message, inner, end)
            if dimensions > MAX_DIMENSIONS:
                raise MalformedRequest(f"a tensor has {dimensions} dimensions, at most {MAX_DIMENSIONS} are allowed")
        elif tag == _CONTENTS:
            _scan_contents(scan, inner, end)
        elif tag in _TENSOR:
            _count(scan, _TENSOR[tag], inner, end)
    scan.cost += _DIMENSION_COST * dimensions


def _scan_contents(scan: _Scan, start: int, stop: int) -> None:
    for tag, inner, end in _fields(scan, start, stop):
        if tag in _INTEGERS:
            scan.cost += _INTEGER_COST * _varints(scan.message, inner, end)
        elif tag == _ELEMENTS:
            scan.cost += _ELEMENT_COST


def _varints(message: bytes, start: int, stop: int) -> int:
    """How many varints a field has: the last byte of each has no continuation bit."""
    if stop - start <= 1:  # most shapes
        return stop - start
    return int(np.count_nonzero(np.frombuffer(message, np.int8, stop - start, start) >= 0))


def _fields(scan: _Scan, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Tag, start and stop of each field that is in no group.

    Raises:
        MalformedRequest: The message is cut off, or no protobuf.
        RequestTooLarge: ``too_many_parts``.
    """
    message, depth = scan.message, 0
    while at < end:
        scan.fields += 1
        if scan.fields > MAX_FIELDS:
            memory.check_count(scan.fields, "fields; send raw contents", MAX_FIELDS)
        # nearly all tags and most lengths are one byte
        tag, at = (message[at], at + 1) if message[at] < 0x80 else _varint(message, at, end)
        start, kind = at, tag & 7
        if kind == _DELIMITED:
            if at < end and message[at] < 0x80:
                start, at = at + 1, at + 1 + message[at]
            else:
                size, start = _varint(message, at, end)
                at = start + size
        elif kind == _VARINT:
            _, at = _varint(message, at, end)
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
        elif kind == _GROUP:
            depth += 1
        elif kind == _END_GROUP:
            depth -= 1
        if at > end:
            raise _cut_off()
        if not depth:
            yield tag, start, at


def _varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    # a varint has ten bytes at most
    while at < end and shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _cut_off()


def _cut_off() -> MalformedRequest:
    return MalformedRequest("the message is not valid protobuf: it ends within a field")
