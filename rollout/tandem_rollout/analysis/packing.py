"""A record as it is kept, in a file or in an object of the cluster: JSON, compressed."""

from __future__ import annotations

import gzip
import zlib
from typing import Final

import msgspec

from tandem_rollout.analysis.record import SCHEMA, Record

_MAX_BYTES: Final = 64 * 1024 * 1024
"""Of a record, unpacked: far more than its bounds let it have."""


def pack(record: Record) -> bytes:
    """A record as bytes; the same record is the same bytes."""
    return gzip.compress(msgspec.json.encode(record), mtime=0)


def unpack(packed: bytes) -> Record | None:
    """A record that was kept; None where it is damaged, or written in another form than this program knows."""
    try:
        inflating = zlib.decompressobj(wbits=31)
        text = inflating.decompress(packed, _MAX_BYTES)
        record = msgspec.json.decode(text, type=Record) if inflating.eof else None
    except (zlib.error, msgspec.MsgspecError):
        return None
    return record if record is not None and record.schema == SCHEMA else None
