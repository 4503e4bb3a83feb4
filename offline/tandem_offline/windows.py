"""The windows of a feature view over a table of events: what a stream of the same events yields, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tandem.arrow_tables import ARROW_TYPES, TableSource, check_columns, naming_file, naming_view, window_schema
from tandem.columns import read_column
from tandem.dtypes import Column, Columns
from tandem.errors import DefinitionError
from tandem.features import FeatureView
from tandem.sources import Source
from tandem.tables import missing_column
from tandem.windows.layout import Events, Parts, WindowLayout
from tandem_offline.engine import Limits, Query
from tandem_offline.scanning import ROWS_PER_BATCH, Scan
from tandem_offline.window_queries import EVENTS, WindowQuery


class WindowTable:
    """The closed windows of a table of events; a table wherever Tandem takes one, and one for the offline store.

    Columns: the view's keys as text, as the online store has them; ``event_time``, the end of the window; ``created``,
    the end plus the grace, which is the first time at which the window may be known; ``window_start``; and the view's
    features, null where a window has none. Rows are in the order of the first columns ``event_time`` and keys.

    Args:
        view: A view with a window.
        events: The table: keys, event time, and the columns of the view's statistics. An infinite number is refused,
            and a NaN is null. Times without a zone are in UTC.
        partition: Column with the partition of each event; None if there is only one. Each has a watermark of its own.
        offset: Column with the place of each event in its partition; None if they arrived in the order of the table.
        limits: What queries may use.

    Raises:
        DefinitionError: naming the view, the table, and the column that is missing or of another type.
    """

    def __init__(
        self,
        view: FeatureView,
        events: Source | TableSource,
        *,
        partition: str | None = None,
        offset: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.view = view
        self._layout = WindowLayout(view)
        self.schema = window_schema(view)
        self._limits = limits or Limits()
        source = events if isinstance(events, Source) else Source(events)
        self._scan = _scan(self._layout, source, partition, offset)
        self._sql = WindowQuery(
            self._layout.window, len(view.keys), len(self._layout.columns), partition is not None, offset is not None
        )

    def batches(self, events: int = ROWS_PER_BATCH) -> Iterator[pa.RecordBatch]:
        """Compute the windows anew, and return them in batches: memory does not grow with the events.

        Args:
            events: About how many events are read at a time.

        Raises:
            DefinitionError: naming view, table, column and rows of what cannot be read.
        """
        query = Query(self._sql.closed, {EVENTS: self._scan})
        pending: list[_Window] = []
        for batch in query.batches(self._limits, events):
            pending = self._merge(pending, self._windows(batch))
            # the last window may go on in the next batch
            yield self._rows(pending[:-1])
            pending = pending[-1:]
        yield self._rows(pending)

    def to_arrow(self) -> pa.Table:
        """All windows in memory.

        Raises:
            DefinitionError: as :meth:`batches`.
        """
        return pa.Table.from_batches(list(self.batches()), self.schema)

    def late_rows(self) -> NDArray[np.int64]:
        """Rows of the table, from 0, whose events came too late for one of their windows, or for all; each once.

        Raises:
            DefinitionError: as :meth:`batches`.
        """
        batches = list(Query(self._sql.late, {EVENTS: self._scan}).batches(self._limits))
        return np.concatenate([np.zeros(0, np.int64), *(np.asarray(batch.column(0), np.int64) for batch in batches)])

    def _windows(self, batch: pa.RecordBatch) -> list[_Window]:
        """The windows of a batch, with those of its events that it has."""
        if not batch.num_rows:
            return []
        width = len(self.view.keys) + 3
        bounds = _bounds([batch.column(place) for place in range(width)])
        ids = batch.select(range(width)).take(pa.array(bounds[:-1])).to_pylist()
        parts = self._layout.summarize(self._events(batch, width), np.arange(batch.num_rows), bounds)
        return [_Window(tuple(id_.values()), values) for id_, values in zip(ids, parts, strict=True)]

    def _events(self, batch: pa.RecordBatch, width: int) -> Events:
        times = np.asarray(batch.column(width)).astype("datetime64[us]")
        places = np.asarray(batch.column(width + 1))
        columns: Columns = {}
        nulls: dict[str, Column] = {}
        with naming_view(self.view):
            for place, (name, type_) in enumerate(self._layout.columns.items(), width + 2):
                columns[name], null = read_column(name, batch.column(place), type_, places)
                if null is not None:
                    nulls[name] = null
        return Events([], times, columns, nulls)

    def _merge(self, pending: Sequence[_Window], windows: list[_Window]) -> list[_Window]:
        if not pending or not windows or pending[0].id != windows[0].id:
            return [*pending, *windows]
        first = _Window(windows[0].id, self._layout.merge(pending[0].parts, windows[0].parts))
        return [first, *windows[1:]]

    def _rows(self, windows: Sequence[_Window]) -> pa.RecordBatch:
        if not windows:
            return pa.RecordBatch.from_pylist([], self.schema)
        _, *keys, starts, ends = zip(*(window.id for window in windows), strict=True)
        columns, nulls = self._layout.features([window.parts for window in windows])
        created = [end + self._layout.window.grace_us for end in ends]
        values: list[Any] = [*keys, ends, created, starts]
        arrays = [pa.array(value, field.type) for value, field in zip(values, self.schema, strict=False)]
        arrays += [_arrow(columns[item.name], nulls.get(item.name), item.type) for item in self.view.features]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


@dataclass(frozen=True, slots=True)
class _Window:
    """A window, by partition, keys, beginning and end, with what is known of it."""

    id: tuple[Any, ...]
    parts: Parts


def _scan(layout: WindowLayout, source: Source, partition: str | None, offset: str | None) -> Scan:
    view, event_time = layout.view, layout.window.event_time
    with naming_view(view):
        table = source.open()
        with naming_file(source.table):
            check_columns(table.schema, view.keys, layout.columns, event_time, what="declared type")
            for name in (partition, offset):
                if name is not None and table.schema.get_field_index(name) < 0:
                    raise DefinitionError(missing_column(name, table.schema.names))
    columns = {f"k{index}": key for index, key in enumerate(view.keys)}
    columns |= {f"x{index}": name for index, name in enumerate(layout.columns)}
    columns |= {"t": event_time}
    required = dict.fromkeys(view.keys, "a key must always be given") | {event_time: "each event needs a time"}
    for alias, name in (("p", partition), ("o", offset)):
        if name is not None:
            columns[alias] = name
            required[name] = "each event needs its place"
    return Scan(f"feature view {view.name!r}: {source.name}", table, columns, required)


def _bounds(columns: Sequence[Any]) -> list[int]:
    """Where rows begin that differ from those before them, and where the last ones end."""
    rows = len(columns[0])
    differs = np.zeros(max(rows - 1, 0), bool)
    for column in columns:
        differs |= np.asarray(pc.not_equal(column[1:], column[:-1]))
    return [0, *(np.flatnonzero(differs) + 1).tolist(), rows]


def _arrow(column: Column, null: Column | None, type_: str) -> pa.Array[Any]:
    values = column.astype(np.int64) if type_ == "timestamp" else column
    return pa.array(values, ARROW_TYPES[type_], mask=null)
