"""Batch on one machine beside bare ONNX Runtime: both read the same Parquet, and write the same rows.

    python -m benchmarks.modes.batch SIDE BUNDLE TABLE OUTPUT

runs one side, and prints its seconds and the most memory that it had. Each side has a process of its own. The time is
that from the first read to the flushed file: both have imported their libraries and loaded the model before.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset

from tandem import Bundle, EmbeddedModel, Tolerance, fit, matrix, write_bundle
from tandem.onnx_runtime import onnxruntime, open_session
from tandem.package import ModelPackage
from tandem.sampling import random_inputs
from tandem_offline import OfflineStore
from tandem_offline.batch import open_output, plan_batch, write_batch
from tandem_offline.engine import Limits

PACKAGE: Final = Path(__file__).parents[1] / "model_without_views"
SEED: Final = 20261128
ROWS_PER_BATCH: Final = 65_536
TOLERANCE: Final = Tolerance(1e-4, 1e-2)
_ROWS_PER_WRITE: Final = 500_000


def train(directory: Path) -> Bundle:
    """A bundle with a network of 12 inputs and two layers of 64, which is not trained to any purpose."""
    # not needed by the processes that are measured
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPRegressor

    model = ModelPackage.read(PACKAGE).load()
    inputs = random_inputs(model, 500, np.random.default_rng(SEED))
    pipeline = fit(model, inputs)
    vectors = matrix(pipeline, inputs)
    network = MLPRegressor(hidden_layer_sizes=(64, 64), tol=1e9, n_iter_no_change=1, random_state=0)
    estimator = network.fit(vectors, vectors.sum(axis=1))
    return write_bundle(
        directory,
        package=PACKAGE,
        version="v1",
        pipeline=pipeline,
        onnx=to_onnx(estimator, vectors[:1]).SerializeToString(),
        golden=inputs.take(slice(0, 64)),
        expected=estimator.predict(vectors[:64]),
        # large numbers of either sign add up to small ones, in another order than in training
        tolerances={"CPUExecutionProvider": TOLERANCE},
    )


def write_table(path: Path, rows: int) -> None:
    """A Parquet file with keys, times and twelve numbers of each row."""
    rng = np.random.default_rng(SEED)
    start = np.datetime64("2026-11-01T00:00:00", "us")
    writer: pq.ParquetWriter | None = None
    for first in range(0, rows, _ROWS_PER_WRITE):
        count = min(_ROWS_PER_WRITE, rows - first)
        columns: dict[str, Any] = {"entity_id": [f"e{number}" for number in rng.integers(rows, size=count).tolist()]}
        columns["ts"] = pa.array(start + np.arange(first, first + count), pa.timestamp("us", "UTC"))
        columns |= {f"x{number}": rng.uniform(-100, 100, count).astype(np.float32) for number in range(12)}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def run_tandem(bundle: Path, table: Path, output: Path) -> float:
    """`tandem batch` as a function; seconds."""
    model = EmbeddedModel.open(bundle)
    store = OfflineStore({}, limits=Limits("512MB"))
    started = time.perf_counter()
    # whether two rows ask the same is not looked at: the other side does not either
    rows = store.batch_data(model.bundle.model, spine=table, duplicates=True)
    plan = plan_batch(model.bundle, rows, run_id="run")
    write_batch(model, rows, plan, open_output(output))
    return time.perf_counter() - started


def run_bare(bundle: Path, table: Path, output: Path) -> float:
    """The same rows with ONNX Runtime and Arrow by hand; seconds."""
    opened = Bundle.open(bundle)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = open_session(opened.graph(), options, ["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    output.mkdir()
    file = output / "run.parquet"
    constants = {"model_version": opened.version, "bundle_digest": opened.digest, "run_id": "run"}
    error_type = pa.struct([("code", pa.string()), ("message", pa.string())])
    empty: dict[str, Any] = {"degraded": pa.string(), "error": error_type}
    started = time.perf_counter()
    writer: pq.ParquetWriter | None = None
    batches = dataset.dataset(table, format="parquet").to_batches(
        batch_size=ROWS_PER_BATCH, batch_readahead=2, fragment_readahead=1
    )
    for batch in batches:
        features = np.column_stack([batch.column(f"x{number}").to_numpy() for number in range(12)])
        predictions = session.run(None, {given.name: features})[0].reshape(-1)
        columns = {"entity_id": batch.column("entity_id"), "ts": batch.column("ts"), "y": pa.array(predictions)}
        columns |= {name: pa.nulls(len(batch), kind) for name, kind in empty.items()}
        columns |= {name: pa.repeat(pa.scalar(value), len(batch)) for name, value in constants.items()}
        rows = pa.RecordBatch.from_pydict(columns)
        writer = writer or pq.ParquetWriter(file, rows.schema)
        writer.write_batch(rows)
    if writer is not None:
        writer.close()
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return time.perf_counter() - started


SIDES: Final[Mapping[str, Callable[[Path, Path, Path], float]]] = {"tandem": run_tandem, "bare": run_bare}


def measure(directory: Path, *, rows: int, rounds: int) -> list[dict[str, Any]]:
    """Run both sides in turn, and compare what they wrote.

    Args:
        directory: Of the files.
        rows: Rows of the table.
        rounds: How often each side runs.

    Returns:
        A record for each run: ``side``, ``rows``, ``seconds``, and ``rss_mb``, the most memory of the process.

    Raises:
        ValueError: if they wrote other predictions.
    """
    bundle, table = train(directory / "bundles"), directory / f"{rows}.parquet"
    write_table(table, rows)
    runs = []
    for number in range(rounds):
        outputs = {}
        # in another order each time: what ran before has filled the cache of files
        for side in list(SIDES)[:: 1 if number % 2 else -1]:
            outputs[side] = directory / f"{rows}-{side}-{number}"
            paths = map(str, (bundle.path, table, outputs[side]))
            command = [sys.executable, "-m", "benchmarks.modes.batch", side, *paths]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append({"side": side, "rows": rows, **json.loads(result.stdout)})
        _compare(outputs)
    return runs


def _compare(outputs: Mapping[str, Path]) -> None:
    datasets = [dataset.dataset(path, format="parquet") for path in outputs.values()]
    one, other = (table.to_table(columns=["entity_id", "ts", "y"]).sort_by("ts") for table in datasets)
    same = [one[name].equals(other[name]) for name in ("entity_id", "ts")]
    if not all(same) or not datasets[0].schema.equals(datasets[1].schema):
        raise ValueError("the two sides wrote other rows")
    np.testing.assert_allclose(one["y"].to_numpy(), other["y"].to_numpy(), rtol=TOLERANCE.rtol, atol=TOLERANCE.atol)


def peak_mebibytes() -> int:
    """Most memory that this process had; ``getrusage`` has that of its parent, if that is more."""
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return round(int(peak) / 1024)


def main() -> None:
    """Run one side, and print what it took."""
    side, *paths = sys.argv[1:]
    seconds = SIDES[side](*map(Path, paths))
    print(json.dumps({"seconds": round(seconds, 3), "rss_mb": peak_mebibytes()}))


if __name__ == "__main__":
    main()
