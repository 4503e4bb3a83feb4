"""Materializing what is new: watermarks, late rows, ranges, and runs that are interrupted."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tandem import DefinitionError, Feature, FeatureView, StoreError, table_pieces
from tandem.freshness import compare_freshness
from tandem.incremental import RunSummary, Selection, materialize_new
from tandem.lookup import LookupPlan
from tandem.sources import Source
from tandem.stores.memory import MemoryStore
from tandem.watermarks import read_watermark, watermark_key

VIEW = FeatureView("v", keys=["id"], features=[Feature("x")])
DAY = datetime(2026, 5, 1, tzinfo=UTC)
NOW = DAY + timedelta(days=30)


def moment(days: float) -> np.datetime64:
    return np.datetime64((DAY + timedelta(days=days)).replace(tzinfo=None), "us")


def rows(*data: tuple[str, float, float], created: Iterable[float] | None = None) -> pa.Table:
    """Rows of an id, a day and a value."""
    ids, days, values = zip(*data, strict=True)
    columns: dict[str, Any] = {"id": list(ids), "x": list(values), "event_time": times(days)}
    return pa.table(columns if created is None else columns | {"created": times(created)})


def times(days: Iterable[float]) -> pa.Array:
    return pa.array([DAY + timedelta(days=day) for day in days], pa.timestamp("us", "UTC"))


def stored(store: MemoryStore, *ids: str) -> list[float]:
    plan = LookupPlan([VIEW.on()])
    return plan.unpack(store.get_now(plan.keys({"id": np.array(ids, object)})), len(ids))[0].columns["x"].tolist()


async def run(source: Any, store: Any, **options: Any) -> RunSummary:
    source = source if isinstance(source, Source) else Source(source)
    return await materialize_new(VIEW, source, store, now=NOW, **options)


async def test_a_run_reads_what_is_new_since_the_last_one(tmp_path: Path) -> None:
    pq.write_table(rows(("a", 0, 1.0), ("b", 1, 2.0), ("a", 2, 3.0)), tmp_path / "1.parquet")
    store = MemoryStore()
    summary = await run(tmp_path, store)
    assert (summary.rows_read, summary.rows_written, summary.since, summary.newest) == (3, 2, None, moment(2))
    pq.write_table(rows(("a", 2.5, 4.0)), tmp_path / "2.parquet")
    summary = await run(tmp_path, store, selection=Selection(lateness="0s"))
    assert (summary.rows, summary.rows_read, summary.since) == (2, 2, moment(2))
    assert stored(store, "a", "b") == [4.0, 2.0]
    watermark = await read_watermark(VIEW, store)
    assert watermark is not None
    assert np.datetime64(watermark.newest, "us") == moment(2.5)
    assert watermark.run is None


async def test_rows_that_come_late_are_read_within_lateness(tmp_path: Path) -> None:
    pq.write_table(rows(("a", 0, 1.0), ("b", 5, 2.0)), tmp_path / "1.parquet")
    store = MemoryStore()
    await run(tmp_path, store)
    pq.write_table(rows(("a", 4.5, 3.0), ("c", 1, 4.0)), tmp_path / "2.parquet")
    assert (await run(tmp_path, store)).rows_read == 2
    assert stored(store, "a") == [3.0]
    assert (await run(tmp_path, store, selection=Selection(lateness="1w"))).rows_read == 4
    assert stored(store, "a", "c") == [3.0, 4.0]


async def test_rows_that_become_known_late_are_read_whenever_they_happened(tmp_path: Path) -> None:
    pq.write_table(rows(("a", 0, 1.0), ("b", 5, 2.0), created=[0, 5]), tmp_path / "1.parquet")
    store = MemoryStore()
    await run(tmp_path, store)
    pq.write_table(rows(("a", 1, 3.0), created=[6]), tmp_path / "2.parquet")
    summary = await run(tmp_path, store, selection=Selection(lateness="0s"))
    assert (summary.rows_read, summary.since) == (2, moment(5))
    assert stored(store, "a", "b") == [3.0, 2.0]


async def test_a_range_of_time_leaves_the_watermark(tmp_path: Path) -> None:
    table = rows(("a", 0, 1.0), ("b", 1, 2.0), ("a", 2, 3.0))
    store = MemoryStore()
    await run(table, store)
    before = await read_watermark(VIEW, store)
    selection = Selection(DAY, DAY + timedelta(days=1))
    summary = await run(rows(("a", 0, 9.0), ("b", 1, 9.0)), store, selection=selection, overwrite=True)
    assert (summary.rows_read, summary.rows_written) == (1, 1)
    assert stored(store, "a", "b") == [9.0, 2.0]
    assert await read_watermark(VIEW, store) == before


async def test_older_values_never_replace_newer_ones() -> None:
    store = MemoryStore()
    await run(rows(("a", 5, 1.0)), store)
    summary = await run(rows(("a", 4, 2.0), ("b", 4, 3.0)), store, selection=Selection(full=True))
    assert (summary.rows_written, summary.rows_older) == (1, 1)
    assert stored(store, "a", "b") == [1.0, 3.0]


async def test_a_full_run_sets_the_watermark_back() -> None:
    store = MemoryStore()
    await run(rows(("a", 500, 1.0)), store)
    await run(rows(("a", 2, 2.0)), store, selection=Selection(full=True), overwrite=True)
    watermark = await read_watermark(VIEW, store)
    assert watermark is not None and np.datetime64(watermark.newest, "us") == moment(2)


async def test_overwriting_leaves_the_newest_row_of_each_entity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_pieces, "ROWS_PER_PIECE", 1)
    pq.write_table(rows(("a", 5, 1.0), ("a", 3, 2.0), ("b", 1, 3.0)), tmp_path / "1.parquet", row_group_size=1)
    store = MemoryStore()
    await run(rows(("a", 9, 9.0)), store)
    await run(tmp_path, store, selection=Selection(full=True), overwrite=True)
    assert stored(store, "a", "b") == [1.0, 3.0]


async def test_a_column_created_that_is_something_else() -> None:
    table = rows(("a", 0, 1.0)).append_column("created", pa.array(["by hand"]))
    with pytest.raises(DefinitionError, match="feature view 'v': column 'created' is string; it must be a timestamp"):
        await run(table, MemoryStore())
    assert (await run(Source(table, created=""), MemoryStore())).rows_written == 1


async def test_rows_of_another_layout_are_all_written_anew() -> None:
    store = MemoryStore()
    await run(rows(("a", 0, 1.0), ("b", 9, 2.0)), store)
    view = FeatureView("v", keys=["id"], features=[Feature("x"), Feature("y", default=0.0)])
    table = rows(("a", 0, 1.0), ("b", 9, 2.0)).append_column("y", pa.array([1.0, 2.0]))
    summary = await materialize_new(view, Source(table), store, now=NOW)
    assert (summary.rows_read, summary.since) == (2, None)


class Breaking(MemoryStore):
    """A store that fails at one of its writes, as when the process is killed there."""

    writes_left = 0

    async def put(self, rows: Any, *, overwrite: bool = False, ttl_s: float | None = None) -> list[bytes]:
        self.writes_left -= 1
        if self.writes_left == 0:
            # a part of the rows is written
            await super().put(list(rows)[:1], overwrite=overwrite, ttl_s=ttl_s)
            raise StoreError("gone")
        return await super().put(rows, overwrite=overwrite, ttl_s=ttl_s)


@pytest.mark.parametrize("seed", range(25))
async def test_a_run_that_is_interrupted_anywhere_loses_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_pieces, "ROWS_PER_PIECE", 40)
    rng = random.Random(seed)
    for number in range(3):
        data = [(f"e{rng.randrange(60)}", rng.uniform(0, 9), float(rng.randrange(1000))) for _ in range(100)]
        pq.write_table(rows(*data), tmp_path / f"{number}.parquet", row_group_size=25)
    whole = MemoryStore()
    complete = await run(tmp_path, whole)
    store = Breaking()
    store.writes_left = rng.randrange(1, 14)
    with pytest.raises(StoreError):
        await run(tmp_path, store)
    summary = await run(tmp_path, store)
    assert summary.rows_read == complete.rows_read == 300
    assert {key: row for key, row in store._rows.items() if not key.startswith(b":")} == {
        key: row for key, row in whole._rows.items() if not key.startswith(b":")
    }
    assert store._rows[watermark_key(VIEW)] == whole._rows[watermark_key(VIEW)]
    assert summary.resumed or summary.rows_written == complete.rows_written


async def test_an_interrupted_run_continues_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_pieces, "ROWS_PER_PIECE", 2)
    pq.write_table(rows(*((f"e{at}", at, 1.0) for at in range(8))), tmp_path / "1.parquet", row_group_size=2)
    store = Breaking()
    # of each piece its rows and the progress: the third piece is interrupted
    store.writes_left = 5
    with pytest.raises(StoreError):
        await run(tmp_path, store)
    assert (await compare_freshness(VIEW, Source(tmp_path), store)).status == "interrupted"
    reports: list[RunSummary] = []
    summary = await run(tmp_path, store, progress=reports.append)
    assert (reports[0].rows_read, reports[0].rows, summary.rows_written, summary.resumed) == (4, 8, 4, True)


async def test_a_file_that_changed_meanwhile_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_pieces, "ROWS_PER_PIECE", 2)
    pq.write_table(rows(*((f"e{at}", at, 1.0) for at in range(4))), tmp_path / "1.parquet", row_group_size=2)
    store = Breaking()
    store.writes_left = 3
    with pytest.raises(StoreError):
        await run(tmp_path, store)
    pq.write_table(rows(*((f"e{at}", at, 22.0) for at in range(4))), tmp_path / "1.parquet", row_group_size=2)
    summary = await run(tmp_path, store)
    assert not summary.resumed
    assert stored(store, "e0", "e3") == [22.0, 22.0]


async def test_freshness(tmp_path: Path) -> None:
    pq.write_table(rows(("a", 0, 1.0), ("b", 1, 2.0)), tmp_path / "1.parquet")
    store, source = MemoryStore(), Source(tmp_path)
    never = await compare_freshness(VIEW, source, store)
    assert (never.status, never.rows, never.new_rows, never.missing, never.sampled) == ("never", 2, 2, 2, 2)
    await run(tmp_path, store)
    fresh = await compare_freshness(VIEW, source, store)
    assert (fresh.status, fresh.newest_online, fresh.newest_offline) == ("fresh", moment(1), moment(1))
    assert fresh.materialized_at == np.datetime64(NOW.replace(tzinfo=None), "us")
    pq.write_table(rows(("a", 3, 3.0), ("c", 4, 4.0)), tmp_path / "2.parquet")
    behind = await compare_freshness(VIEW, source, store)
    assert (behind.status, behind.new_rows, behind.missing, behind.older) == ("behind", 2, 1, 1)
    # as when the server has dropped a row
    await run(tmp_path, store)
    del store._rows[b"v:1:c"]
    assert (await compare_freshness(VIEW, source, store)).status == "behind"


async def test_an_empty_table(tmp_path: Path) -> None:
    pq.write_table(rows(("a", 0, 1.0)).slice(0, 0), tmp_path / "1.parquet")
    store = MemoryStore()
    summary = await run(tmp_path, store)
    assert (summary.rows, summary.rows_read) == (0, 0)
    empty = await compare_freshness(VIEW, Source(tmp_path), store)
    assert (empty.status, empty.rows) == ("fresh", 0)


async def test_another_column_of_the_event_time() -> None:
    table = rows(("a", 0, 1.0)).rename_columns(["id", "x", "day"])
    summary = await run(Source(table, event_time="day"), store := MemoryStore())
    assert summary.rows_written == 1
    assert (await compare_freshness(VIEW, Source(table, event_time="day"), store)).status == "fresh"


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("ns", "Europe/Berlin")])
async def test_times_of_any_unit_and_zone(kind: pa.DataType, tmp_path: Path) -> None:
    table = rows(("a", 0, 1.0), ("b", 3, 2.0))
    column = table["event_time"].cast(pa.timestamp("us", kind.tz)).cast(kind)
    pq.write_table(table.set_column(2, "event_time", column), tmp_path / "1.parquet")
    store = MemoryStore()
    assert (await run(tmp_path, store)).newest == moment(3)
    assert (await run(tmp_path, store)).rows_read == 1
    selection = Selection(DAY, DAY + timedelta(days=3))
    assert (await run(tmp_path, store, selection=selection)).rows_read == 1


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (rows(("a", 0, 1.0)).drop_columns(["x"]), "the table has no column 'x'"),
        (rows(("a", 0, 1.0)).set_column(1, "x", pa.array([float("inf")])), "column 'x' is infinite in row 0"),
    ],
)
async def test_errors_name_view_and_file(table: pa.Table, reason: str, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "1.parquet")
    with pytest.raises(DefinitionError, match=f"feature view 'v': .*{tmp_path.name}: .*{reason}"):
        await run(tmp_path, MemoryStore())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"lateness": "soon"}, "not a duration"),
        ({"start": DAY.replace(tzinfo=None)}, "has no time zone"),
        ({"start": DAY, "end": DAY}, "is not before end"),
    ],
)
def test_selections_that_are_none(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        Selection(**options)
