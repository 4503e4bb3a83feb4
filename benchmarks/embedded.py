"""A model in this process: one row beside NumPy and ONNX Runtime by hand, the start, and lookups in a snapshot.

``python -m benchmarks.embedded``. Both sides of a comparison run in turn in one process, and give the same answers.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.case import SEED, Case, prepare
from tandem.onnx_model import OnnxModel
from tandem.packed_rows import RowLayout
from tandem.stores.snapshot import SnapshotStore
from tandem.stores.snapshot_writer import SnapshotWriter

ROUNDS: Final = 15
CALLS: Final = 600
STARTS: Final = 7
LOOKUPS: Final = 200_000
BATCH: Final = 20_000

_HEAD: Final = [("layout", "<u4"), ("time", "<i8"), ("nulls", "u1")]
_COURIER: Final = ("avg_speed_kmh", "deliveries_30d", "courier_rating", "late_share_30d", "shift_hours")
_RESTAURANT: Final = (
    "prep_minutes_7d",
    "prep_spread_7d",
    "open_orders",
    "cooks",
    "restaurant_rating",
    "basket_eur_30d",
    "lunch_share",
)

TANDEM_START: Final = """
import sys, time
start = time.perf_counter()
import tandem
model = tandem.load(sys.argv[1])
print(1e3 * (time.perf_counter() - start))
"""

BARE_START: Final = """
import sys, time
start = time.perf_counter()
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx", options, providers=["CPUExecutionProvider"])
print(1e3 * (time.perf_counter() - start))
"""


class ByHand:
    """The same model as somebody writes it without Tandem: nothing is checked, and nothing may be missing or old.

    Args:
        case: The benchmark's material.
    """

    def __init__(self, case: Case) -> None:
        self._rows = case.rows
        self._courier = np.dtype(_HEAD + [(name, "<f8") for name in _COURIER])
        self._restaurant = np.dtype(_HEAD + [(name, "<f8") for name in _RESTAURANT])
        self._session = OnnxModel(case.bundle.model_path)._session
        state = case.bundle.manifest.state
        self._state = [
            (state[f"standardize_{name}"]["mean"], state[f"standardize_{name}"]["std"])
            for name in ("deliveries_30d", "prep_minutes_7d", "basket_eur_30d", "travel_minutes")
        ]

    def predict(self, row: dict[str, Any]) -> dict[str, Any]:
        """The prediction of one row."""
        courier = np.frombuffer(self._rows[f"courier:1:{row['courier_id']}".encode()], self._courier)
        restaurant = np.frombuffer(self._rows[f"restaurant:1:{row['restaurant_id']}".encode()], self._restaurant)
        distance = np.array([row["distance_km"]])
        deliveries, prep, basket, travel = self._state
        columns = [
            (courier["deliveries_30d"] - deliveries[0]) / deliveries[1],
            courier["courier_rating"],
            courier["late_share_30d"],
            courier["shift_hours"],
            (restaurant["prep_minutes_7d"] - prep[0]) / prep[1],
            restaurant["prep_spread_7d"],
            restaurant["restaurant_rating"],
            (restaurant["basket_eur_30d"] - basket[0]) / basket[1],
            restaurant["lunch_share"],
            restaurant["open_orders"] / restaurant["cooks"],
            (60.0 * distance / courier["avg_speed_kmh"] - travel[0]) / travel[1],
            np.array([row["items"]], np.float64),
        ]
        vector = np.ascontiguousarray(np.array(columns, np.float32).T)
        output = self._session.run(None, {"X": vector})[0]
        return {"delivery_minutes": float(output[0, 0])}


@dataclass(frozen=True)
class OneRow:
    """Medians of one prediction, in microseconds.

    Attributes:
        tandem: With Tandem.
        by_hand: By hand.
        ratio: Median over the rounds of the ratio of both in a round.
    """

    tandem: float
    by_hand: float
    ratio: float


def one_row(case: Case) -> OneRow:
    """Time of one row with Tandem and by hand, in turn.

    Raises:
        AssertionError: if their answers are not the same.
    """
    model, hand = case.embedded(), ByHand(case)
    requests = case.requests[:CALLS]
    if [model.predict([request])[0] for request in requests] != [hand.predict(request) for request in requests]:
        raise AssertionError("both sides must give the same answers")
    sides: list[Callable[[dict[str, Any]], Any]] = [lambda request: model.predict([request]), hand.predict]
    medians = np.empty((ROUNDS, 2))
    gc.collect()
    for number in range(ROUNDS):
        # the first one of a round has the cold caches in turn
        for side in (0, 1) if number % 2 else (1, 0):
            medians[number, side] = np.median(list(_microseconds(sides[side], requests)))
    tandem_us, hand_us = np.median(medians, axis=0)
    return OneRow(float(tandem_us), float(hand_us), float(np.median(medians[:, 0] / medians[:, 1])))


def _microseconds(call: Callable[[Any], Any], arguments: Sequence[Any]) -> Iterator[float]:
    for argument in arguments:
        start = time.perf_counter()
        call(argument)
        yield 1e6 * (time.perf_counter() - start)


def starts(case: Case, code: str) -> list[float]:
    """Milliseconds of a start, each in a process of its own, ascending; the first one is not counted."""
    command = [sys.executable, "-c", code, str(case.bundle.path)]
    # as after an installation: what is imported is compiled, which the first process does
    cache = str(case.bundle.path.parent / "pycache")
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    outputs = [
        subprocess.run(command, check=True, capture_output=True, env=environment).stdout for _ in range(1 + STARTS)
    ]
    return sorted(map(float, outputs[1:]))


@dataclass(frozen=True)
class SnapshotFigures:
    """Figures of a snapshot.

    Attributes:
        bytes: Its size.
        build_s: Seconds that it takes to build it.
        open_ms: Median milliseconds that it takes to open it.
        lookup_us: Microseconds of one lookup of one entity, on average over random ones.
        missing_us: The same of entities that it does not have.
    """

    bytes: int
    build_s: float
    open_ms: float
    lookup_us: float
    missing_us: float


def snapshot(case: Case, path: Path, entities: int) -> SnapshotFigures:
    """Build a snapshot of so many entities, open it, and look entities up one by one."""
    view = case.bundle.manifest.views[0].view
    start = time.perf_counter()
    with SnapshotWriter(path, [view], created_at=0) as writer:
        for first in range(0, entities, BATCH):
            writer.add(view, _rows(RowLayout(view), first, min(BATCH, entities - first)))
        writer.finish()
    build_s = time.perf_counter() - start
    opened = [next(_microseconds(lambda _: SnapshotStore(path, [view]), [None])) / 1e3 for _ in range(STARTS)]
    store = SnapshotStore(path, [view])
    random = np.random.default_rng(SEED).integers(0, entities, LOOKUPS).tolist()
    present = [b"courier:1:c%d" % entity for entity in random]
    missing = [b"courier:1:x%d" % entity for entity in random]
    return SnapshotFigures(
        path.stat().st_size,
        build_s,
        float(np.median(opened)),
        _lookup_us(store, present, is_there=True),
        _lookup_us(store, missing, is_there=False),
    )


def _rows(layout: RowLayout, first: int, count: int) -> list[tuple[bytes, bytes]]:
    ids = np.array([f"c{first + number}" for number in range(count)], object)
    columns = {name: np.arange(first, first + count, dtype=float) for name in _COURIER}
    times = np.full(count, np.datetime64("2026-11-01", "us"))
    return list(zip(layout.keys([ids]), layout.pack(columns, times), strict=True))


def _lookup_us(store: SnapshotStore, keys: Sequence[bytes], *, is_there: bool) -> float:
    start = time.perf_counter()
    for key in keys:
        (row,) = store.get_now([key])
        if (row is None) is is_there:
            raise AssertionError(f"{key!r} must {'' if is_there else 'not '}be there")
    return 1e6 * (time.perf_counter() - start) / len(keys)


def main() -> None:
    """Measure, and print a line for each part, and one of figures at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--entities", type=int, default=200_000, help="entities of the snapshot; 10_000_000 takes minutes"
    )
    parser.add_argument("--only", choices=["row", "start", "snapshot"], action="append", help="only this part")
    arguments = parser.parse_args()
    parts = arguments.only or ["row", "start", "snapshot"]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        case = prepare(Path(directory))
        if "row" in parts:
            figures |= _report_row(one_row(case))
        if "start" in parts:
            figures |= _report_starts(starts(case, TANDEM_START), starts(case, BARE_START))
        if "snapshot" in parts:
            result = snapshot(case, Path(directory) / "snapshot", arguments.entities)
            figures |= _report_snapshot(result, arguments.entities)
    print("embedded: " + " ".join(f"{name}={value:.2f}" for name, value in figures.items()))


def _report_row(row: OneRow) -> dict[str, float]:
    print(f"one row: Tandem {row.tandem:.1f} us, by hand {row.by_hand:.1f} us, ratio {row.ratio:.2f}")
    return {"embedded_us": row.tandem, "by_hand_us": row.by_hand, "embedded_us_ratio": row.ratio}


def _report_starts(own: Sequence[float], bare: Sequence[float]) -> dict[str, float]:
    print(f"import and load: Tandem {_spread(own)} ms, NumPy and ONNX Runtime alone {_spread(bare)} ms")
    return {"import_ms": float(np.median(own)), "bare_import_ms": float(np.median(bare))}


def _report_snapshot(result: SnapshotFigures, entities: int) -> dict[str, float]:
    print(f"snapshot: {entities:,} entities, {result.bytes / 1e6:,.0f} MB, built in {result.build_s:.1f} s")
    print(
        f"snapshot: opens in {result.open_ms:.2f} ms; a lookup takes {result.lookup_us:.2f} us, "
        f"{result.missing_us:.2f} us of an unknown entity"
    )
    return {"snapshot_open_ms": result.open_ms, "snapshot_lookup_us": result.lookup_us}


def _spread(times: Sequence[float]) -> str:
    return f"{np.median(times):.0f} ({times[0]:.0f} to {times[-1]:.0f})"


if __name__ == "__main__":
    main()
