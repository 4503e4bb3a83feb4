"""A process that writes a run is killed at many points, and the next one continues: no row is lost or written twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tandem import Bundle, EmbeddedModel
from tandem_offline import OfflineStore
from tandem_offline.batch import BatchSummary, open_output, plan, plan_batch, write_batch
from tandem_offline.batch.outputs import Format

from .conftest import read, tables, times

ROWS, KILLS = 400, 20
POINTS = {"parquet": 14, "delta": 4}
"""Points of each part."""


def run(bundle: str, directory: str, form: Format, kill_at: int | None = None) -> BatchSummary:
    """Write a run in parts of ten rows, in batches of five.

    Args:
        bundle: The bundle.
        directory: Where the tables are.
        form: Format of the output.
        kill_at: Number of the point at which the process is killed; None for none.
    """
    plan.ROWS_PER_BATCH = 5  # type: ignore[misc]
    point = _Points(kill_at)
    # before and after whatever changes the output: a batch of rows, a file on disk, its name, a commit
    for owner, name in (
        (pq.ParquetWriter, "write_batch"),
        (os, "fsync"),
        (Path, "replace"),
        (pq.ParquetWriter, "close"),
    ):
        setattr(owner, name, point.around(getattr(owner, name)))
    if form == "delta":
        from tandem_offline.batch import delta_output

        delta_output.write_deltalake = point.around(delta_output.write_deltalake)
    model = EmbeddedModel.open(bundle)
    store = OfflineStore({name: f"{directory}/{name}.parquet" for name in tables()})
    features = store.batch_data(model.bundle.model, spine=f"{directory}/spine.parquet")
    planned = plan_batch(model.bundle, features, run_id="run", rows_per_part=10)
    output = open_output(f"{directory}/{form}", form)
    return write_batch(model, features, planned, output, progress=lambda summary: point.reach())


class _Points:
    """Counts points, and kills this process at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.kill_at = kill_at
        self.reached = 0

    def reach(self) -> None:
        self.reached += 1
        if self.reached == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            self.reach()
            result = function(*arguments, **options)
            self.reach()
            return result

        return call


@pytest.mark.parametrize("form", get_args(Format))
def test_killed_at_twenty_points_nothing_is_lost_and_nothing_is_written_twice(
    bundle: Bundle, form: Format, tmp_path: Path
) -> None:
    ids = ["c" if number % 7 == 6 else "a" for number in range(ROWS)]
    spine = pa.table({"id": ids, "ts": times(*np.linspace(2, 3, ROWS).tolist()), "x": np.linspace(20, 90, ROWS)})
    for name, table in {**tables(), "spine": spine}.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tandem_offline.batch.opening", "tandem_offline.batch.delta_output", "onnxruntime"])

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
