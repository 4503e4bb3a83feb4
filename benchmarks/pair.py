"""``make bench``: our pair beside a stock KServe pair and one written by hand; see ``README.md``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import UVLOOP, cpu, report, rounds, single
from benchmarks.case import ENTITIES, REQUESTS, Case, prepare
from benchmarks.hop.__main__ import SECONDS as HOP_SECONDS
from benchmarks.hop.__main__ import WARMUP as HOP_WARMUP
from benchmarks.hop.__main__ import run as run_hop
from benchmarks.hop.measure import CallError
from benchmarks.hop.report import figures as hop_figures
from benchmarks.sides import (
    Launcher,
    Side,
    StartError,
    Store,
    guarded,
    logged,
    start_floor,
    start_handmade,
    start_stock,
    start_tandem,
    start_variants,
)

PARTS = ("stock", "handmade", "tandem", "log", "guards", "floor", "lookup", "embedded", "hop")
RESULTS = Path(__file__).parent / "results"
TURNS = (
    "stock-rest",
    "tandem-rest",
    "handmade",
    "floor",
    "stock-grpc",
    "tandem-grpc",
    "tandem-logged",
    "tandem-durable",
    "tandem-bare",
    "tandem-guarded",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Returns:
        0, or 1 if a side did not start, or answered wrongly.
    """
    arguments = _parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=130 if not sys.stdout.isatty() else None)
    try:
        findings = _run(arguments, console)
    except (StartError, CallError, rounds.WrongAnswerError) as error:
        console.print(f"[red]{type(error).__name__}[/]: {error}", markup=True)
        return 1
    except KeyboardInterrupt:
        return 130
    report.show(findings, console)
    report.write(findings, arguments.results)
    print(report.last_line(findings))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pair", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured, for each side and number of clients")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before measuring, each time")
    parser.add_argument("--clients", type=_numbers, default=[1, 16, 64], help="comma-separated")
    parser.add_argument("--only", type=_parts, default=list(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument(
        "--stock-uvloop", action="store_true", help="put the stock side on uvloop, which its SDK does not use"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where pair.json and pair.png go")
    return parser.parse_args(argv)


def _run(arguments: argparse.Namespace, console: Console) -> report.Findings:
    machine = cpu.machine()
    if arguments.stock_uvloop:
        os.environ[UVLOOP] = "1"
    with tempfile.TemporaryDirectory() as scratch, Launcher(Path(scratch)) as launcher:
        console.print("training the model, filling the store …")
        case = prepare(Path(scratch))
        store = launcher.store(case)
        lookups: list[dict[str, float]] = []
        embedded: list[dict[str, float]] = []

        def measure_singles() -> None:
            if "lookup" in arguments.only:
                lookups.append(single.lookup(store.url))
            if "embedded" in arguments.only:
                embedded.append(single.embedded(case))

        console.print("starting servers, comparing their answers …")
        sides = _start(arguments.only, launcher, case, store, Path(scratch))
        for side in sides:
            rounds.check(side, case)
        cells = rounds.measure(
            sides,
            case,
            rounds=arguments.rounds,
            clients=arguments.clients,
            seconds=arguments.seconds,
            warmup=arguments.warmup,
            before_round=measure_singles,
            progress=lambda cell: _progress(cell, console),
        )
    return report.Findings(
        _settings(arguments),
        machine,
        cells,
        rounds.medians_of(lookups),
        rounds.medians_of(embedded),
        _hop(arguments, console) if "hop" in arguments.only else {},
    )


def _hop(arguments: argparse.Namespace, console: Console) -> dict[str, float]:
    """Calls of the hop alone, when all other servers have been stopped."""
    console.print("our HTTP/2 beside h2 and grpcio …")
    seconds, warmup = min(arguments.seconds, HOP_SECONDS), min(arguments.warmup, HOP_WARMUP)
    return hop_figures(run_hop(arguments.rounds, seconds, warmup, arguments.results, console))


def _start(only: Sequence[str], launcher: Launcher, case: Case, store: Store, scratch: Path) -> list[Side]:
    sides: list[Side] = []
    if "stock" in only:
        sides += start_stock(launcher, case, store)
    if "handmade" in only:
        sides += start_handmade(launcher, case, store)
    if "tandem" in only:
        sides += start_tandem(launcher, case, store)
    if "log" in only:
        sides += start_variants(launcher, case, store, logged(scratch))
    if "guards" in only:
        sides += start_variants(launcher, case, store, guarded(scratch))
    if "floor" in only:
        sides += start_floor(launcher)
    return sorted(sides, key=lambda side: TURNS.index(side.name))


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    options = {
        name: getattr(arguments, name) for name in ("rounds", "seconds", "warmup", "clients", "only", "stock_uvloop")
    }
    return {**options, "entities": ENTITIES, "requests": REQUESTS, "answers_compared_before": rounds.CHECKED}


def _progress(cell: rounds.Cell, console: Console) -> None:
    console.print(
        f"round {cell.round}  {cell.clients:>3} clients  {cell.side:<12} {cell.qps:>9,.0f} answers/s"
        f"  p50 {cell.milliseconds['p50']:>7.2f} ms  p99 {cell.milliseconds['p99']:>7.2f} ms",
        highlight=False,
    )


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if strange := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(strange))}")
    return parts


if __name__ == "__main__":
    sys.exit(main())
