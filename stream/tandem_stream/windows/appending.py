"""From the topic of closed windows to a table, on a thread of its own.

Rows are collected until there are many, or until some time has passed: a table of many small files is slow to read.
What is collected is lost with the process, and read again from where the table ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tandem.windows.layout import WindowLayout
from tandem.windows.state import definition_hash
from tandem_stream.records import Records
from tandem_stream.source import Source
from tandem_stream.topics import StreamError
from tandem_stream.windows.closed import DEFINITION
from tandem_stream.windows.metrics import WindowMetrics
from tandem_stream.windows.tables import WindowTable, window_rows

log = logging.getLogger(__name__)

_PAUSE_S: Final = 2.0


@dataclass(slots=True)
class _Pending:
    """Messages of a partition that the table does not have.

    Attributes:
        first: Where the table ends.
        end: Offset after the last of them.
        values: Their values, without those of other definitions of the view.
    """

    first: int
    end: int
    values: list[bytes] = field(default_factory=list)


class TableAppender:
    """Appends closed windows to a table, each once.

    Args:
        table: The table.
        layout: Of the view. Windows of other definitions of it are left out.
        open_source: Opens a consumer of the topic; it takes where reading of a partition begins.
        metrics: Takes what is measured.
        max_rows: Windows after which the table is appended to.
        max_wait_s: Seconds after which it is.
    """

    def __init__(
        self,
        table: WindowTable,
        layout: WindowLayout,
        open_source: Callable[[Callable[[int], int]], Source],
        metrics: WindowMetrics,
        *,
        max_rows: int,
        max_wait_s: float,
    ) -> None:
        self._table = table
        self._view = layout.view
        self._definition = definition_hash(layout).hex().encode()
        self._open_source = open_source
        self._metrics = metrics
        self._max_rows = max_rows
        self._max_wait_s = max_wait_s
        self._pending: dict[int, _Pending] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="table", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Append what has been read, and end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._append_until_stopped()
            except Exception as error:
                # windows do not wait for the table: their topic has them until it can be written again
                self._metrics.table_failed()
                log.warning("the table is opened anew: %s: %s", type(error).__name__, error)
                self._stop.wait(_PAUSE_S)

    def _append_until_stopped(self) -> None:
        self._pending.clear()
        source = self._open_source(self._begin)
        try:
            deadline = time.monotonic() + self._max_wait_s
            while not self._stop.is_set():
                self._take(source, source.poll())
                rows = sum(len(pending.values) for pending in self._pending.values())
                if rows >= self._max_rows or time.monotonic() >= deadline:
                    self._flush()
                    deadline = time.monotonic() + self._max_wait_s
            self._flush()
        except Exception:
            source.leave()
            raise
        finally:
            source.close()

    def _begin(self, partition: int) -> int:
        first = self._table.begin(partition)
        self._pending[partition] = _Pending(first, first)
        return first

    def _take(self, source: Source, records: Records | None) -> None:
        # the worker that has a partition now reads from where the table ends
        for partition in self._pending.keys() - source.partitions:
            del self._pending[partition]
        if records is None:
            return
        for partition, rows in records.by_partition().items():
            pending = self._pending[partition]
            first = records.offsets[rows[0]]
            if first < pending.end:
                raise StreamError(
                    f"{records.topic} was created anew: partition {partition} has offset {first}, and the table has "
                    f"messages up to {pending.end}; name another table"
                )
            pending.end = records.offsets[rows[-1]] + 1
            pending.values += [records.values[row] or b"" for row in rows if self._is_own(records, row)]

    def _is_own(self, records: Records, row: int) -> bool:
        return dict(records.headers[row]).get(DEFINITION) == self._definition

    def _flush(self) -> None:
        for partition, pending in self._pending.items():
            if pending.values:
                rows = window_rows(self._view, pending.values)
                self._table.append(partition, pending.first, pending.end, rows)
                self._metrics.appended(len(pending.values))
                self._pending[partition] = _Pending(pending.end, pending.end)
