"""What is measured without load: a lookup of 100 rows, and one embedded prediction."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import numpy as np
import uvloop

from benchmarks.case import SEED, Case
from tandem.features import Feature, FeatureView
from tandem.lookup import LookupPlan
from tandem.packed_rows import RowLayout
from tandem.stores.redis import RedisStore

VIEWS = 5
FEATURES = 10
ROWS = 100
LOOKUPS = 2000
PREDICTIONS = 5000
WARMUP = 200


def lookup(url: str) -> dict[str, float]:
    """Milliseconds from a batch's key column to feature columns: 100 rows, 5 views of 10 numbers, one round trip.

    Args:
        url: The running store; rows are written to it first.

    Returns:
        ``p50`` and ``p99``.
    """
    return uvloop.run(_lookup(url))


async def _lookup(url: str) -> dict[str, float]:
    views = [
        FeatureView(f"wide_{view}", keys=("id",), features=tuple(Feature(f"f{view}_{n}") for n in range(FEATURES)))
        for view in range(VIEWS)
    ]
    plan = LookupPlan([view.on() for view in views])
    request = {"id": np.array([f"e{row}" for row in range(ROWS)], object)}
    store = RedisStore(url)
    values = np.random.default_rng(SEED).normal(size=(VIEWS, FEATURES, ROWS))
    now = np.full(ROWS, np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us"))
    for view, columns in zip(views, values, strict=True):
        layout = RowLayout(view)
        features = {feature.name: column for feature, column in zip(view.features, columns, strict=True)}
        await store.put(zip(layout.keys([request["id"]]), layout.pack(features, now), strict=True))
    milliseconds = []
    for _ in range(WARMUP + LOOKUPS):
        start = time.perf_counter()
        batches = plan.unpack(await store.get(plan.keys(request)), ROWS)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    await store.close()
    if not all(np.array_equal(view.columns[f"f{at}_3"], values[at, 3]) for at, view in enumerate(batches)):
        raise AssertionError("the lookup does not give back what was stored")
    return _percentiles(milliseconds)


def embedded(case: Case) -> dict[str, float]:
    """Microseconds of one embedded prediction of one row: validation, memory lookup, transforms, ONNX Runtime.

    Returns:
        ``p50`` and ``p99``.
    """
    model = case.embedded()
    microseconds = []
    for call in range(WARMUP + PREDICTIONS):
        row = [case.requests[call % len(case.requests)]]
        start = time.perf_counter()
        model.predict(row)
        microseconds.append(1e6 * (time.perf_counter() - start))
    return _percentiles(microseconds)


def _percentiles(microseconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(microseconds[WARMUP:], [50, 99])
    return {"p50": float(p50), "p99": float(p99)}
