"""A run in a process of its own, which is killed at one of the points where an output changes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tandem import EmbeddedModel
from tandem_offline import OfflineStore
from tandem_offline.batch import open_output, plan, plan_batch, write_batch
from tandem_offline.batch.outputs import Format


def run(bundle: str, directory: str, form: Format, kill_at: int | None = None) -> None:
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
    store = OfflineStore({name: f"{directory}/{name}.parquet" for name in ("load", "profile")})
    features = store.batch_data(model.bundle.model, spine=f"{directory}/spine.parquet")
    planned = plan_batch(model.bundle, features, run_id="run", rows_per_part=10)
    output = open_output(f"{directory}/{form}", form)
    write_batch(model, features, planned, output, progress=lambda summary: point.reach())


class _Points:
    """Counts points, and kills this process at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.kill_at = kill_at
        self.reached = 0

    def reach(self) -> None:
        self.reached += 1
        if self.reached == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.reach()
            result = function(*arguments, **options)
            self.reach()
            return result

        return call
