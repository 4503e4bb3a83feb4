"""A process that writes a run is killed at many points, and the next one continues: no row is lost or written twice."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tandem import Bundle
from tandem_offline.batch.outputs import Format

from .conftest import read, tables, times
from .killed_run import run

ROWS, KILLS = 400, 20
POINTS = {"parquet": 14, "delta": 4}
"""Points of each part."""


@pytest.mark.parametrize("form", get_args(Format))
def test_killed_at_twenty_points_nothing_is_lost_and_nothing_is_written_twice(
    bundle: Bundle, form: Format, tmp_path: Path
) -> None:
    ids = ["c" if number % 7 == 6 else "a" for number in range(ROWS)]
    spine = pa.table({"id": ids, "ts": times(*np.linspace(2, 3, ROWS).tolist()), "x": np.linspace(20, 90, ROWS)})
    for name, table in {**tables(), "spine": spine}.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["offline.tests.batch.killed_run", "tandem_offline.batch.delta_output", "tandem.onnx_runtime"]
    )

    def start(kill_at: int | None) -> int | None:
        process = context.Process(target=run, args=(str(bundle.path), str(tmp_path), form, kill_at))
        process.start()
        process.join()
        return process.exitcode

    # about a part further each time
    for kill_at in np.random.default_rng(3).integers(1, 2 * POINTS[form], KILLS).tolist():
        assert start(kill_at) == -signal.SIGKILL
    assert start(None) == 0
    table = read(tmp_path / form).sort_by("ts")
    assert table["ts"].to_pylist() == spine["ts"].to_pylist()
    assert table["id"].to_pylist() == ids
    assert [code is not None for code in table["error"].to_pylist()] == [name == "c" for name in ids]
    assert not [file for file in (tmp_path / form).iterdir() if file.name.endswith((".scratch", ".lock"))]
