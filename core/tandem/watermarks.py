"""How far a feature view is materialized: kept in the online store itself, so that both are lost together."""

from __future__ import annotations

import struct

import msgspec

from tandem.errors import StoreError
from tandem.features import FeatureView
from tandem.stores import HEAD, OnlineStore

_MARK = b"TWM1"
"""Stands where the rows of views have their layout."""


class RunProgress(msgspec.Struct, frozen=True):
    """A run that has not come to its end.

    Attributes:
        plan: Fingerprint of what it reads.
        pieces: Pieces of it that are written.
        newest: Greatest value of the watermark's column in these, microseconds since 1970.
        newest_event_time: Greatest event time in these, microseconds since 1970.
    """

    plan: str
    pieces: int
    newest: int | None
    newest_event_time: int | None


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs so far have read of a view's table.

    Attributes:
        layout: Checksum of the layout of the rows that they have written; rows of another one are written anew.
        column: The column by which new rows are told from old ones: when they became known, or else the event time.
        newest: Greatest value in this column, microseconds since 1970; None if no run has ended yet.
        newest_event_time: Greatest event time, microseconds since 1970; None if there was no row.
        ended_at: When the last run ended, microseconds since 1970; None if none has.
        run: The run under way.
    """

    layout: int
    column: str
    newest: int | None = None
    newest_event_time: int | None = None
    ended_at: int | None = None
    run: RunProgress | None = None


def watermark_key(view: FeatureView) -> bytes:
    """Key of a view's watermark in the online store; no key of a row begins like this, since ``:`` is in no name."""
    return f":watermark:{view.name}:{view.version}".encode()


async def read_watermark(view: FeatureView, store: OnlineStore) -> Watermark | None:
    """The watermark of a view; None if it was never materialized.

    Raises:
        StoreError: if the store cannot be reached, or the watermark cannot be read.
    """
    (row,) = await store.get([watermark_key(view)])
    if row is None:
        return None
    try:
        return msgspec.json.decode(row[HEAD:], type=Watermark)
    except msgspec.MsgspecError as error:
        raise StoreError(f"the watermark of feature view {view.name!r} cannot be read: {error}") from error


async def write_watermark(view: FeatureView, store: OnlineStore, watermark: Watermark) -> None:
    """Keep the watermark of a view.

    Raises:
        StoreError: if the store cannot be reached or refuses.
    """
    row = _MARK + struct.pack("<q", watermark.newest_event_time or 0) + msgspec.json.encode(watermark)
    await store.put([(watermark_key(view), row)], overwrite=True)
