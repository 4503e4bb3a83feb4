from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tandem import DefinitionError, Feature, FeatureView
from tandem.features import LookupPlan, ViewColumns
from tandem.materialize import ROWS_PER_BATCH, Summary, count_rows, materialize
from tandem.stores.memory import MemoryStore

VIEW = FeatureView(
    "v",
    keys=["id"],
    features=[
        Feature("x"),
        Feature("n", "int64", default=3),
        Feature("s", "string", default="z"),
        Feature("b", "bool", default=True),
        Feature("t", "timestamp", default="2020-01-01T00:00:00Z"),
    ],
)


def table(**changes: Any) -> pa.Table:
    columns = {
        "id": ["a", "b", "a"],
        "x": [1.0, None, 3.0],
        "n": [1, None, 4],
        "s": ["q", None, "ü"],
        "b": [True, None, False],
        "t": pa.array([1_000, None, 3_000], pa.timestamp("ns")),
        "event_time": pa.array([datetime(2026, 1, 2), datetime(2026, 1, 2), datetime(2026, 1, 1)], pa.timestamp("us")),
        "more": [1, 2, 3],
    }
    return pa.table(columns | changes)


def stored(store: MemoryStore, *ids: Any, view: FeatureView = VIEW) -> ViewColumns:
    plan = LookupPlan([view.on()])
    return plan.unpack(store.get_now(plan.keys({"id": np.array(ids)})), len(ids))[0]


async def test_the_newest_row_of_each_entity_counts() -> None:
    store, told = MemoryStore(), []
    done = await materialize(VIEW, table(), store, progress=told.append)
    assert done == told[-1] == Summary(3, 2, np.datetime64("2026-01-02", "us"))
    found = stored(store, "a", "b", "c")
    assert found.columns["x"][0] == 1.0
    assert found.columns["s"][0] == "q"
    assert found.columns["t"][0] == np.datetime64(1, "us")
    assert {name: mask.tolist() for name, mask in found.nulls.items()} == {key: [False, True, False] for key in "xnsbt"}
    assert np.isnat(found.event_time).tolist() == [False, False, True]


@pytest.mark.parametrize("kind", ["file", "directory", "table"])
async def test_a_file_a_directory_or_a_table(tmp_path: Path, kind: str) -> None:
    pq.write_table(table(), tmp_path / "part-0.parquet")
    source = {"file": tmp_path / "part-0.parquet", "directory": str(tmp_path), "table": table()}[kind]
    store = MemoryStore()
    assert count_rows(source) == 3
    assert (await materialize(VIEW, source, store)).entities_written == 2
    assert stored(store, "a").columns["n"].tolist() == [1]


async def test_batches_do_not_forget_what_came_before() -> None:
    rows = 2 * ROWS_PER_BATCH + 10
    view = FeatureView("w", keys=["id"], features=[Feature("x")])
    times = pa.array(np.arange(rows)[::-1], pa.timestamp("us"))
    big = pa.table({"id": np.arange(rows) % 1000, "x": np.arange(rows), "event_time": times})
    store, told = MemoryStore(), []
    done = await materialize(view, big, store, progress=told.append)
    assert (done.rows_read, done.entities_written, len(told)) == (rows, 1000, 3)
    assert stored(store, 0, 999, view=view).columns["x"].tolist() == [0.0, 999.0]


async def test_repeating_changes_nothing() -> None:
    one, two = MemoryStore(), MemoryStore()
    await materialize(VIEW, table(), one)
    for _ in range(2):
        await materialize(VIEW, table(), two)
    assert one._rows == two._rows


async def test_zones_are_taken_to_utc() -> None:
    noon = pa.array([datetime(2026, 1, 1, 12)] * 3, pa.timestamp("s")).cast(pa.timestamp("us"))
    berlin = pa.compute.assume_timezone(noon, "Europe/Berlin")
    store = MemoryStore()
    done = await materialize(VIEW, table(event_time=berlin), store)
    assert done.newest == np.datetime64("2026-01-01T11:00")


async def test_dictionary_columns_are_read() -> None:
    store = MemoryStore()
    ids, texts = pa.array(["a", "b", "a"]).dictionary_encode(), pa.array(["q", "r", "q"]).dictionary_encode()
    await materialize(VIEW, table(id=ids, s=texts), store)
    assert stored(store, "b").columns["s"].tolist() == ["r"]


STRICT = FeatureView("v", keys=["id"], features=[Feature("n", "int64")])


@pytest.mark.parametrize(
    ("view", "changes", "reason"),
    [
        (VIEW, {"x": ["1", "2", "3"]}, "column 'x' is string; the feature is float64"),
        (VIEW, {"n": [1.0, 2.0, 3.0]}, "column 'n' is double; the feature is int64"),
        (VIEW, {"s": [1, 2, 3]}, "column 's' is int64; the feature is string"),
        (VIEW, {"b": [1, 0, 1]}, "column 'b' is int64; the feature is bool"),
        (VIEW, {"t": [1, 2, 3]}, "column 't' is int64; the feature is timestamp"),
        (VIEW, {"event_time": [1, 2, 3]}, "column 'event_time' is int64; it must be a timestamp"),
        (VIEW, {"id": [1.0, 2.0, 3.0]}, "column 'id' is double; a key must be a string or an integer"),
        (VIEW, {"id": ["a", None, "b"]}, "column 'id' has nulls; a key must always be given"),
        (VIEW, {"event_time": pa.array([1, None, 2], pa.timestamp("us"))}, "column 'event_time' has nulls"),
        (STRICT, {}, "column 'n' has nulls; the feature has no default and is no float64"),
        (VIEW, {"n": pa.array([1, 2**63, 3], pa.uint64())}, "column 'n' cannot be read as int64 without loss"),
        (VIEW, {"x": [2**53 + 1, 2, 3]}, "column 'x' cannot be read as float64 without loss"),
    ],
)
async def test_table_that_does_not_fit(view: FeatureView, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        await materialize(view, table(**changes), MemoryStore())


async def test_missing_column_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="feature view 'v': the table has no column 'x'"):
        await materialize(VIEW, table().drop_columns(["x"]), MemoryStore())
    with pytest.raises(DefinitionError, match="cannot be read as Parquet"):
        await materialize(VIEW, tmp_path / "nowhere.parquet", MemoryStore())
    (tmp_path / "bad.parquet").write_bytes(b"hello")
    with pytest.raises(DefinitionError, match="cannot be read as Parquet"):
        await materialize(VIEW, tmp_path / "bad.parquet", MemoryStore())


async def test_empty_table() -> None:
    done = await materialize(VIEW, table().slice(0, 0), MemoryStore())
    assert (done.rows_read, done.entities_written) == (0, 0)
    assert np.isnat(done.newest)
