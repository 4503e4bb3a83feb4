"""Runs all attacks, and writes the table and the raw numbers."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import cpu
from benchmarks.fairness import attacker, client
from benchmarks.fairness.attacks import ATTACKS, Victim
from benchmarks.fuzz.servers import servers
from benchmarks.fuzz.tally import Tally
from benchmarks.fuzz.target import Target

RESULTS: Final = Path(__file__).parents[1] / "results"
RATES: Final = (10e3, 10e6)
"""Bytes per second of the attacker."""

PER_SECOND: Final = 200.0
MOST: Final = 3.0
_WARM_S: Final = 1.0
_ROUNDS: Final = 5


@dataclass(frozen=True)
class Measured:
    """One measurement of an attack: without it, beside it at each rate, and without it again.

    Attributes:
        quiet_ms: Latencies of the other client before and after.
        attacked_ms: Its latencies beside the attack, by bytes per second.
        failures: Its requests that failed, by bytes per second and kind.
        rss_mb: Memory of the server before the attack, and beside it by bytes per second.
    """

    quiet_ms: list[float] = field(default_factory=list)
    attacked_ms: dict[float, list[float]] = field(default_factory=dict)
    failures: dict[float, dict[str, int]] = field(default_factory=dict)
    rss_mb: dict[float, float] = field(default_factory=dict)

    def p99(self, rate: float = 0.0) -> float:
        """The other client's 99th percentile beside the attack, or without it, in ms."""
        return float(np.quantile(self.attacked_ms[rate] if rate else self.quiet_ms, 0.99))

    @property
    def ratio(self) -> float:
        """At the worst rate, over that without."""
        return max(self.p99(rate) for rate in self.attacked_ms) / self.p99()


@dataclass(frozen=True)
class Row:
    """One attack on one server.

    Attributes:
        server: ``transformer`` or ``predictor``.
        attack: Its name.
        rounds: Its measurements: one, or up to five where the first is above the bar.
    """

    server: str
    attack: str
    rounds: list[Measured]

    @property
    def decided(self) -> bool:
        """Whether further measurements, up to five, can not move the median over the bar or below it."""
        above = sum(measured.ratio > MOST for measured in self.rounds)
        return self.rounds[0].ratio <= MOST or max(above, len(self.rounds) - above) > _ROUNDS // 2

    @property
    def median(self) -> Measured:
        """The measurement whose ratio is in the middle: a neighbour on the machine is not in each of them."""
        return sorted(self.rounds, key=lambda measured: measured.ratio)[len(self.rounds) // 2]

    @property
    def ratio(self) -> float:
        """Of the median."""
        return self.median.ratio


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; the exit status is 1 where an attack makes the other client's p99 longer than :data:`MOST` times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--only", default="", help="attacks with this in SERVER: NAME")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the raw numbers")
    options = parser.parse_args(arguments)
    options.results.mkdir(parents=True, exist_ok=True)
    # so that the servers end with this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows = asyncio.run(_run(options.only, options.seconds))
    _write(rows, options.seconds, options.results / "fairness.json")
    Console(width=120).print(_table(rows))
    worst = max(rows, key=lambda row: row.ratio)
    broken = sum(row.ratio > MOST for row in rows)
    print(f"fairness: attacks={len(rows)} above_{MOST:.0f}={broken} worst_ratio={worst.ratio:.2f} ({worst.attack})")
    return int(broken > 0)


async def _run(only: str, seconds: float) -> list[Row]:
    rows = []
    async with servers(Tally(0)) as targets:
        for target in targets:
            await _measure(target, seconds)  # the first requests are slower
            for attack in ATTACKS[target.name]:
                if only in f"{target.name}: {attack}":
                    rows.append(await _row(target, attack, seconds))
                    print(_line(rows[-1]), file=sys.stderr, flush=True)
    return rows


async def _row(target: Target, attack: str, seconds: float) -> Row:
    row = Row(target.name, attack, [await _round(target, attack, seconds)])
    while not row.decided:
        row.rounds.append(await _round(target, attack, seconds))
    return row


async def _round(target: Target, attack: str, seconds: float) -> Measured:
    measured = Measured()
    quiet = await _measure(target, seconds / 2)
    measured.rss_mb[0.0] = target.rss_mb()
    for rate in RATES:
        async with _attacker(target, attack, rate):
            await asyncio.sleep(_WARM_S)
            attacked = await _measure(target, seconds)
            measured.rss_mb[rate] = target.rss_mb()
        measured.attacked_ms[rate], measured.failures[rate] = attacked.milliseconds, attacked.failures
        await target.revive()
        await asyncio.sleep(_WARM_S)
    after = await _measure(target, seconds / 2)
    measured.quiet_ms.extend(quiet.milliseconds + after.milliseconds)
    return measured


async def _measure(target: Target, seconds: float) -> client.Outcome:
    request = target.seeds.requests[0]
    lines = [b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n" % (request.path, len(request.body))]
    lines += [b"%b: %b\r\n" % header for header in request.headers]
    order = client.Order(
        target.port,
        target.grpc_port,
        b"".join((*lines, b"\r\n", request.body)),
        target.seeds.calls[0].message,
        PER_SECOND,
        seconds,
    )
    process = await _process("benchmarks.fairness.client", order)
    content, _ = await process.communicate()
    return msgspec.json.decode(content, type=client.Outcome)


@asynccontextmanager
async def _attacker(target: Target, attack: str, rate: float) -> AsyncIterator[None]:
    path = target.seeds.requests[0].path.decode()
    victim = Victim(target.port, target.grpc_port, path, target.seeds.calls[0].message)
    process = await _process("benchmarks.fairness.attacker", attacker.Order(target.name, attack, victim, rate))
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _process(module: str, order: msgspec.Struct) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(order))
    process.stdin.close()
    return process


def _line(row: Row) -> str:
    median = row.median
    beside = ", ".join(
        f"{rate / 1e3:.0f} kB/s {median.p99(rate):.1f} ms {median.failures[rate] or ''}" for rate in RATES
    )
    ratios = " ".join(f"{measured.ratio:.2f}" for measured in row.rounds)
    return f"{row.server}: {row.attack}: p99 {median.p99():.1f} ms; beside it {beside}; ratio {ratios}"


def _table(rows: list[Row]) -> Table:
    table = Table(title=f"p99 of a client at {PER_SECOND:.0f} requests/s, in ms, beside one that attacks")
    columns = ("server", "attack", "alone", *(f"{rate / 1e3:,.0f} kB/s" for rate in RATES), "failed", "ratio", "MB")
    for column in columns:
        table.add_column(column, justify="left" if column in ("server", "attack") else "right")
    for row in rows:
        median = row.median
        failed = sum(sum(kinds.values()) for kinds in median.failures.values())
        growth = max(median.rss_mb.values()) - median.rss_mb[0.0]
        beside = [f"{median.p99(rate):.1f}" for rate in RATES]
        cells = [f"{median.p99():.1f}", *beside, f"{failed}", f"{row.ratio:.2f}", f"{growth:+.0f}"]
        table.add_row(row.server, row.attack, *cells, style="" if row.ratio <= MOST else "bold")
    return table


def _write(rows: list[Row], seconds: float, path: Path) -> None:
    settings = {"per_second": PER_SECOND, "seconds": seconds, "rates": RATES, "most": MOST}
    entries = [
        {
            "server": row.server,
            "attack": row.attack,
            "ratio": row.ratio,
            "rounds": [_entry(result) for result in row.rounds],
        }
        for row in rows
    ]
    path.write_text(json.dumps({"settings": settings, "machine": cpu.machine(), "rows": entries}))


def _entry(measured: Measured) -> dict[str, object]:
    """A measurement as JSON, with latencies to a hundredth of a millisecond."""
    return {
        "p99_ms": {f"{rate:.0f}": round(measured.p99(rate), 2) for rate in (0.0, *measured.attacked_ms)},
        "ratio": measured.ratio,
        "quiet_ms": [round(value, 2) for value in measured.quiet_ms],
        "attacked_ms": {
            f"{rate:.0f}": [round(value, 2) for value in values] for rate, values in measured.attacked_ms.items()
        },
        "failures": {f"{rate:.0f}": kinds for rate, kinds in measured.failures.items()},
        "rss_mb": {f"{rate:.0f}": value for rate, value in measured.rss_mb.items()},
    }
