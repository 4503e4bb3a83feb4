"""The ``data`` of a tensor in JSON: flat or nested row-major, kinds of values strictly those of the datatype."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np

from tandem.errors import MalformedRequest
from tandem.oip import jsonscan
from tandem.oip.binary import ELEMENT_COST
from tandem.oip.memory import Budget
from tandem.oip.tensors import MAX_DIMENSIONS, Array, Tensor, bytes_array, count_elements, dtype_of, malformed

_KINDS: Final[dict[str, Any]] = {"b": bool, "u": int, "i": int, "f": float | None, "O": str}
_MANY: Final = 65_536
_IN_PIECES: Final = 2 * jsonscan.PIECE
_RAGGED: Final = "data is ragged: arrays of one level differ in length"
_OPENING: Final = re.compile(rb"[\s\[]*")
#: What a decoder raises for text that is not JSON, not UTF-8, of other kinds than demanded, or nested too deep.
REFUSALS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_tensor(name: str, datatype: str, shape: list[int], raw: bytes | memoryview, budget: Budget) -> Tensor:
    """A tensor out of the JSON text of its ``data``.

    A null is NaN in FP data. A whole number may be written as a float, as in JSON Schema.

    Args:
        name: Name of the tensor, for errors.
        datatype: Its datatype as stated.
        shape: Its shape as stated.
        raw: JSON text: a flat array, or arrays nested as ``shape`` says.
        budget: What may still be decoded from the message.

    Raises:
        MalformedRequest: Unknown datatype, BF16 (which has no JSON form), bad shape, values of another kind or out of
            the datatype's range, ragged nesting, or another number of values than ``shape`` says.
        RequestTooLarge: ``too_many_parts``: so many values, so short, that they would take too much memory.
    """
    dtype = dtype_of(name, datatype)
    if datatype == "BF16":
        raise malformed(name, "BF16 has no JSON form; send it as binary data")
    count = count_elements(name, shape)
    depth = _depth(name, raw)
    if len(raw) > _IN_PIECES:
        # a value and its comma take two bytes: checked before the array of the stated shape is made
        if 2 * count > len(raw):
            raise malformed(name, f"data of {len(raw)} bytes has fewer values than the {count} of its shape")
        # refused before the memory is taken
        budget.spend(_cost(dtype, count, raw), "its values", name)
        if depth > 1 and depth != len(shape):
            raise malformed(name, f"data is nested {depth} deep, stated is {shape}")
        shape_of_text = tuple(shape) if depth > 1 else (count,)
        data = np.empty(shape_of_text, dtype)
        _fill(name, datatype, raw, data)
    else:
        data = _short(name, datatype, raw, depth)
        budget.spend(_cost(dtype, data.size, raw), "its values", name)
    if data.shape != tuple(shape) and (depth > 1 or data.size != count):
        raise malformed(name, f"data has shape {list(data.shape)}, stated is {shape}")
    return Tensor(name, datatype, tuple(shape), data.reshape(shape))


def _cost(dtype: np.dtype[Any], count: int, raw: bytes | memoryview) -> int:
    """How many bytes the values come to."""
    return ELEMENT_COST * count + len(raw) if dtype.kind == "O" else dtype.itemsize * count


def _short(name: str, datatype: str, raw: bytes | memoryview, depth: int) -> Array:
    dtype = dtype_of(name, datatype)
    try:
        values = _decoder(_KINDS[dtype.kind], depth).decode(raw)
    except REFUSALS as error:
        # only where the strict decoder refuses, since this takes longer
        whole = _whole_numbers(raw, depth) if dtype.kind in "ui" else None
        if whole is None:
            raise malformed(name, f"data is not {datatype}: {error}") from None
        values = whole
    return _array(name, datatype, dtype, values, depth)


def _fill(name: str, datatype: str, raw: bytes | memoryview, data: Array) -> None:
    """The same in pieces, each of which is in the array before the next is read: objects take ten times the room."""
    if raw[0] != ord("[") or raw[-1] != ord("]"):
        raise malformed(name, "data must be an array")
    pieces = jsonscan.pieces(raw, len(data))
    if pieces is None:
        raise malformed(name, f"data has more elements than its shape says, {len(data)} at this level")
    filled = 0
    for piece in pieces:
        # a row that is long by itself is filled piece by piece too
        if piece.alone and data.ndim > 1:
            _fill(name, datatype, piece.text, data[piece.first])
            filled += 1
            continue
        part = _short(name, datatype, piece.text, data.ndim - piece.alone)
        part = part[None] if piece.alone else part
        if part.shape[1:] != data.shape[1:]:
            raise malformed(name, _RAGGED)
        data[piece.first : piece.first + len(part)] = part
        filled += len(part)
    if filled != len(data):
        raise malformed(name, f"data has {filled} elements at a level where its shape says {len(data)}")


def encode_tensor(tensor: Tensor) -> list[Any] | msgspec.Raw:
    """The values of a tensor as a flat array, for msgspec's JSON encoder, which writes NaN as null.

    Many values are encoded in pieces: see :mod:`tandem.oip.jsonscan`.

    Raises:
        MalformedRequest: JSON cannot carry a value: infinity, BF16, or BYTES that are not UTF-8.
    """
    data = tensor.data
    if tensor.datatype == "BF16":
        raise malformed(tensor.name, "BF16 has no JSON form; ask for binary data")
    if data.dtype.kind == "O":
        data = tensor.strings()
    if data.dtype.kind == "f" and np.isinf(data).any():
        raise MalformedRequest(
            f"tensor {tensor.name!r}: holds an infinity, which JSON cannot carry; ask for binary data",
            code="infinity_not_json",
        )
    flat = data.ravel()
    if len(flat) <= _MANY:
        return flat.tolist()
    parts = [msgspec.json.encode(flat[at : at + _MANY].tolist())[1:-1] for at in range(0, len(flat), _MANY)]
    return msgspec.Raw(b"[%b]" % b",".join(parts))


def _depth(name: str, raw: bytes | memoryview) -> int:
    """How many arrays open before the first value."""
    opening = _OPENING.match(raw)
    depth = opening.group().count(b"[") if opening else 0
    if not 1 <= depth <= MAX_DIMENSIONS:
        raise malformed(name, f"data must be an array, nested at most {MAX_DIMENSIONS} deep")
    return depth


@cache
def _decoder(kind: Any, depth: int) -> msgspec.json.Decoder[Any]:
    nested: Any = kind
    for _ in range(depth):
        nested = list[nested]
    return msgspec.json.Decoder(nested)


def _whole_numbers(raw: bytes | memoryview, depth: int) -> list[Any] | None:
    """Integers out of numbers of which some are written as floats; None if one is not whole."""

    def whole(values: list[Any]) -> list[Any]:
        if values and isinstance(values[0], list):
            return [whole(inner) for inner in values]
        if not all(isinstance(value, int) or value.is_integer() for value in values):
            raise ValueError
        return [int(value) for value in values]

    try:
        return whole(_decoder(int | float, depth).decode(raw))
    except (*REFUSALS, ValueError):
        return None


def _array(name: str, datatype: str, dtype: np.dtype[Any], values: list[Any], depth: int) -> Array:
    try:
        # FP16 and FP32 would hold an infinity where a number is too large for them
        with np.errstate(over="raise"):
            data = np.array(values, dtype)
    except (OverflowError, FloatingPointError):
        raise malformed(name, f"a value is out of the range of {datatype}") from None
    except ValueError:
        raise malformed(name, _RAGGED) from None
    if data.ndim != depth:  # where NumPy is asked for objects it takes the inner lists for such
        raise malformed(name, _RAGGED)
    return bytes_array(data) if datatype == "BYTES" else data
