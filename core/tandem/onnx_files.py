"""Which files a graph keeps its weights in, beside its own.

ONNX stores large tensors outside of the graph: since a protobuf message is at most 2 GB long, and because exporters of
today do so whatever the size. The graph names these files; nothing else does. It is read here as what it is on the
wire, field by field, without the ``onnx`` package, and without touching the weights.

Sources: ONNX, ``onnx.proto`` (numbers of fields) and ``ExternalData.md``; protobuf, *Encoding*.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

#: By message, the fields that lead to tensors, and the message that each holds.
_FIELDS: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Graph(NamedTuple):
    """A model in memory.

    Attributes:
        content: The ``.onnx`` file.
        weights: The files that it keeps its weights in, by the names that it states.
    """

    content: bytes
    weights: Mapping[str, bytes]

    @property
    def missing(self) -> list[str]:
        """Names of files that the graph reads weights from and that are not here."""
        with memoryview(self.content) as view:
            return [name for name in _external(view) if name not in self.weights]


def external_files(path: Path) -> tuple[str, ...]:
    """Names of the files that a graph reads weights from, as it states them, relative to its own directory.

    Args:
        path: The ``.onnx`` file; a file that is not an ONNX model has none.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as stream:
        if not path.stat().st_size:
            return ()
        # mapped: the weights may be gigabytes, and their pages are never read
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
            return _external(view)


def _external(view: memoryview) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(_locations(view, "Model", 0, len(view))))
    except (IndexError, ValueError, RecursionError):  # ONNX Runtime says better what is wrong with it
        return ()


def _locations(view: memoryview, message: str, start: int, stop: int) -> Iterator[str]:
    if message == "Entry":
        texts = {number: bytes(view[begin:end]).decode() for number, begin, end in _fields(view, start, stop)}
        if texts.get(1) == "location":
            yield texts.get(2, "")
        return
    fields = _FIELDS[message]
    for number, begin, end in _fields(view, start, stop):
        if number in fields:
            yield from _locations(view, fields[number], begin, end)


def _fields(view: memoryview, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and stop of each field that has a length."""
    while at < stop:
        key, at = _varint(view, at)
        kind = key & 7
        if kind == _BYTES:
            length, at = _varint(view, at)
            if at + length > stop:
                raise ValueError("a field is longer than its message")
            yield key >> 3, at, at + length
            at += length
        elif kind == _VARINT:
            _, at = _varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def missing_files(path: Path) -> list[str]:
    """Those of :func:`external_files` that are not there."""
    return [name for name in external_files(path) if not (path.parent / name).is_file()]
