"""``python -m benchmarks.hop``: our HTTP/2 beside ``h2`` and grpcio; see ``benchmarks/README.md``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import cpu
from benchmarks.hop import report
from benchmarks.hop.measure import CALLS, CallError, Cell, measure
from benchmarks.hop.messages import ROWS
from benchmarks.sides import StartError

SECONDS: Final = 2.0
"""Measured by default, for each stack, size and number of calls."""

WARMUP: Final = 0.5
"""Seconds before measuring by default, each time."""

RESULTS: Final = Path(__file__).parents[1] / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what our HTTP/2 gains on the hop; table, raw numbers, one line of figures.

    Returns:
        0, or 1 if a server did not start, or a call failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hop", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="measured, for each stack, size and number of calls"
    )
    parser.add_argument("--warmup", type=float, default=WARMUP, help="seconds before measuring, each time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where hop.json goes")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=130 if not sys.stdout.isatty() else None)
    try:
        cells = run(arguments.rounds, arguments.seconds, arguments.warmup, arguments.results, console)
    except (StartError, CallError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"hop: {report.line(cells)}")
    return 0


def run(rounds: int, seconds: float, warmup: float, results: Path, console: Console) -> list[Cell]:
    """Measure, print the table, write ``hop.json``.

    Args:
        rounds: How often each stack has its turn.
        seconds: Measured, for each stack, size and number of calls.
        warmup: Seconds before measuring, each time.
        results: Folder for the raw numbers.
        console: Where the table goes.

    Raises:
        StartError: A server did not start.
        CallError: A call failed, or an answer was wrong.
    """
    machine = cpu.machine()
    cells = measure(rounds, seconds, warmup, lambda cell: _progress(cell, console))
    report.show(cells, console)
    settings = {"rounds": rounds, "seconds": seconds, "warmup": warmup, "rows": ROWS, "calls": CALLS}
    report.write(cells, settings, machine, results / "hop.json")
    return cells


def _progress(cell: Cell, console: Console) -> None:
    outcome = cell.outcome
    console.print(
        f"round {cell.round}  {cell.rows:>3} rows  {cell.calls:>2} calls  {cell.stack:<7}"
        f" {outcome.answers / outcome.seconds:>9,.0f} answers/s  p99 {outcome.milliseconds['p99']:>7.3f} ms",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
