"""`tandem batch`: the three queries, what is printed, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from core.tests.small import write_small
from deltalake import DeltaTable
from pyarrow import parquet
from typer.testing import CliRunner, Result

from tandem import Bundle
from tandem_cli.__main__ import app
from tandem_cli.batch import read_selection

DAY = datetime(2026, 5, 1, tzinfo=UTC)


def times(*days: float) -> pa.Array:
    return pa.array([DAY + timedelta(days=day) for day in days], pa.timestamp("us", "UTC"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle beside its package, whose table has two entities."""
    path = tmp_path_factory.mktemp("package")
    written = write_small(path)
    table = pa.table({"id": ["a", "b", "a"], "event_time": times(0, 0, 1), "ctl": [1.0, 2.0, 3.0]})
    parquet.write_table(table, path / "load.parquet")
    spine = pa.table({"id": ["a", "b", "c"], "ts": times(2, 2, 2), "x": [1.0, 101.0, 3.0]})
    parquet.write_table(spine, path / "spine.parquet")
    return written


@pytest.fixture
def package(bundle: Bundle) -> Path:
    return bundle.path.parents[1]


def tandem(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


def test_a_spine(bundle: Bundle, package: Path, tmp_path: Path) -> None:
    arguments = (bundle.path, "--package", package, "--spine", package / "spine.parquet", "--to", tmp_path / "out")
    result = tandem(*arguments, "--keep", "x", "--run-id", "r1")
    assert result.exit_code == 0, result.output
    expected = f"run r1: 3 rows written to {tmp_path / 'out'}; 1 degraded; without a prediction: 1 contract_violation\n"
    assert result.output == expected
    table = parquet.read_table(tmp_path / "out")
    assert table["x"].to_pylist() == [1.0, 101.0, 3.0]
    assert table["y"].is_null().to_pylist() == [False, True, False]
    again = tandem(*arguments, "--keep", "x", "--run-id", "r1")
    assert (again.exit_code, again.output) == (0, "run r1 is complete already\n")
    document = json.loads(tandem(*arguments, "--keep", "x", "-o", "json").output)
    assert (document["rows"], document["rowsWritten"], document["errors"]) == (3, 3, {"contract_violation": 1})
    assert document["run"] != "r1" and document["digest"] == bundle.digest
    # the same version and arguments are the same run
    assert json.loads(tandem(*arguments, "--keep", "x", "-o", "json").output)["rowsBefore"] == 3
    assert parquet.read_table(tmp_path / "out").num_rows == 6


def test_a_range_and_the_newest_rows_in_delta(bundle: Bundle, package: Path, tmp_path: Path) -> None:
    table = ("--table", f"load={package / 'load.parquet'}", "--request", "x=4", "--to", tmp_path / "out")
    result = tandem(bundle.path, *table, "--range", "2026-05-01", "2026-05-02", "--format", "delta")
    assert result.exit_code == 0, result.output
    assert "2 rows written" in result.output
    result = tandem(bundle.path, *table, "--latest", "--as-of", "2026-05-09T00:00:00+00:00")
    assert result.exit_code == 0, result.output
    rows = (
        DeltaTable(tmp_path / "out")
        .to_pyarrow_dataset()
        .to_table()
        .sort_by([("ts", "ascending"), ("id", "ascending")])
        .to_pylist()
    )
    assert [(row["id"], row["ts"].day) for row in rows] == [("a", 1), ("b", 1), ("a", 9), ("b", 9)]
    assert len({row["run_id"] for row in rows}) == 2


def test_a_plan(bundle: Bundle, package: Path, tmp_path: Path) -> None:
    arguments = (bundle.path, "--package", package, "--spine", package / "spine.parquet", "--to", tmp_path / "out")
    result = tandem(*arguments, "--dry-run", "--rows-per-part", "2")
    assert result.exit_code == 0, result.output
    assert "3 rows in 2 parts; 0 are there" in result.output
    assert "struct<code: string, message: string>" in result.output
    document = json.loads(tandem(*arguments, "--dry-run", "-o", "json").output)
    assert document["rows"] == 3 and document["rowsPerSecond"] > 0
    assert [column["name"] for column in document["columns"]][:3] == ["id", "ts", "y"]
    assert not (tmp_path / "out").exists()


def test_yesterday_is_the_last_whole_day_in_utc() -> None:
    before = datetime.now(UTC)
    selection = read_selection(("yesterday", "today"), latest=False, as_of=None, spine=None, is_named=False)
    newest = read_selection(None, latest=True, as_of="today", spine=None, is_named=True)
    assert selection.start is not None and selection.end is not None and newest.as_of is not None
    assert selection.end - selection.start == timedelta(days=1)
    for midnight in (selection.end, newest.as_of):
        assert midnight.time() == time() and midnight.tzinfo is UTC
        assert midnight.date() in (before.date(), datetime.now(UTC).date())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "give one of --range, --latest and --spine"),
        (("--latest", "--range", "2026-05-01", "2026-05-02"), "give one of --range, --latest and --spine"),
        (("--range", "yesterday", "tomorrow"), "'tomorrow' is not a time"),
        (("--range", "2026-05-01", "2026-05-02", "--as-of", "2026-05-02"), "is for --latest only"),
        (("--latest", "--run-id", "r"), "with --latest also needs --as-of"),
        (("--latest", "--table", "load"), "load is not NAME=VALUE"),
        (("--latest", "--request", "x=much"), "'much' is not a float64"),
    ],
)
def test_a_command_line_that_is_not_valid(bundle: Bundle, options: tuple[str, ...], reason: str) -> None:
    result = tandem(bundle.path, "--to", "out", *options)
    assert result.exit_code == 2
    assert reason in " ".join(result.output.replace("│", "").split())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--range", "2026-05-02", "2026-05-01"), "is not before end_time"),
        (("--latest",), "has no column 'x'"),
        (("--latest", "--request", "z=1"), "the contract has no field 'z'"),
        (("--latest", "--request", "x=1", "--run-id", "a/b", "--as-of", "2026-05-02"), "'a/b' cannot name a run"),
        (("--latest", "--request", "x=1", "--keep", "team"), "has no column 'team'"),
        (("--latest", "--request", "x=1", "--table", "load=nowhere"), "nowhere does not exist"),
    ],
)
def test_rows_that_cannot_be_predicted_for(
    bundle: Bundle, package: Path, options: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    result = tandem(bundle.path, "--package", package, "--to", tmp_path / "out", *options)
    assert result.exit_code == 1
    assert reason in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_exit_codes_are_documented() -> None:
    assert "Exit codes: 0" in tandem("--help").output
