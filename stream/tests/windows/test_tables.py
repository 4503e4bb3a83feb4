"""Tables: each message once, whoever appends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from core.tests.windows.brute import view_of
from deltalake import DeltaTable as Delta
from pyarrow import dataset
from transformer.tests.servers import wait_until

from tandem import Window
from tandem.arrow_tables import window_schema
from tandem.windows.state import definition_hash
from tandem_stream.records import Records
from tandem_stream.windows.appending import TableAppender
from tandem_stream.windows.closed import DEFINITION
from tandem_stream.windows.metrics import WindowMetrics
from tandem_stream.windows.tables import TableError, WindowTable, open_window_table, window_rows

from .parts import layout_of, records

WINDOW = Window(size="10s", event_time="at", grace="2s")
VIEW = view_of(WINDOW)
LABELS = {"view": "v", "version": "1"}


def value(number: int) -> bytes:
    times = dict.fromkeys(("event_time", "created", "window_start", "newest"), "1970-01-01T00:00:10.000001Z")
    row: dict[str, Any] = dict.fromkeys(window_schema(VIEW).names) | times
    return msgspec.json.encode(row | {"athlete": f"a{number}", "race": "7", "events": number, "newest": None})


def rows_of(path: Path, form: str) -> list[int]:
    table = (
        dataset.dataset(path, format="parquet").to_table()
        if form == "parquet"
        else pa.table(Delta(path).to_pyarrow_table())
    )
    return sorted(table["events"].to_pylist())


@pytest.mark.parametrize("form", ["parquet", "delta"])
def test_a_table_knows_where_it_ends_and_takes_nothing_twice(tmp_path: Path, form: Any) -> None:
    path = tmp_path / "table"
    table, other = (open_window_table(str(path), form, "closed") for _ in range(2))
    assert [table.begin(0), table.begin(1)] == [0, 0]
    table.append(0, 0, 7, window_rows(VIEW, [value(1), value(2)]))
    table.append(1, 0, 3, window_rows(VIEW, [value(3)]))
    assert [other.begin(0), other.begin(1)] == [7, 3]
    other.append(0, 7, 9, window_rows(VIEW, [value(4)]))
    with pytest.raises(TableError, match="another worker has written"):
        table.append(0, 7, 8, window_rows(VIEW, [value(4)]))
    assert rows_of(path, form) == [1, 2, 3, 4]
    # of another topic there is nothing
    assert open_window_table(str(path), form, "other").begin(0) == 0


def test_a_parquet_file_that_is_none_is_named(tmp_path: Path) -> None:
    table = open_window_table(str(tmp_path), "parquet", "closed")
    file = tmp_path / f"windows-closed-00000-{0:020}.parquet"
    file.write_bytes(b"no")
    with pytest.raises(TableError, match="cannot be read"):
        table.begin(0)
    pq.write_table(window_rows(VIEW, [value(1)]), file)
    with pytest.raises(TableError, match="does not tell where the next file begins"):
        table.begin(0)


class Topic:
    """A topic of closed windows, as a consumer reads it from where the table ends."""

    def __init__(self, *batches: Records) -> None:
        self.partitions: set[int] = set()
        self.batches = list(batches)
        self.closed = 0
        self.left = 0
        self._at = 0

    def open(self, begin: Callable[[int], int]) -> Any:
        self.begins = {partition: begin(partition) for partition in (0, 1)}
        self.partitions = {0, 1}
        self._at = 0
        return self

    def poll(self) -> Records | None:
        while self._at < len(self.batches):
            batch = self.batches[self._at]
            self._at += 1
            if batch.offsets[0] >= self.begins[batch.partitions[0]]:
                return batch
        return None

    def leave(self) -> None:
        self.left += 1

    def close(self) -> None:
        self.closed += 1


def messages(values: list[bytes], partition: int, first: int, definition: bytes) -> Records:
    batch = records(values, [partition] * len(values), range(first, first + len(values)))
    return Records(
        batch.topic,
        batch.values,
        batch.keys,
        [[(DEFINITION, definition)]] * len(values),
        batch.partitions,
        batch.offsets,
        batch.timestamps,
    )


class Failing:
    """A table that fails once."""

    def __init__(self, table: WindowTable) -> None:
        self._table = table
        self._failures = 1

    def begin(self, partition: int) -> int:
        return self._table.begin(partition)

    def append(self, partition: int, first: int, end: int, rows: pa.Table) -> None:
        if self._failures:
            self._failures -= 1
            raise TableError("full")
        self._table.append(partition, first, end, rows)


def test_windows_are_appended_once_after_a_failure_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem_stream.windows.appending._PAUSE_S", 0.0)
    layout = layout_of(WINDOW)
    metrics = WindowMetrics(VIEW)
    own = definition_hash(layout).hex().encode()
    topic = Topic(
        messages([value(1), value(2)], 0, 0, own),
        messages([value(9)], 0, 2, b"older definition"),
        messages([value(3)], 1, 5, own),
        messages([value(4)], 0, 3, own),
    )
    table = Failing(open_window_table(str(tmp_path), "parquet", "closed"))
    appender = TableAppender(table, layout, topic.open, metrics, max_rows=2, max_wait_s=60)
    appender.start()
    wait_until(lambda: metrics.registry.get_sample_value("tandem_stream_table_rows_total", LABELS) == 4)
    appender.close()
    assert rows_of(tmp_path, "parquet") == [1, 2, 3, 4]
    assert metrics.registry.get_sample_value("tandem_stream_table_failures_total", LABELS) == 1
    assert (topic.closed, topic.left) == (2, 1)
