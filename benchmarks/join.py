"""``python -m benchmarks.join``: a prediction log of 2,000,000 predictions joined with as much feedback.

Prints the seconds that ``tandem log join`` takes, and the most memory that it has.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tandem.dtypes import Column
from tandem.prediction_log.blocks import encode_block
from tandem.prediction_log.gathering import gather_feedback
from tandem.prediction_log.records import LoggedFeedback, Records
from tandem.prediction_log.schema import LogSchema
from tandem.prediction_log.segments import SegmentWriter

WRITERS = 4
FEATURES = 10
NOW = np.datetime64("2026-05-01T08:00:00", "us")


def main(argv: Sequence[str] | None = None) -> int:
    """Write a log, join it in a process of its own, and print what that took.

    Returns:
        The exit code of the join.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.join", description=main.__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--block", type=int, default=500, help="records of a block")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        log.mkdir()
        for writer in range(WRITERS):
            _write(log, f"{writer:016x}", arguments.rows // WRITERS, arguments.block)
        started = time.perf_counter()
        command = [sys.executable, "-m", "tandem_cli", "log", "join", str(log), "--to", str(Path(scratch) / "joined")]
        code = subprocess.run(command, check=False).returncode
        seconds = time.perf_counter() - started
    mebibytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"join: rows={arguments.rows} seconds={seconds:.1f} mebibytes={mebibytes:.0f}")
    return code


def _write(directory: Path, writer: str, rows: int, block: int) -> None:
    schema = _schema(writer)
    segment = SegmentWriter(directory, 0, schema)
    rng = np.random.default_rng(0)
    for start in range(0, rows, block):
        numbers = np.arange(start + 1, min(start + block, rows) + 1)
        segment.write([(len(numbers), encode_block("predictions", _predictions(schema, numbers, rng)))])
        own = numbers.tolist()
        truths = LoggedFeedback([writer] * len(own), own, [0] * len(own), rng.normal(size=len(own)), NOW)
        segment.write([(len(own), encode_block("feedback", gather_feedback(schema, truths)))])
    segment.complete()


def _schema(writer: str) -> LogSchema:
    return LogSchema(
        writer=writer,
        model="m",
        version="v1",
        digest="0" * 64,
        host="host",
        request={"id": "string", "x": "float64"},
        views={"load": {f"f{number}": "float64" for number in range(FEATURES)}},
        vectors=(),
        answers={"y": "float64"},
        truth="float64",
        traffic=("direct",),
        stages=("decode", "lookup", "odt", "mdt", "predict", "post"),
    )


def _predictions(schema: LogSchema, numbers: Column, rng: np.random.Generator) -> Records:
    rows = len(numbers)
    columns = {
        "number": numbers,
        "row": np.zeros(rows, np.int32),
        "time": np.full(rows, NOW),
        "as_of": np.full(rows, NOW),
        "traffic": np.zeros(rows, np.uint8),
        "stages": np.zeros((rows, 6), np.float32),
        "request/id": np.array([f"e{number % 9999}" for number in numbers.tolist()], object),
        "request/x": rng.normal(size=rows),
        "view/load/event_time": np.full(rows, NOW),
        "answer/y": rng.normal(size=rows),
    }
    columns |= {f"view/load/feature/f{number}": rng.normal(size=rows) for number in range(FEATURES)}
    return Records(schema, rows, columns, {})


if __name__ == "__main__":
    sys.exit(main())
