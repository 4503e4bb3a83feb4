"""The ``data`` of a tensor in JSON: flat or nested row-major, kinds of values strictly those of the datatype."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np

from tandem.errors import MalformedRequest
from tandem.oip.tensors import MAX_DIMENSIONS, Array, Tensor, bytes_array, count_elements, dtype_of, malformed

_KINDS: Final[dict[str, Any]] = {"b": bool, "u": int, "i": int, "f": float | None, "O": str}
_RAGGED: Final = "data is ragged: arrays of one level differ in length"
_OPENING: Final = re.compile(rb"[\s\[]*")
#: What a decoder raises for text that is not JSON, not UTF-8, of other kinds than demanded, or nested too deep.
REFUSALS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_tensor(name: str, datatype: str, shape: list[int], raw: bytes | memoryview) -> Tensor:
    """A tensor out of the JSON text of its ``data``.

    A null is NaN in FP data. A whole number may be written as a float, as in JSON Schema.

    Args:
        name: Name of the tensor, for errors.
        datatype: Its datatype as stated.
        shape: Its shape as stated.
        raw: JSON text: a flat array, or arrays nested as ``shape`` says.

    Raises:
        MalformedRequest: Unknown datatype, BF16 (which has no JSON form), bad shape, values of another kind or out of
            the datatype's range, ragged nesting, or another number of values than ``shape`` says.
    """
    dtype = dtype_of(name, datatype)
    if datatype == "BF16":
        raise malformed(name, "BF16 has no JSON form; send it as binary data")
    count = count_elements(name, shape)
    depth = _depth(name, raw)
    try:
        values = _decoder(_KINDS[dtype.kind], depth).decode(raw)
    except REFUSALS as error:
        whole = _whole_numbers(raw, depth) if dtype.kind in "ui" else None
        if whole is None:
            raise malformed(name, f"data is not {datatype}: {error}") from None
        values = whole
    data = _array(name, datatype, dtype, values, depth)
    if data.shape != tuple(shape) and (depth > 1 or data.size != count):
        raise malformed(name, f"data has shape {list(data.shape)}, stated is {shape}")
    return Tensor(name, datatype, tuple(shape), data.reshape(shape))


def encode_tensor(tensor: Tensor) -> list[Any]:
    """The values of a tensor as a flat list, for msgspec's JSON encoder, which writes NaN as null.

    Raises:
        MalformedRequest: JSON cannot carry a value: infinity, BF16, or BYTES that are not UTF-8.
    """
    data = tensor.data
    if tensor.datatype == "BF16":
        raise malformed(tensor.name, "BF16 has no JSON form; ask for binary data")
    if data.dtype.kind == "O":
        return tensor.strings().ravel().tolist()
    if data.dtype.kind == "f" and np.isinf(data).any():
        raise MalformedRequest(
            f"tensor {tensor.name!r}: holds an infinity, which JSON cannot carry; ask for binary data",
            code="infinity_not_json",
        )
    return data.ravel().tolist()


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
        with np.errstate(over="raise"):
            data = np.array(values, dtype)
    except (OverflowError, FloatingPointError):
        raise malformed(name, f"a value is out of the range of {datatype}") from None
    except ValueError:
        raise malformed(name, _RAGGED) from None
    if data.ndim != depth:  # where NumPy is asked for objects it takes the inner lists for such
        raise malformed(name, _RAGGED)
    return bytes_array(data) if datatype == "BYTES" else data
