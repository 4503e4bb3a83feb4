"""Raw bytes of tensors: row-major, little-endian, without padding.

The binary-tensor extension over REST and the ``raw_*_contents`` of gRPC use the same form. A BOOL is one byte, 0 or 1;
a BYTES element is its length as four bytes, little-endian, and then its bytes.

Source: Triton, ``extension_binary_data.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from tandem.oip.memory import Budget
from tandem.oip.tensors import Array, Tensor, count_elements, dtype_of, malformed

_LENGTH = struct.Struct("<I")
ELEMENT_COST: Final = 49
"""Bytes of an element beside its content: the object, its place in the array, and what is lost to rounding."""


def decode_tensor(
    name: str, datatype: str, shape: Sequence[int], body: bytes, offset: int, size: int, budget: Budget
) -> Tensor:
    """A tensor out of ``size`` bytes at ``offset`` of ``body``.

    Numbers are not copied where their alignment allows; such an array is read-only and keeps ``body`` alive.

    Raises:
        MalformedRequest: Unknown datatype, bad shape, or bytes that do not fit them.
        RequestTooLarge: ``too_many_parts``: so many strings, so short, that they would take too much memory.
    """
    dtype = dtype_of(name, datatype)
    count = count_elements(name, shape)
    if offset + size > len(body):
        raise malformed(name, f"{size} bytes announced, {len(body) - offset} left in the body")
    if datatype == "BYTES":
        data = _decode_elements(name, body, offset, size, count, budget)
        return Tensor(name, datatype, tuple(shape), data.reshape(shape))
    if size != count * dtype.itemsize:
        raise malformed(name, f"{size} bytes given, {datatype} of shape {list(shape)} takes {count * dtype.itemsize}")
    # a view of the body; frombuffer refuses an empty one
    data = np.frombuffer(body, dtype, count, offset) if count else np.empty(0, dtype)
    # NumPy would take any byte for a truth value, and compare it with True as unequal
    if datatype == "BOOL" and count and data.view(np.uint8).max() > 1:
        raise malformed(name, "a BOOL is neither 0 nor 1")
    # ONNX Runtime and NumPy are slower, or fail, on numbers that are not aligned
    if not data.flags.aligned:
        data = data.copy()
    return Tensor(name, datatype, tuple(shape), data.reshape(shape))


def encode_tensor(tensor: Tensor) -> bytes:
    """The bytes of a tensor.

    Raises:
        MalformedRequest: The array does not have the type of the tensor's datatype.
    """
    dtype = dtype_of(tensor.name, tensor.datatype)
    if dtype.kind == "O":
        return _encode_elements(tensor)
    if tensor.data.dtype != dtype:
        raise malformed(tensor.name, f"{tensor.datatype} is carried by {dtype}, not by {tensor.data.dtype}")
    return tensor.data.astype(dtype, copy=False).tobytes()


def _decode_elements(name: str, body: bytes, offset: int, size: int, count: int, budget: Budget) -> Array:
    end = offset + size
    # before memory is set aside: a few bytes of shape can announce billions of elements
    if count * _LENGTH.size > size:
        raise malformed(name, f"{size} bytes cannot hold {count} elements")
    budget.spend(ELEMENT_COST * count + size, "its elements", name)
    elements = np.empty(count, object)
    for index in range(count):
        if offset + _LENGTH.size > end:
            raise malformed(name, f"element {index} is cut off")
        (length,) = _LENGTH.unpack_from(body, offset)
        offset += _LENGTH.size
        if offset + length > end:
            raise malformed(name, f"element {index} is cut off")
        elements[index] = body[offset : offset + length]
        offset += length
    if offset != end:
        raise malformed(name, f"{end - offset} bytes follow the last of {count} elements")
    return elements


def _encode_elements(tensor: Tensor) -> bytes:
    parts: list[bytes] = []
    for element in tensor.data.ravel().tolist():
        if not isinstance(element, bytes):
            raise malformed(tensor.name, f"elements of BYTES are bytes, not {type(element).__name__}")
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)
