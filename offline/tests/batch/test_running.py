"""Runs: what is written, once, whatever the format; and what is refused with nothing half-written."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tandem import Bundle, DefinitionError, EmbeddedModel
from tandem_offline import FeatureTable, OfflineStore
from tandem_offline.batch import (
    BatchPlan,
    BatchSummary,
    OutputError,
    delta_output,
    estimate,
    name_run,
    open_output,
    plan_batch,
    running,
    write_batch,
)
from tandem_offline.batch.outputs import Format

from .conftest import DAY, Rows, read, tables, times

FORMATS = get_args(Format)


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> Format:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def many(rows: Rows) -> Callable[..., FeatureTable]:
    """A hundred rows; each tenth has no prediction."""

    def join(**changes: Any) -> FeatureTable:
        ids = ["c" if number % 10 == 9 else "a" for number in range(100)]
        columns = {"id": ids, "ts": times(*np.linspace(2, 3, 100).tolist()), "x": np.linspace(20, 100, 100)}
        return rows(**(columns | changes))

    return join


Write = Callable[..., BatchSummary]


@pytest.fixture
def write(embedded: EmbeddedModel, many: Callable[..., FeatureTable], form: Format, tmp_path: Path) -> Write:
    """Run it, in parts of thirty rows."""

    def run(features: FeatureTable | None = None, *, run_id: str = "run", **options: Any) -> BatchSummary:
        joined = many() if features is None else features
        planned = plan_batch(embedded.bundle, joined, run_id=run_id, rows_per_part=30)
        return write_batch(embedded, joined, planned, open_output(tmp_path / "out", form), **options)

    return run


def commits(path: Path) -> int:
    """Parts that an output has."""
    if (path / "_delta_log").exists():
        return DeltaTable(path).version() + 1
    return len(list(path.glob("*.parquet")))


def test_every_row_is_written_with_its_prediction_or_its_error(write: Write, bundle: Bundle, tmp_path: Path) -> None:
    steps: list[BatchSummary] = []
    summary = write(progress=steps.append)
    assert (summary.rows, summary.rows_before, summary.rows_written) == (100, 0, 100)
    assert summary.errors == {"entity_not_found": 10} and summary.degraded == 90
    assert [step.rows_written for step in steps] == [30, 60, 90, 100]
    table = read(tmp_path / "out").sort_by("ts")
    assert table.num_rows == 100 and commits(tmp_path / "out") == 4
    rows = table.to_pylist()
    for number, row in enumerate(rows):
        assert (row["run_id"], row["model_version"], row["bundle_digest"]) == ("run", "v1", bundle.digest)
        if number % 10 == 9:
            assert row["y"] is row["label"] is row["degraded"] is None
            assert row["error"]["code"] == "entity_not_found" and "id=c" in row["error"]["message"]
        else:
            assert row["label"] == f"{row['y']:.2f}" and row["error"] is None
            assert json.loads(row["degraded"]) == {"load.acwr": {"reason": "null", "source": "default"}}


def test_a_complete_run_is_not_written_again(write: Write, many: Callable[..., FeatureTable], tmp_path: Path) -> None:
    write()
    again = write()
    assert (again.rows_before, again.rows_written, again.changed) == (100, 0, False)
    changed = write(many(x=np.linspace(30, 90, 100), ts=times(*np.linspace(5, 6, 100).tolist()), note=[1] * 100))
    assert (changed.rows_written, changed.changed) == (0, True)
    assert read(tmp_path / "out").num_rows == 100
    second_run = write(run_id="other")
    assert (second_run.rows_written, read(tmp_path / "out").num_rows) == (100, 200)


def test_an_interrupted_run_continues(write: Write, tmp_path: Path, embedded: EmbeddedModel) -> None:
    write(run_id="whole")
    interrupt(write, after=2)
    # of the run that was interrupted, two parts of thirty rows
    assert read(tmp_path / "out").num_rows == 160
    summary = write()
    assert (summary.rows_before, summary.rows_written) == (60, 40)
    table = read(tmp_path / "out").sort_by("ts")
    whole, resumed = (table.filter(pc.equal(table["run_id"], name)).drop_columns("run_id") for name in ("whole", "run"))
    assert resumed.equals(whole)


def interrupt(write: Write, *, after: int) -> None:
    def stop(summary: BatchSummary) -> None:
        if summary.rows_written > after * 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(progress=stop)


def test_an_interrupted_run_of_other_tables_is_not_continued(
    write: Write, many: Callable[..., FeatureTable], tmp_path: Path
) -> None:
    interrupt(write, after=1)
    with pytest.raises(OutputError, match=r"run run was interrupted after 1 of 4 parts, and cannot be continued"):
        write(many(note=[1] * 100))
    assert read(tmp_path / "out").num_rows == 30


def test_a_run_without_rows_is_complete(write: Write, rows: Rows, tmp_path: Path) -> None:
    empty = rows(id=pa.array([], pa.string()), ts=times(), x=pa.array([], pa.float64()))
    assert write(empty).rows_written == 0
    assert read(tmp_path / "out").num_rows == 0
    assert "y" in read(tmp_path / "out").column_names
    assert write(empty).changed is False


def test_other_columns_are_refused_before_anything_is_computed(
    write: Write, embedded: EmbeddedModel, many: Callable[..., FeatureTable], form: Format, tmp_path: Path
) -> None:
    write()
    joined = many(id=np.arange(100))
    planned = plan_batch(embedded.bundle, joined, run_id="ids")
    with pytest.raises(OutputError, match=r"has other columns: 'id' is string, the run would write int64"):
        write_batch(embedded, joined, planned, open_output(tmp_path / "out"))
    planned = plan_batch(embedded.bundle, many(), run_id="kept", keep=["x"])
    with pytest.raises(OutputError, match=r"has other columns: the table has no column 'x'"):
        write_batch(embedded, many(), planned, open_output(tmp_path / "out", form))


def test_two_processes_do_not_write_one_run_of_parquet(
    embedded: EmbeddedModel, many: Callable[..., FeatureTable], tmp_path: Path
) -> None:
    planned = plan_batch(embedded.bundle, many(), run_id="run")

    def write_again(summary: BatchSummary) -> None:
        write_batch(embedded, many(), planned, open_output(tmp_path))

    with pytest.raises(OutputError, match="another process writes run run"):
        write_batch(embedded, many(), planned, open_output(tmp_path), progress=write_again)
    assert not list(tmp_path.iterdir())
    assert write_batch(embedded, many(), planned, open_output(tmp_path)).rows_written == 100


@pytest.mark.parametrize("runs_before", [(), ("first",)])
def test_two_processes_do_not_write_one_run_of_delta(
    embedded: EmbeddedModel,
    many: Callable[..., FeatureTable],
    runs_before: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write(run_id: str) -> BatchSummary:
        planned = plan_batch(embedded.bundle, many(), run_id=run_id)
        return write_batch(embedded, many(), planned, open_output(tmp_path / "out", "delta"))

    def write_late(*arguments: Any, **options: Any) -> None:
        # after the table has been looked at, another process commits
        monkeypatch.undo()
        write("run")
        delta_output.write_deltalake(*arguments, **options)

    for run_id in runs_before:
        write(run_id)
    monkeypatch.setattr(delta_output, "write_deltalake", write_late)
    with pytest.raises(OutputError, match="out cannot be written"):
        write("run")
    assert read(tmp_path / "out").filter(pc.field("run_id") == "run").num_rows == 100


def test_what_cannot_be_an_output(write: Write, form: Format, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is a file"):
        open_output(tmp_path / "file", form)
    write()
    with pytest.raises(DefinitionError, match="format is 'csv'; it is one of parquet, delta"):
        open_output(tmp_path / "out", "csv")  # type: ignore[arg-type]
    if form == "delta":
        with pytest.raises(OutputError, match="is a Delta table"):
            open_output(tmp_path / "out", "parquet")
        assert type(open_output(tmp_path / "out")).__name__ == "DeltaOutput"


def test_a_file_of_a_run_that_is_missing(
    embedded: EmbeddedModel, many: Callable[..., FeatureTable], tmp_path: Path
) -> None:
    joined = many()
    planned = plan_batch(embedded.bundle, joined, run_id="run", rows_per_part=30)
    write_batch(embedded, joined, planned, open_output(tmp_path))
    (tmp_path / "run-00001-of-00004.parquet").unlink()
    with pytest.raises(OutputError, match="files of run run are missing"):
        write_batch(embedded, joined, planned, open_output(tmp_path))


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may become longer than some bytes; of a disk that is full there is none without privileges."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(write: Write, tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OutputError, match=r"out cannot be written: .*File too large"):
        write()
    assert not (tmp_path / "out" / "_delta_log").exists() and not list((tmp_path / "out").glob("run*"))
    assert write().rows_written == 100
    assert read(tmp_path / "out").num_rows == 100


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"x": ["1"] * 100}, "column 'x' of the batch is string; the field is float64"),
        ({"x": None}, "the batch has no column 'x'; it has id, ts.*; the contract requires it"),
        ({"ts": pa.array(range(100), pa.timestamp("us"))}, "the spine's column 'ts' has no time zone"),
        ({"id": None}, "the spine has no column 'id'"),
        ({"ts": times(*[2.0] * 100), "x": [1.0] * 100}, "rows 0 and 99 ask the same"),
        ({"ts": pa.array([None] * 100, pa.timestamp("us", "UTC"))}, "column 'ts' has nulls"),
    ],
)
def test_a_spine_that_does_not_fit(
    embedded: EmbeddedModel, columns: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    spine = {"id": ["a"] * 100, "ts": times(*range(100)), "x": np.linspace(1, 2, 100)} | columns
    table = pa.table({name: values for name, values in spine.items() if values is not None})
    with pytest.raises(DefinitionError, match=reason):
        features = OfflineStore(tables()).batch_data(embedded.bundle.model, spine=table)
        planned = plan_batch(embedded.bundle, features, run_id="run")
        write_batch(embedded, features, planned, open_output(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_view_that_does_not_fit(embedded: EmbeddedModel) -> None:
    store = OfflineStore(tables(load={"id": ["a"], "event_time": times(0), "ctl": [1.0]}))
    with pytest.raises(DefinitionError, match="feature view 'load': the table has no column 'acwr'"):
        store.batch_data(embedded.bundle.model, latest=True)


def test_a_file_that_is_broken_in_the_middle(embedded: EmbeddedModel, form: Format, tmp_path: Path) -> None:
    (tmp_path / "spine").mkdir()
    for number in range(3):
        spine = pa.table({"id": ["a"] * 50, "ts": times(*(number + np.arange(50) / 50).tolist()), "x": np.ones(50)})
        pq.write_table(spine, tmp_path / "spine" / f"{number}.parquet", compression="none", use_dictionary=False)
    broken = tmp_path / "spine" / "1.parquet"
    content = bytearray(broken.read_bytes())
    content[4:200] = b"\xff" * 196
    broken.write_bytes(content)
    store = OfflineStore(tables())
    features = store.batch_data(embedded.bundle.model, spine=tmp_path / "spine", duplicates=True)
    planned = plan_batch(embedded.bundle, features, run_id="run", rows_per_part=30)
    with pytest.raises(DefinitionError, match=r"1\.parquet cannot be read"):
        write_batch(embedded, features, planned, open_output(tmp_path / "out", form))
    assert not (tmp_path / "out").exists()


def test_tables_that_change_while_they_are_read(
    write: Write, many: Callable[..., FeatureTable], embedded: EmbeddedModel, form: Format, tmp_path: Path
) -> None:
    joined = many()
    planned = plan_batch(embedded.bundle, joined, run_id="run", rows_per_part=30)
    for rows in (95, 105):
        plan = BatchPlan("run", rows, 30, planned.fingerprint, planned.layout)
        with pytest.raises(DefinitionError, match=f"there were {rows} rows when the run was planned"):
            write_batch(embedded, joined, plan, open_output(tmp_path / str(rows), form))
        assert commits(tmp_path / str(rows)) == 3


def test_sizes_of_batches_do_not_depend_on_those_of_the_join() -> None:
    table = pa.table({"n": range(100)})
    for size in (1, 7, 100):
        batches = list(running._cut(table.to_batches(size), iter([30, 10, 40])))
        assert [batch.num_rows for batch in batches][:3] == [30, 10, 40]
        assert pa.Table.from_batches(batches).equals(table)


def test_names_of_runs(bundle: Bundle, many: Callable[..., FeatureTable]) -> None:
    assert name_run(bundle, {"start": DAY}) == name_run(bundle, {"start": DAY})
    assert name_run(bundle, {"start": DAY}) != name_run(bundle, {"start": DAY + timedelta(days=1)})
    for name in ("", "a/b", "../x", "a b", ".a", "x" * 101):
        with pytest.raises(DefinitionError, match="cannot name a run"):
            plan_batch(bundle, many(), run_id=name)
    with pytest.raises(DefinitionError, match="at least one row, not 0"):
        plan_batch(bundle, many(), run_id="a", rows_per_part=0)


def test_a_fingerprint_changes_with_what_is_read(embedded: EmbeddedModel, tmp_path: Path) -> None:
    for name, table in tables().items():
        pq.write_table(table, tmp_path / f"{name}.parquet")

    def fingerprint(**query: Any) -> int:
        store = OfflineStore({name: tmp_path / f"{name}.parquet" for name in tables()})
        query = {"latest": True, "as_of": DAY, "request": {"x": 1.0}} | query
        features = store.batch_data(embedded.bundle.model, **query)
        return plan_batch(embedded.bundle, features, run_id="run").fingerprint

    first = fingerprint()
    assert first == fingerprint()
    assert first != fingerprint(as_of=DAY + timedelta(days=1))
    assert first != fingerprint(request={"x": 2.0})
    pq.write_table(tables()["load"].slice(1), tmp_path / "load.parquet")
    assert first != fingerprint()


@pytest.mark.parametrize(
    ("query", "rows"), [({"latest": True, "as_of": DAY + timedelta(days=9)}, 2), ({"start_time": DAY}, 2)]
)
def test_rows_are_counted_without_the_join(embedded: EmbeddedModel, query: dict[str, Any], rows: int) -> None:
    features = OfflineStore(tables()).batch_data(embedded.bundle.model, request={"x": 1.0}, **query)
    assert features.count() == features.to_arrow().num_rows == rows


def test_an_estimate(embedded: EmbeddedModel, many: Callable[..., FeatureTable]) -> None:
    joined = many()
    expected = estimate(embedded, joined, plan_batch(embedded.bundle, joined, run_id="run"))
    assert expected.rows_per_s and expected.total_s == expected.first_row_s + 100 / expected.rows_per_s
