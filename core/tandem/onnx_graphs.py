"""ONNX graphs, written without the ``onnx`` package: nodes, constants, inputs and outputs, as they are on the wire.

Sources: ONNX, ``onnx.proto`` (numbers of fields); protobuf, *Encoding*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

IR_VERSION: Final = 9
OPSET: Final = 19
"""The first version of the operators in which texts can be compared; ONNX Runtime reads it since 1.15."""

ELEMENT_TYPES: Final[Mapping[str, int]] = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "int32": 6,
    "int64": 7,
    "object": 8,
    "bool": 9,
    "float16": 10,
    "float64": 11,
}
"""Numbers of ONNX's element types by NumPy dtype; objects are texts."""

_INT, _INTS = 2, 7
"""Types of attributes."""


class GraphWriter:
    """A graph under construction."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._names = 0

    def name(self) -> str:
        """A name that no other value has."""
        self._names += 1
        return f"v{self._names}"

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: int | Sequence[int]) -> str:
        """Add a node.

        Args:
            operator: Name of the operator.
            inputs: Names of its inputs.
            output: Name of its output; empty for a new one.
            attributes: Its attributes.

        Returns:
            The name of its output.
        """
        output = output or self.name()
        message = b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, operator)
        self._nodes.append(message + b"".join(_message(5, _attribute(*entry)) for entry in attributes.items()))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant; returns its name."""
        name = self.name()
        dims = b"".join(_number(1, size) for size in value.shape)
        if value.dtype == object:
            content = b"".join(_message(6, str(text).encode()) for text in value.ravel().tolist())
        else:
            content = _message(9, np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes())
        self._constants.append(dims + _number(2, ELEMENT_TYPES[str(value.dtype)]) + _text(8, name) + content)
        return name

    def input(self, name: str, dtype: str, shape: Sequence[int | None]) -> None:
        """Add an input; None in its shape is the number of rows."""
        self._inputs.append(_value(name, dtype, shape))

    def output(self, name: str, dtype: str, shape: Sequence[int | None]) -> None:
        """Add an output."""
        self._outputs.append(_value(name, dtype, shape))

    def content(self, name: str) -> bytes:
        """The graph as the content of a file.

        Args:
            name: Name of the graph.
        """
        graph = b"".join(_message(1, node) for node in self._nodes) + _text(2, name)
        graph += b"".join(_message(5, constant) for constant in self._constants)
        graph += b"".join(_message(11, value) for value in self._inputs)
        graph += b"".join(_message(12, value) for value in self._outputs)
        return _number(1, IR_VERSION) + _text(2, "tandem") + _message(8, _number(2, OPSET)) + _message(7, graph)


def _value(name: str, dtype: str, shape: Sequence[int | None]) -> bytes:
    dims = b"".join(_message(1, _text(2, "rows") if size is None else _number(1, size)) for size in shape)
    tensor = _number(1, ELEMENT_TYPES[dtype]) + _message(2, dims)
    return _text(1, name) + _message(2, _message(1, tensor))


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _INT)
    return _text(1, name) + b"".join(_number(8, number) for number in value) + _number(20, _INTS)


def _varint(number: int) -> bytes:
    # negative numbers are written as if they had 64 bits without sign
    number &= 2**64 - 1
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    content.append(number)
    return bytes(content)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
