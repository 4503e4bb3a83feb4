"""The point-in-time join beside the same ``ASOF JOIN`` of bare DuckDB, and its rows beside a search by hand.

Of each entity there are rows at random times, each of which becomes known some time after its event time. A row of the
result that is not the newest one that was known then is a leak.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tandem import Feature, FeatureView, Model, Prediction
from tandem_offline import OfflineStore, Source
from tandem_offline.engine import Limits

SEED: Final = 20261128
ENTITIES: Final = 50
"""Rows of the table for each entity."""

_START: Final = np.datetime64("2026-01-01T00:00:00", "us")
_SPAN_US: Final = 300 * 86_400 * 1_000_000
_LATE_US: Final = 2 * 86_400 * 1_000_000
VIEW: Final = FeatureView("load", keys=("id",), features=tuple(Feature(f"x{number}") for number in range(4)))
MODEL: Final = Model(
    "joined",
    serving_keys={"id": "int64"},
    request_parameters={"ts": "timestamp"},
    as_of="ts",
    views=[VIEW],
    inputs=[f"x{number}" for number in range(4)],
    prediction=Prediction("y"),
)
_BARE: Final = """
    SELECT s.id, s.ts, f.event_time, f.x0, f.x1, f.x2, f.x3
    FROM spine s ASOF LEFT JOIN features f ON s.id = f.id AND s.ts >= f.event_time
"""


def measure(directory: Path, *, spine_rows: int, feature_rows: int, rounds: int) -> dict[str, Any]:
    """Join, and count the leaks.

    Args:
        directory: Of the files.
        spine_rows: Rows of the spine.
        feature_rows: Rows of the view's table.
        rounds: How often each side runs.

    Returns:
        ``tandem_s`` and ``duckdb_s``, the seconds of each round, ``bitemporal_s`` of the join by the time at which rows
        became known, and ``leaks``.
    """
    features, spine = _features(feature_rows), _spine(spine_rows, feature_rows)
    pq.write_table(features, directory / "features.parquet")
    pq.write_table(spine, directory / "spine.parquet")
    times: dict[str, list[float]] = {"tandem_s": [], "duckdb_s": [], "bitemporal_s": []}
    leaks = 0
    for _ in range(rounds):
        times["tandem_s"].append(_tandem(directory, created="")[0])
        times["duckdb_s"].append(_duckdb(directory))
        seconds, joined = _tandem(directory, created="created")
        times["bitemporal_s"].append(seconds)
        leaks += count_leaks(features, spine, joined)
    return {"spine_rows": spine_rows, "feature_rows": feature_rows, **times, "leaks": leaks}


def count_leaks(features: pa.Table, spine: pa.Table, joined: pa.Table) -> int:
    """Rows whose values are not those of the newest row that was known at the time of the row.

    Args:
        features: The view's table.
        spine: The spine.
        joined: The result, in the order of the spine.
    """
    ids, events, known = (_numbers(features, name) for name in ("id", "event_time", "created"))
    order = np.lexsort((known, ids))
    ids, events, known = ids[order], events[order], known[order]
    # the newest event time of all rows that became known up to each of them
    newest = np.empty(len(events), np.int64)
    for start, stop in zip(*_groups(ids), strict=True):
        newest[start:stop] = np.maximum.accumulate(events[start:stop])
    # entity and time as one number, by which the rows are sorted already
    position = np.searchsorted(_packed(ids, known), _packed(_numbers(spine, "id"), _numbers(spine, "ts")), "right") - 1
    is_known = (position >= 0) & (ids[position] == _numbers(spine, "id"))
    expected = np.where(is_known, newest[position], -1)
    joined_times: Any = joined["load_event_time"].cast(pa.int64())
    actual = np.asarray(pc.fill_null(joined_times, -1))
    return int(np.count_nonzero(actual != expected))


def _groups(ids: Any) -> tuple[Any, Any]:
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    return starts, np.r_[starts[1:], len(ids)]


def _packed(ids: Any, times: Any) -> Any:
    base = int(_START.astype(np.int64))
    return ids * (_SPAN_US + _LATE_US) + (times - base)


def _numbers(table: pa.Table, name: str) -> Any:
    return np.asarray(table[name].cast(pa.int64()))


def _features(rows: int) -> pa.Table:
    rng = np.random.default_rng(SEED)
    # times are all different, so that there is one newest row
    event_time = _START + rng.permutation(rows) * (_SPAN_US // rows)
    columns: dict[str, Any] = {
        "id": rng.integers(max(1, rows // ENTITIES), size=rows),
        "event_time": pa.array(event_time, pa.timestamp("us", "UTC")),
        "created": pa.array(event_time + rng.integers(_LATE_US, size=rows), pa.timestamp("us", "UTC")),
    }
    return pa.table(columns | {f"x{number}": rng.normal(size=rows) for number in range(4)})


def _spine(rows: int, feature_rows: int) -> pa.Table:
    rng = np.random.default_rng(SEED + 1)
    moments = _START + rng.integers(_SPAN_US, size=rows)
    ids = rng.integers(max(1, feature_rows // ENTITIES), size=rows)
    return pa.table({"id": ids, "ts": pa.array(moments, pa.timestamp("us", "UTC"))})


def _tandem(directory: Path, *, created: str) -> tuple[float, pa.Table]:
    source = Source(directory / "features.parquet", created=created)
    store = OfflineStore({"load": source}, limits=Limits("1GB"))
    started = time.perf_counter()
    rows = store.batch_data(MODEL, spine=directory / "spine.parquet", duplicates=True)
    joined = rows.to_arrow()
    return time.perf_counter() - started, joined


def _duckdb(directory: Path) -> float:
    started = time.perf_counter()
    with duckdb.connect() as connection:
        for name in ("spine", "features"):
            connection.register(name, connection.read_parquet(str(directory / f"{name}.parquet")))
        connection.sql(_BARE).to_arrow_table()
    return time.perf_counter() - started
