"""From a table of features to the online store, for one feature view.

The table is read in batches, so that it may be larger than memory; of several rows for one entity the newest counts,
and a row that is newer in the store is left as it is. Writing a row twice changes nothing, so an interrupted run is
simply repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tandem.arrow_tables import EVENT_TIME, TableSource, check_schema, naming_file, open_table, without_string_views
from tandem.columns import read_column, rows_named
from tandem.dtypes import Column, Columns
from tandem.errors import DefinitionError
from tandem.features import FeatureView
from tandem.packed_rows import RowLayout
from tandem.stores import OnlineStore

ROWS_PER_BATCH = 20_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What :func:`materialize` did.

    Attributes:
        rows_read: Rows of the table so far.
        entities_written: Different entities of the table whose newest values are in the store now.
        newest: Newest event time of the table, ``datetime64[us]``; NaT for an empty table.
        entities_newer: Different entities that were left alone, since the store had newer values.
    """

    rows_read: int
    entities_written: int
    newest: np.datetime64
    entities_newer: int = 0


async def materialize(
    view: FeatureView,
    table: TableSource,
    store: OnlineStore,
    *,
    event_time: str = EVENT_TIME,
    overwrite: bool = False,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Write the newest values of every entity in a table to the online store, where it has no newer ones.

    Args:
        view: The feature view.
        table: Has a column for each key and each feature of the view, and one with the event time; further columns
            are not read. Timestamps without a zone are taken as UTC. A NaN is a null.
        store: Where to write.
        event_time: Name of the column with the event time.
        overwrite: Write whatever the store has, as after a run with wrong event times.
        progress: Called after each batch with what was done so far.

    Raises:
        DefinitionError: naming file, column and rows, and the rule that they break: missing, of another type, infinite,
            or null where nothing stands for a null.
        StoreError: if the store cannot be reached or refuses.
    """
    with naming_file(table):
        source = open_table(table)
        check_schema(view, source.schema, event_time)
    layout = RowLayout(view)
    latest: dict[bytes, int] = {}
    newer: set[bytes] = set()
    summary = Summary(0, 0, np.datetime64("NaT", "us"))
    names = [*view.keys, *(feature.name for feature in view.features), event_time]
    for batch in map(without_string_views, source.to_batches(columns=names, batch_size=ROWS_PER_BATCH)):
        if not batch.num_rows:
            continue
        with naming_file(table):
            times = _event_times(batch, event_time, summary.rows_read)
            keys = layout.keys([_key(batch, name, summary.rows_read) for name in view.keys])
            newest = _newest(keys, times, latest)
            packed = _pack(layout, batch, times, newest, summary.rows_read)
        written = [keys[index] for index in newest]
        newer.difference_update(written)
        newer.update(await store.put(zip(written, packed, strict=True), overwrite=overwrite))
        summary = Summary(
            summary.rows_read + batch.num_rows,
            len(latest) - len(newer),
            np.fmax(summary.newest, times.max()),
            len(newer),
        )
        if progress is not None:
            progress(summary)
    return summary


def _newest(keys: Sequence[bytes], times: Column, seen: dict[bytes, int]) -> list[int]:
    """Rows of a batch that are newer than all of their entity before; each entity once.

    Of rows with the same event time the last one counts.
    """
    newest_rows: dict[bytes, int] = {}
    for index, (key, time) in enumerate(zip(keys, times.astype(np.int64).tolist(), strict=True)):
        # 0 is 1970 and as good as any time: absence must be distinguished from it
        if (before := seen.get(key)) is None or time >= before:
            seen[key] = time
            newest_rows[key] = index
    return list(newest_rows.values())


def _key(batch: pa.RecordBatch, name: str, first: int) -> Column:
    column = batch.column(name)
    if column.null_count:
        raise DefinitionError(f"column {name!r} has nulls in {_null_rows(column, first)}; a key must always be given")
    return np.array(column.to_pylist(), object)


def _event_times(batch: pa.RecordBatch, name: str, first: int) -> Column:
    column = batch.column(name)
    if column.null_count:
        raise DefinitionError(f"column {name!r} has nulls in {_null_rows(column, first)}; each row needs an event time")
    return read_column(name, column, "timestamp")[0]


def _null_rows(column: pa.Array[Any], first: int) -> str:
    return rows_named(first + np.flatnonzero(np.asarray(column.is_null())))


def _pack(layout: RowLayout, batch: pa.RecordBatch, times: Column, rows: list[int], first: int) -> list[bytes]:
    """Packed rows of the given rows of a batch; ``first`` is the table's row with which the batch begins."""
    chosen = batch if len(rows) == batch.num_rows else batch.take(pa.array(rows, pa.int64()))
    places = first + np.array(rows, np.int64)
    columns: Columns = {}
    nulls: Columns = {}
    for feature in layout.view.features:
        columns[feature.name], null = read_column(feature.name, chosen.column(feature.name), feature.type, places)
        if null is None:
            continue
        if not feature.nullable:
            raise DefinitionError(
                f"column {feature.name!r} has nulls in {rows_named(places[null])}; the feature is {feature.type} and "
                "has no default"
            )
        nulls[feature.name] = null
    return layout.pack(columns, times[rows], nulls)
