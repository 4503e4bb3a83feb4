"""Starts both servers, sends them cases round by round, and says what came of it."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.fuzz import workers
from benchmarks.fuzz.servers import servers
from benchmarks.fuzz.tally import Tally, resume
from benchmarks.fuzz.target import Target

STATE: Final = Path(".cache/fuzz.json")
ROUND: Final = 10_000
WARM_ROUNDS: Final = 3
"""Rounds of a start before memory is looked at: pools, caches and the heap have their size then."""

MOST_GROWTH_MB: Final = 20.0
_SETTLE_S: Final = 1.0
_LOG_BYTES: Final = 50_000_000

_PATIENT: Final = (
    "--explain",
    "--request_timeout_ms",
    5_000,
    "--store_timeout_ms",
    4_000,
    "--predictor_timeout_ms",
    4_000,
)
"""Flags of the transformer: the machine is busy, and what is late is judged by other tests."""

Send = Callable[[Target, str, Iterator[int]], Coroutine[None, None, None]]

SURFACES: Final[dict[str, tuple[Send, int, float]]] = {
    "http1": (workers.send_http1, 8, 0.24),
    "http1-raw": (workers.send_raw_http1, 8, 0.03),
    "http2-raw": (workers.send_raw_http2, 8, 0.03),
    "grpc": (workers.send_grpc, 3, 0.20),
}
"""By surface: what sends its cases, how many of these at once, and its share of all cases, for either server."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; the exit status is 1 where the bar is not kept."""
    options = _parser().parse_args(arguments)
    # so that the servers end with this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.fresh:
        options.state.unlink(missing_ok=True)
    if options.replay:
        return uvloop.run(_replay(options.seed, *options.replay.split(":")))
    tally = resume(options.state, options.seed)
    if tally.requests >= options.requests:
        tally = Tally(options.seed)
    uvloop.run(_run(tally, options.state, options.requests, options.seconds, options.only))
    for finding in tally.findings:
        print(f"{finding.kind}: {finding.server}: {finding.what} ({finding.count} times; {finding.cases[0][0]} …)")
    print(tally.line())
    growth = max(tally.rss_growth_mb.values(), default=0.0)
    return 0 if tally.passed and growth <= MOST_GROWTH_MB else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of all cases (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=1_000_000, help="cases of a whole run (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so long; the next call goes on")
    parser.add_argument("--state", type=Path, default=STATE, help="file to go on from, with all findings")
    parser.add_argument("--fresh", action="store_true", help="do not go on from where the last run was broken off")
    parser.add_argument("--only", default="", help="surfaces whose names begin so, as transformer-grpc")
    parser.add_argument(
        "--replay", default="", metavar="SURFACE:NUMBER", help="send one case, and print what came of it"
    )
    return parser


async def _run(tally: Tally, state: Path, requests: int, seconds: float, only: str) -> None:
    async with servers(tally, *_PATIENT) as targets:
        try:
            await _rounds(targets, tally, state, requests, time.monotonic() + seconds, only)
        finally:
            tally.save(state)


async def _replay(seed: int, surface: str, number: str) -> int:
    server, _, kind = surface.partition("-")
    tally = Tally(seed)
    async with servers(tally, *_PATIENT) as targets:
        target = next(target for target in targets if target.name == server)
        await SURFACES[kind][0](target, surface, iter([int(number)]))
        print(f"{surface}:{number}: {tally.answers}")
        for finding in tally.findings:
            print(f"{finding.kind}: {finding.what}: {bytes.fromhex(finding.cases[0][1])!r}")
        print(target.log.read_text()[-5000:])
    return int(not tally.passed)


async def _rounds(targets: list[Target], tally: Tally, state: Path, requests: int, until: float, only: str) -> None:
    while tally.requests < requests and (time.monotonic() < until or targets[0].rounds <= WARM_ROUNDS):
        started = time.monotonic()
        await _round(targets, tally, min(1.0, (requests - tally.requests) / ROUND), only)
        await asyncio.sleep(_SETTLE_S)
        for target in targets:
            growth = target.growth_mb(WARM_ROUNDS)
            tally.rss_growth_mb[target.name] = max(tally.rss_growth_mb.get(target.name, 0.0), growth)
            if target.log.stat().st_size > _LOG_BYTES:
                os.truncate(target.log, 0)
        tally.seconds += time.monotonic() - started
        tally.save(state)
        print(f"{tally.line()} seconds={tally.seconds:.0f}", flush=True)


async def _round(targets: list[Target], tally: Tally, part: float, only: str) -> None:
    """Send the next cases of all surfaces, and wait until what became of each is known."""
    async with asyncio.TaskGroup() as tasks:
        for target in targets:
            for kind, (send, count, share) in SURFACES.items():
                surface = f"{target.name}-{kind}"
                if not surface.startswith(only):
                    continue
                first = tally.following.get(surface, 0)
                last = first + max(1, round(part * share * ROUND))
                numbers = iter(range(first, last))
                tally.following[surface] = last
                for _ in range(count):
                    tasks.create_task(send(target, surface, numbers))
