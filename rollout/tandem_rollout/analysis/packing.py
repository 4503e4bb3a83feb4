"""The stored form of a record, in a file or in an object of the cluster: compressed JSON."""

from __future__ import annotations

import gzip
import zlib
from typing import Final

import msgspec

from tandem_rollout.analysis.record import SCHEMA, Record

_MAX_BYTES: Final = 64 * 1024 * 1024
"""Maximum size of an unpacked record, far above that of a valid one."""


def pack(record: Record) -> bytes:
    """Pack a record. Equal records give equal bytes."""
    # without mtime=0 the header has the present time, and equal records have different bytes
    return gzip.compress(msgspec.json.encode(record), mtime=0)


def unpack(packed: bytes) -> Record | None:
    """Unpack a record; None if it is damaged or has another schema."""
    try:
        # gzip.decompress has no limit of the size; wbits=31 selects gzip's format
        inflating = zlib.decompressobj(wbits=31)
        text = inflating.decompress(packed, _MAX_BYTES)
        # a record that was cut, or is longer than the limit, does not reach its end
        record = msgspec.json.decode(text, type=Record) if inflating.eof else None
    except (zlib.error, msgspec.MsgspecError):
        return None
    return record if record is not None and record.schema == SCHEMA else None
