from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tandem import DefinitionError, Feature, FeatureView
from tandem.arrow_tables import count_rows
from tandem.lookup import LookupPlan
from tandem.materialize import ROWS_PER_BATCH, Summary, materialize
from tandem.packed_rows import ViewColumns
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
    store, reports = MemoryStore(), []
    summary = await materialize(VIEW, table(), store, progress=reports.append)
    assert summary == reports[-1] == Summary(3, 2, np.datetime64("2026-01-02", "us"))
    rows = stored(store, "a", "b", "c")
    assert rows.columns["x"][0] == 1.0
    assert rows.columns["s"][0] == "q"
    assert rows.columns["t"][0] == np.datetime64(1, "us")
    assert {name: mask.tolist() for name, mask in rows.nulls.items()} == {key: [False, True, False] for key in "xnsbt"}
    assert np.isnat(rows.event_time).tolist() == [False, False, True]


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
    store, reports = MemoryStore(), []
    summary = await materialize(view, big, store, progress=reports.append)
    assert (summary.rows_read, summary.entities_written, len(reports)) == (rows, 1000, 3)
    assert stored(store, 0, 999, view=view).columns["x"].tolist() == [0.0, 999.0]


async def test_repeating_changes_nothing() -> None:
    first_store, second_store = MemoryStore(), MemoryStore()
    await materialize(VIEW, table(), first_store)
    for _ in range(2):
        await materialize(VIEW, table(), second_store)
    assert first_store._rows == second_store._rows


async def test_zones_are_taken_to_utc() -> None:
    noon = pa.array([datetime(2026, 1, 1, 12)] * 3, pa.timestamp("s")).cast(pa.timestamp("us"))
    berlin = pa.compute.assume_timezone(noon, "Europe/Berlin")
    store = MemoryStore()
    summary = await materialize(VIEW, table(event_time=berlin), store)
    assert summary.newest == np.datetime64("2026-01-01T11:00")


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
        (VIEW, {"n": [1.0, 2.5, 3.0]}, "column 'n' cannot be read as int64 without loss: row 1 is 2.5"),
        (VIEW, {"n": [True, False, True]}, "column 'n' is bool; the feature is int64"),
        (VIEW, {"x": [1.0, -np.inf, np.inf]}, "column 'x' is infinite in row 1; values must be finite"),
        (VIEW, {"s": [1, 2, 3]}, "column 's' is int64; the feature is string"),
        (VIEW, {"b": [1, 0, 1]}, "column 'b' is int64; the feature is bool"),
        (VIEW, {"t": [1, 2, 3]}, "column 't' is int64; the feature is timestamp"),
        (VIEW, {"event_time": [1, 2, 3]}, "column 'event_time' is int64; it must be a timestamp"),
        (VIEW, {"id": [1.0, 2.0, 3.0]}, "column 'id' is double; a key must be a string or an integer"),
        (VIEW, {"id": ["a", None, "b"]}, "column 'id' has nulls in row 1; a key must always be given"),
        (VIEW, {"event_time": pa.array([1, None, 2], pa.timestamp("us"))}, "column 'event_time' has nulls in row 1"),
        (STRICT, {}, "column 'n' has nulls in row 1; the feature is int64 and has no default"),
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
    summary = await materialize(VIEW, table().slice(0, 0), MemoryStore())
    assert (summary.rows_read, summary.entities_written) == (0, 0)
    assert np.isnat(summary.newest)


async def test_a_backfill_leaves_what_is_newer_in_the_store() -> None:
    store = MemoryStore()
    await materialize(VIEW, table(), store)
    earlier = [datetime(2025, 1, 1), datetime(2026, 1, 3), datetime(2025, 1, 1)]
    late = table(event_time=pa.array(earlier, pa.timestamp("us")), x=[7.0, 8.0, 9.0])
    summary = await materialize(VIEW, late, store)
    assert (summary.rows_read, summary.entities_written, summary.entities_newer) == (3, 1, 1)
    assert stored(store, "a", "b").columns["x"].tolist() == [1.0, 8.0]
    summary = await materialize(VIEW, late, store, overwrite=True)
    assert (summary.entities_written, summary.entities_newer) == (2, 0)
    assert stored(store, "a").columns["x"].tolist() == [9.0]


async def test_an_entity_newer_in_the_store_than_one_batch_and_older_than_the_next_is_written() -> None:
    view = FeatureView("w", keys=["id"], features=[Feature("x")])
    store = MemoryStore()
    times = np.full(ROWS_PER_BATCH + 1, np.datetime64("2026-01-01", "us"))
    times[-1] = np.datetime64("2026-01-03")
    ids = np.arange(ROWS_PER_BATCH + 1)
    ids[-1] = 0
    big = {"id": ids, "x": np.arange(float(len(ids))), "event_time": times}
    two_days = pa.array([datetime(2026, 1, 2)] * 2, pa.timestamp("us"))
    await materialize(view, pa.table({"id": [0, 1], "x": [-1.0, -1.0], "event_time": two_days}), store)
    summary = await materialize(view, big, store)
    assert (summary.entities_written, summary.entities_newer) == (ROWS_PER_BATCH - 1, 1)
    assert stored(store, 0, 1, 2, view=view).columns["x"].tolist() == [float(ROWS_PER_BATCH), -1.0, 2.0]


@pytest.mark.parametrize("form", ["pandas", "polars", "batch", "dict", "lists", "dataset"])
async def test_tables_of_any_library(form: str) -> None:
    expected, store = MemoryStore(), MemoryStore()
    await materialize(VIEW, table(), expected)
    source = {
        "pandas": lambda: table().to_pandas(),
        "polars": lambda: pl.from_arrow(table()),
        "batch": lambda: table().to_batches()[0],
        "dict": lambda: {name: table()[name].to_pandas().to_numpy() for name in table().column_names},
        "lists": lambda: table().to_pydict() | {"t": [datetime(1970, 1, 1, 0, 0, 0, 1), None, datetime(1970, 1, 1)]},
        "dataset": lambda: pa.dataset.dataset(table()),
    }[form]()
    assert count_rows(source) == 3
    await materialize(VIEW, source, store)
    assert store._rows == expected._rows


@pytest.mark.parametrize("source", [5, [{"id": "a"}], {"id": [1, 2], "x": [1]}])
async def test_what_is_no_table(source: Any) -> None:
    with pytest.raises(DefinitionError, match=r"is not a table|cannot be read with Arrow"):
        await materialize(VIEW, source, MemoryStore())


VECTORS = FeatureView("e", keys=["id"], features=[Feature("n", "int64", default=0), Feature("v", "float64[3]")])


@pytest.mark.parametrize(
    "vectors",
    [
        pa.array([[1, 2, 3], None, [4.5, 5, 6]], pa.list_(pa.float64())),
        pa.array([[1, 2, 3], None, [4.5, 5, 6]], pa.list_(pa.float32(), 3)),
        pa.array([[1, 2, 3], [0, None, 0], [4.5, 5, 6]], pa.large_list(pa.float64())),
    ],
)
async def test_arrays(vectors: pa.Array) -> None:
    store = MemoryStore()
    await materialize(VECTORS, table(id=["a", "b", "c"], v=vectors), store)
    rows = stored(store, "a", "b", "c", "?", view=VECTORS)
    assert rows.columns["v"].shape == (4, 3)
    assert rows.columns["v"][[0, 2]].tolist() == [[1, 2, 3], [4.5, 5, 6]]
    assert rows.nulls["v"].tolist() == [False, True, False, False]
    assert rows.columns["n"].tolist()[::2] == [1, 4]


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (pa.array([[1.0], [1.0, 2.0, 3.0], [1.0]]), r"column 'v' cannot be read as float64\[3\]: rows 0, 2"),
        (pa.array([[1.0, 2.0, np.inf]] * 3), "column 'v' is infinite in rows 0, 1, 2"),
        (pa.array([["a", "b", "c"]] * 3), r"column 'v' is list<.*string>; the feature is float64\[3\]"),
        (pa.array([1.0, 2.0, 3.0]), r"column 'v' is double; the feature is float64\[3\]"),
        (
            pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float64(), 2)),
            r"column 'v' is fixed_size_list<.*double>\[2\]; the feature is float64\[3\]",
        ),
    ],
)
async def test_arrays_that_do_not_fit(vectors: pa.Array, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        await materialize(VECTORS, table(id=["a", "b", "c"], v=vectors), MemoryStore())


async def test_arrays_of_different_length_and_of_whole_numbers() -> None:
    features = [
        Feature("r", "int64[<=3]", default=[]),
        Feature("e", "float32[2]"),
        Feature("i", "int64[2]", default=[1, 2]),
    ]
    view = FeatureView("r", keys=["id"], features=features)
    columns = {
        "r": pa.array([[2**60 + 1], None, []]),
        "e": pa.array([[0.1, 2.0], [3.0, None], [5.0, 6.0]], pa.list_(pa.float64(), 2)),
        "i": pa.array([None, [2**60 + 1, 3], [4, 5]], pa.list_(pa.int64(), 2)),
    }
    store = MemoryStore()
    await materialize(view, table(id=["a", "b", "c"], **columns), store)
    rows = stored(store, "a", "b", "c", view=view)
    # the last number is the length
    assert rows.columns["r"].tolist() == [[2**60 + 1, 0, 0, 1], [0] * 4, [0] * 4]
    assert rows.columns["e"][[0, 2]].tolist() == [np.float32([0.1, 2]).tolist(), [5, 6]]
    assert rows.columns["i"][1:].tolist() == [[2**60 + 1, 3], [4, 5]]
    assert {name: mask.tolist() for name, mask in rows.nulls.items()} == {
        "r": [False, True, False],
        "e": [False, True, False],
        "i": [True, False, False],
    }
    bare = FeatureView("r", keys=["id"], features=[Feature("r", "int64[<=3]")])
    with pytest.raises(DefinitionError, match=r"column 'r' has nulls in row 1; the feature is int64.* no default"):
        await materialize(bare, table(id=["a", "b", "c"], **columns), store)


async def test_errors_name_the_file_and_rows_of_the_whole_table(tmp_path: Path) -> None:
    rows = ROWS_PER_BATCH + 10
    x = np.zeros(rows)
    x[-2:] = np.inf
    times = pa.array(np.zeros(rows, np.int64), pa.timestamp("us"))
    file = tmp_path / "load.parquet"
    pq.write_table(pa.table({"id": np.arange(rows), "x": x, "event_time": times}), file)
    view = FeatureView("w", keys=["id"], features=[Feature("x")])
    last = f"rows {rows - 2}, {rows - 1}"
    with pytest.raises(DefinitionError, match=f"load.parquet: column 'x' is infinite in {last}; values must be finite"):
        await materialize(view, file, MemoryStore())
    view = FeatureView("w", keys=["id"], features=[Feature("y")])
    with pytest.raises(
        DefinitionError, match=r"load.parquet: .*'w': the table has no column 'y'; it has id, x, event_"
    ):
        await materialize(view, file, MemoryStore())


async def test_rows_expire_after_their_time_to_live() -> None:
    now = 100.0
    store = MemoryStore(clock=lambda: now)
    await materialize(VIEW, table(), store, ttl_s=30.0)
    now = 129.0
    assert not np.isnat(stored(store, "a").event_time[0])
    now = 130.0
    assert np.isnat(stored(store, "a").event_time[0])
    # what has expired is not newer than anything
    summary = await materialize(VIEW, table(event_time=pa.array([0, 0, 0], pa.timestamp("us"))), store)
    assert (summary.entities_written, summary.entities_newer) == (2, 0)
    now = 1e9
    assert not np.isnat(stored(store, "a").event_time[0])
