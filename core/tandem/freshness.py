"""How old the values of a feature view are in the online store, compared with its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from tandem.arrow_tables import without_string_views
from tandem.dtypes import Column
from tandem.feature_batches import read_event_times, read_key
from tandem.features import FeatureView
from tandem.packed_rows import RowLayout
from tandem.sources import Source
from tandem.stores import OnlineStore, is_newer
from tandem.watermarks import read_watermark

SAMPLE = 1_000
"""Rows of the table, the newest ones, that are looked up in the store."""

Status = Literal["fresh", "behind", "interrupted", "never"]
"""Whether the store has the newest rows of the table; a run was interrupted; or there has been none."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh a feature view is.

    Attributes:
        view: Its name.
        status: One of :data:`Status`.
        rows: Rows of the table.
        newest_offline: Greatest event time of the table, ``datetime64[us]``; NaT if it is empty.
        newest_online: Greatest event time that was materialized; NaT for none.
        materialized_at: When the last run ended; NaT if none has.
        new_rows: Rows of the table with a later event time than any that was materialized.
        sampled: Entities that were looked up: those of the newest rows of the table.
        missing: Of these, entities that the store does not have.
        older: Of these, entities of which the store has an older row.
    """

    view: str
    status: Status
    rows: int
    newest_offline: np.datetime64
    newest_online: np.datetime64
    materialized_at: np.datetime64
    new_rows: int
    sampled: int
    missing: int
    older: int


async def compare_freshness(view: FeatureView, source: Source, store: OnlineStore) -> Freshness:
    """Compare a feature view in the online store with its table.

    Args:
        view: The feature view.
        source: Its table, of which keys and event times are read.
        store: The online store.

    Raises:
        DefinitionError: naming the table and the column that cannot be read.
        StoreError: if the store cannot be reached.
    """
    watermark = await read_watermark(view, store)
    online = _moment(watermark.newest_event_time if watermark else None)
    layout = RowLayout(view)
    newest: dict[bytes, int] = {}
    rows = new_rows = 0
    newest_offline = np.datetime64("NaT", "us")
    for batch in source.open().to_batches(columns=[*view.keys, source.event_time]):
        if not batch.num_rows:
            continue
        times = read_event_times(batch, source.event_time, rows)
        newest_offline = np.fmax(newest_offline, times.max())
        newest = _newest(newest, layout, without_string_views(batch), times, rows)
        # a comparison with NaT is false: without a watermark all rows are new
        new_rows += int(np.count_nonzero(~(times <= online)))
        rows += batch.num_rows
    stored = await store.get(list(newest))
    missing = sum(row is None for row in stored)
    older = sum(
        row is not None and is_newer(_head(layout, time), row)
        for row, time in zip(stored, newest.values(), strict=True)
    )
    ended_at = _moment(watermark.ended_at if watermark else None)
    interrupted = watermark is not None and watermark.run is not None
    status: Status = "interrupted" if interrupted else "never" if np.isnat(ended_at) else "fresh"
    if status == "fresh" and (new_rows or missing or older):
        status = "behind"
    return Freshness(view.name, status, rows, newest_offline, online, ended_at, new_rows, len(newest), missing, older)


def _newest(
    newest: dict[bytes, int], layout: RowLayout, batch: pa.RecordBatch, times: Column, first: int
) -> dict[bytes, int]:
    """Keys with the newest event times so far, and these; at most :data:`SAMPLE`."""
    order = np.argsort(times)[-SAMPLE:]
    rows = batch.take(pa.array(order, pa.int64()))
    keys = layout.keys([read_key(rows, name, first) for name in layout.view.keys])
    merged = dict(newest)
    for key, time in zip(keys, times[order].astype(np.int64).tolist(), strict=True):
        merged[key] = max(time, merged.get(key, time))
    return dict(sorted(merged.items(), key=lambda entry: entry[1])[-SAMPLE:])


def _head(layout: RowLayout, time: int) -> bytes:
    """Head of a row with an event time, as the store compares it."""
    return layout.checksum.to_bytes(4, "little") + time.to_bytes(8, "little", signed=True)


def _moment(microseconds: int | None) -> np.datetime64:
    return np.datetime64("NaT", "us") if microseconds is None else np.datetime64(microseconds, "us")
