"""Runs all scenarios, and writes the table and the raw numbers."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import cpu
from benchmarks.case import Case, prepare
from benchmarks.chaos.client import Order, Sample
from benchmarks.chaos.parts import Pair, Part, started
from benchmarks.chaos.records import LoggedRecords, read_records
from benchmarks.chaos.scenarios import SCENARIOS, Scenario
from benchmarks.chaos.verdict import DEADLINE_MS, Measured, Verdict, is_sustained, judge
from benchmarks.fuzz import http1

RESULTS: Final = Path(__file__).parents[1] / "results"
_PATH: Final = "/v1/models/delivery-time:predict"
_BEFORE_S: Final = 3.0
_LOAD_S: Final = 15.0
_AFTER_S: Final = 4.0
_MAXIMUM_S: Final = 5.0
_STEP: Final = 0.9
_WATCH_S: Final = 0.25


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; the exit status is 1 where a scenario does to clients what it must not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the raw numbers")
    options = parser.parse_args(arguments)
    options.results.mkdir(parents=True, exist_ok=True)
    # so that the processes end with this one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as work:
        case = prepare(Path(work))
        maximum, runs = asyncio.run(_run(case, Path(work), options.only))
    _write(maximum, runs, options.results / "chaos.json")
    Console(width=140).print(_table(runs))
    verdicts = [verdict for _, _, verdict in runs]
    passed = sum(not verdict.failures for verdict in verdicts)
    late = sum(verdict.late for scenario, _, verdict in runs if scenario.answered)
    undocumented = sum(verdict.undocumented for verdict in verdicts)
    lost = sum(measured.records.lost for _, measured, _ in runs)
    print(f"chaos: scenarios={len(runs)} passed={passed} lost_records={lost} late={late} undocumented={undocumented}")
    return int(passed < len(runs))


async def _run(case: Case, work: Path, only: str) -> tuple[float, list[tuple[Scenario, Measured, Verdict]]]:
    async with started(case, work / "maximum") as pair:
        maximum = await _maximum(case, pair)
    print(f"maximum {maximum:,.0f} requests/s", file=sys.stderr, flush=True)
    runs = []
    for number, scenario in enumerate(SCENARIOS):
        if only in scenario.name:
            async with started(case, work / str(number), scenario.log) as pair:
                measured = await _measure(case, pair, scenario, maximum)
            verdict = judge(scenario, measured)
            runs.append((scenario, measured, verdict))
            print(_line(scenario, verdict), file=sys.stderr, flush=True)
    return maximum, runs


async def _maximum(case: Case, pair: Pair) -> float:
    """Most requests per second that are answered in time when they come whatever becomes of those before them.

    A closed loop has more: its clients wait for each other, so that their requests share batches.
    """
    await _client(case, pair, 0.0, _MAXIMUM_S)  # the first requests are slower
    per_second = len(await _client(case, pair, 0.0, _MAXIMUM_S)) / _MAXIMUM_S
    while not is_sustained(await _client(case, pair, per_second, _MAXIMUM_S)):
        per_second *= _STEP
    return per_second


async def _measure(case: Case, pair: Pair, scenario: Scenario, maximum: float) -> Measured:
    await _client(case, pair, maximum * 0.5, _BEFORE_S)
    async with _watched(pair.transformer) as (rss_mb, health_ms):
        per_second = maximum * scenario.load
        load = asyncio.create_task(_client(case, pair, per_second, scenario.load_s or _LOAD_S))
        await asyncio.sleep(_BEFORE_S)
        begin = time.monotonic()
        await scenario.fault(pair)
        end = time.monotonic()
        samples = await load
        samples += await _client(case, pair, maximum * 0.5, _AFTER_S)
    records = LoggedRecords()
    if scenario.log != "none":
        ids = (sample.prediction_id for sample in samples if sample.prediction_id)
        records = await read_records(pair, scenario.log, ids)
    return Measured(per_second, begin, end, samples, rss_mb, health_ms, records)


async def _client(case: Case, pair: Pair, per_second: float, seconds: float) -> list[Sample]:
    order = Order(pair.transformer.port, _PATH, case.bodies, DEADLINE_MS, per_second, seconds)
    with tempfile.NamedTemporaryFile() as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.chaos.client", file.name), stdin=asyncio.subprocess.PIPE
        )
        await process.communicate(msgspec.json.encode(order))
        if process.returncode:
            raise RuntimeError(f"the client ended with code {process.returncode}")
        return msgspec.json.decode(file.read(), type=list[Sample])


@asynccontextmanager
async def _watched(part: Part) -> AsyncIterator[tuple[list[tuple[float, float]], list[float]]]:
    """Memory of a part, and the time of its answers to liveness probes, until the end of the block."""
    rss_mb: list[tuple[float, float]] = []
    health_ms: list[float] = []

    async def watch() -> None:
        while True:
            if (size := part.rss_mb()) is not None:
                rss_mb.append((time.monotonic(), size))
            started_at = time.monotonic()
            with suppress(OSError):
                if await http1.is_live(part.port):
                    health_ms.append(1e3 * (time.monotonic() - started_at))
            await asyncio.sleep(_WATCH_S)

    task = asyncio.create_task(watch())
    try:
        yield rss_mb, health_ms
    finally:
        task.cancel()


def _line(scenario: Scenario, verdict: Verdict) -> str:
    outcomes = ", ".join(f"{outcome} {count:,}" for outcome, count in verdict.outcomes.most_common())
    return f"{scenario.name}: {outcomes}; {', '.join(verdict.failures) or 'passed'}"


def _table(runs: Sequence[tuple[Scenario, Measured, Verdict]]) -> Table:
    table = Table(title=f"Clients under faults; each request brings a deadline of {DEADLINE_MS:.0f} ms")
    requests = ("requests/s", "ok", "degraded", "errors", "unanswered")
    table.add_column("fault")
    for name in (*requests, "p99.9 ms", "recovery s", "health ms", "MB/min", "not logged"):
        table.add_column(name, justify="right")
    table.add_column("result")
    for scenario, measured, verdict in runs:
        outcomes = verdict.outcomes
        errors = outcomes.total() - outcomes["ok"] - outcomes["degraded"] - outcomes["unanswered"]
        table.add_row(
            scenario.name,
            f"{measured.per_second:,.0f}",
            f"{outcomes['ok']:,}",
            f"{outcomes['degraded']:,}",
            f"{errors:,}",
            f"{outcomes['unanswered']:,}",
            f"{verdict.p999_ms:.0f}",
            f"{verdict.recovery_s:.2f}",
            f"{max(measured.health_ms, default=0):.0f}",
            f"{verdict.slope_mb_per_minute:+.1f}",
            f"{measured.records.missing:,}" if measured.records.acknowledged else "",
            ", ".join(verdict.failures) or "passed",
        )
    return table


def _write(maximum: float, runs: Sequence[tuple[Scenario, Measured, Verdict]], path: Path) -> None:
    entries = [
        {
            "scenario": scenario.name,
            "per_second": round(measured.per_second, 1),
            "outcomes": dict(verdict.outcomes),
            "p999_ms": round(verdict.p999_ms, 1),
            "late": verdict.late,
            "recovery_s": round(verdict.recovery_s, 2),
            "slope_mb_per_minute": round(verdict.slope_mb_per_minute, 2),
            "health_ms": round(max(measured.health_ms, default=0.0), 1),
            "records": msgspec.to_builtins(measured.records),
            "failures": verdict.failures,
            "samples": [
                (round(sample.at - measured.begin, 3), round(sample.ms, 1), sample.outcome)
                for sample in measured.samples
                if sample.outcome != "ok" or sample.ms > DEADLINE_MS
            ],
        }
        for scenario, measured, verdict in runs
    ]
    settings = {"maximum": round(maximum, 1), "deadline_ms": DEADLINE_MS}
    path.write_text(json.dumps({"settings": settings, "machine": cpu.machine(), "scenarios": entries}))
