"""From a table of features to the online store, for one feature view.

The table is read in batches, so that it may be larger than memory; of several rows for one entity the newest counts,
and a row that is newer in the store is left as it is. Writing a row twice changes nothing, so an interrupted run is
simply repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tandem.arrow_tables import (
    EVENT_TIME,
    TableSource,
    check_schema,
    naming_file,
    naming_view,
    open_table,
    without_string_views,
)
from tandem.feature_batches import pack_rows, read_event_times, read_key, select_newest
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
    ttl_s: float | None = None,
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
        ttl_s: Seconds after which the rows that are written expire in the store; None for never.
        progress: Called after each batch with what was done so far.

    Raises:
        DefinitionError: naming file, column and rows, and the rule that they break: missing, of another type, infinite,
            or null where nothing stands for a null.
        StoreError: if the store cannot be reached or refuses.
    """
    with naming_file(table):
        source = open_table(table)
        with naming_view(view):
            check_schema(view, source.schema, event_time)
    layout = RowLayout(view)
    # memory grows with the entities, not with the rows
    latest: dict[bytes, int] = {}
    newer: set[bytes] = set()
    summary = Summary(0, 0, np.datetime64("NaT", "us"))
    names = [*view.keys, *(feature.name for feature in view.features), event_time]
    for batch in map(without_string_views, source.to_batches(columns=names, batch_size=ROWS_PER_BATCH)):
        if not batch.num_rows:
            continue
        with naming_file(table):
            times = read_event_times(batch, event_time, summary.rows_read)
            keys = layout.keys([read_key(batch, name, summary.rows_read) for name in view.keys])
            newest = select_newest(keys, times, latest)
            packed = pack_rows(layout, batch, times, newest, summary.rows_read)
        written = [keys[index] for index in newest]
        # a later batch may have a row that is newer than that of the store
        newer.difference_update(written)
        newer.update(await store.put(zip(written, packed, strict=True), overwrite=overwrite, ttl_s=ttl_s))
        summary = Summary(
            summary.rows_read + batch.num_rows,
            len(latest) - len(newer),
            np.fmax(summary.newest, times.max()),
            len(newer),
        )
        if progress is not None:
            progress(summary)
    return summary
