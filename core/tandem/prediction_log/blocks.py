"""Blocks: records as MessagePack, column by column.

``kind`` is "predictions" or "feedback", ``rows`` their number, ``degraded`` the reasons as JSON by row, and ``columns``
has ``[dtype, shape of a row, values]`` by name, where values are little-endian bytes, or a list of strings or bytes.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import msgspec
import numpy as np

from tandem.dtypes import Column
from tandem.errors import LogError
from tandem.prediction_log.records import Records
from tandem.prediction_log.schema import LogSchema

Kind = Literal["predictions", "feedback"]
"""What a block has records of."""

_TEXT: Final = "text"


class _Block(msgspec.Struct):
    kind: Kind
    rows: int
    columns: dict[str, tuple[str, tuple[int, ...], Any]]
    degraded: dict[int, str]


class _Kind(msgspec.Struct):
    kind: Kind


_encode = msgspec.msgpack.Encoder().encode
_decode_kind = msgspec.msgpack.Decoder(_Kind).decode
_decode = msgspec.msgpack.Decoder(_Block).decode


def kind_of(payload: bytes) -> Kind:
    """What a block has records of; nothing else of it is decoded."""
    return _decode_kind(payload).kind


def encode_block(kind: Kind, records: Records) -> bytes:
    """A block of records; their schema is not in it."""
    columns = {name: _packed(column) for name, column in records.columns.items()}
    return _encode(_Block(kind, records.rows, columns, records.degraded))


def decode_block(schema: LogSchema, payload: bytes) -> tuple[Kind, Records]:
    """Kind and records of a block.

    Args:
        schema: Of the segment that it is in.
        payload: The block.

    Raises:
        LogError: if it is not one.
    """
    try:
        block = _decode(payload)
        columns = {name: _unpacked(block.rows, *column) for name, column in block.columns.items()}
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise LogError(f"a block of the prediction log cannot be read: {error}") from error
    return block.kind, Records(schema, block.rows, columns, block.degraded)


def _packed(column: Column) -> tuple[str, tuple[int, ...], Any]:
    shape = column.shape[1:]
    if column.dtype != object:
        little = column.astype(column.dtype.newbyteorder("<"), copy=False)
        return little.dtype.str, shape, np.ascontiguousarray(little).tobytes()
    texts: list[str | bytes] = column.ravel().tolist()
    return _TEXT, shape, [_encodable(text) for text in texts]


def _encodable(text: str | bytes) -> str | bytes:
    # half of a surrogate pair, which JSON may hold, has no UTF-8
    if isinstance(text, bytes) or text.isascii():
        return text
    return text.encode(errors="surrogatepass").decode(errors="replace")


def _unpacked(rows: int, dtype: str, shape: tuple[int, ...], values: Any) -> Column:
    if dtype != _TEXT:
        # read-only, a view of the block
        return np.frombuffer(values, np.dtype(dtype)).reshape(rows, *shape)
    column = np.empty(rows * math.prod(shape), object)
    column[:] = values
    return column.reshape(rows, *shape)
