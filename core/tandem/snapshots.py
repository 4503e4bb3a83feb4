"""From feature tables, or from an online store, to a snapshot: one file with the newest row of each entity.

Both are read in batches, so that they may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tandem.clock import utc_now
from tandem.errors import StoreError, UnreadableRows
from tandem.features import FeatureView
from tandem.packed_rows import RowLayout
from tandem.sources import Source
from tandem.store_keys import key_prefix
from tandem.stores.snapshot_format import Footer
from tandem.stores.snapshot_writer import SnapshotWriter

ROWS_PER_BATCH = 20_000

Row = tuple[bytes, bytes]
"""Key and packed row."""


class RowBatch(NamedTuple):
    """Rows of a feature view.

    Attributes:
        rows: Keys and packed rows.
        read: How many rows were read for them.
    """

    rows: list[Row]
    read: int


Rows = Callable[[FeatureView], Iterator[RowBatch]]
"""Reads the rows of a feature view: :func:`rows_of_tables`, :func:`rows_of_store`."""

Progress = Callable[[str, int], None]
"""Called with the name of a view whose rows are read and how many were read so far; then with ``write``."""


class ScannedStore(Protocol):
    """An online store whose rows can be listed."""

    def scan_now(self, prefix: bytes) -> Iterator[list[Row]]:
        """Rows whose keys begin with a prefix, in batches; a row may come twice.

        Raises:
            StoreError: if the store cannot be reached or refuses.
        """
        ...


def write_snapshot(
    path: Path | str, views: Sequence[FeatureView], rows: Rows, *, progress: Progress | None = None
) -> Footer:
    """Build a snapshot of feature views, all or nothing; a file that is there is replaced.

    Args:
        path: The file.
        views: The feature views.
        rows: Reads the rows of each; of several rows of an entity, the newest stays.
        progress: Called after each batch.

    Raises:
        DefinitionError: naming file, column and rows of a table that cannot be read, as
            :func:`~tandem.materialize.materialize`.
        StoreError: if the online store cannot be read, or the file not be written.
    """
    report = progress or (lambda phase, done: None)
    # the only clock: the file says when it was built
    with SnapshotWriter(path, views, created_at=int(utc_now().astype(np.int64))) as writer:
        for view in views:
            read = 0
            for batch in rows(view):
                writer.add(view, batch.rows)
                read += batch.read
                report(view.name, read)
        return writer.finish(progress=lambda done: report("write", done))


def rows_of_tables(sources: Mapping[str, Source]) -> Rows:
    """Reads the rows of feature views from their tables.

    Args:
        sources: The table of each view, by its name.
    """
    return lambda view: _table_rows(view, sources[view.name])


def rows_of_store(store: ScannedStore) -> Rows:
    """Reads the rows of feature views from an online store.

    Args:
        store: The store.
    """
    return lambda view: _stored_rows(view, store)


def _table_rows(view: FeatureView, source: Source) -> Iterator[RowBatch]:
    # Arrow takes a second to import
    from tandem.arrow_tables import check_schema, naming_file, naming_view, without_string_views
    from tandem.feature_batches import pack_rows, read_event_times, read_key, select_newest

    layout = RowLayout(view)
    with naming_file(source.table), naming_view(view):
        table = source.open()
        check_schema(view, table.schema, source.event_time)
    names = [*view.keys, *(feature.name for feature in view.features), source.event_time]
    first = 0
    for batch in map(without_string_views, table.to_batches(columns=names, batch_size=ROWS_PER_BATCH)):
        if not batch.num_rows:
            continue
        with naming_file(source.table), naming_view(view):
            times = read_event_times(batch, source.event_time, first)
            keys = layout.keys([read_key(batch, name, first) for name in view.keys])
            # of a batch alone, so that memory does not grow: the writer compares the batches
            newest = select_newest(keys, times, {})
            packed = pack_rows(layout, batch, times, newest, first)
        yield RowBatch(list(zip([keys[index] for index in newest], packed, strict=True)), batch.num_rows)
        first += batch.num_rows


def _stored_rows(view: FeatureView, store: ScannedStore) -> Iterator[RowBatch]:
    layout = RowLayout(view)
    for rows in store.scan_now(key_prefix(view)):
        try:
            layout.unpack([row for _, row in rows])
        except UnreadableRows as error:
            raise StoreError(f"row {rows[error.rows[0]][0]!r} of the store: {error}") from error
        yield RowBatch(rows, len(rows))
