"""Pairs of processes, one stack after the other, in rounds that go back and forth."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from benchmarks.hop.client import Order, Outcome
from benchmarks.hop.messages import ROWS
from benchmarks.hop.stack import STACKS
from benchmarks.sides import ROOT, StartError, free_port, stop

CALLS: Final = (1, 16)
"""Calls in flight: one alone, and as many as ``make bench`` has clients in its ratios."""

_SLACK_S: Final = 60.0


class Cell(msgspec.Struct, frozen=True):
    """One measurement.

    Attributes:
        stack: Name of the stack.
        rows: Rows of each request.
        calls: Calls in flight.
        round: Its number, from 1.
        outcome: What was measured.
    """

    stack: str
    rows: int
    calls: int
    round: int
    outcome: Outcome


class Median(msgspec.Struct, frozen=True):
    """Medians over the rounds.

    Attributes:
        qps: Answers per second.
        milliseconds: Latency, by percentile.
        cpu_us: Microseconds of processor for each answer, of ``client`` and ``server``.
    """

    qps: float
    milliseconds: dict[str, float]
    cpu_us: dict[str, float]


class CallError(Exception):
    """A client failed, or an answer was wrong."""


def measure(rounds: int, seconds: float, warmup: float, progress: Callable[[Cell], object]) -> list[Cell]:
    """All stacks, message sizes and numbers of calls.

    Args:
        rounds: How often.
        seconds: Measured, for each cell.
        warmup: Seconds before measuring, each time.
        progress: Is told of each measurement.

    Raises:
        StartError: A server did not start.
        CallError: A call failed, or an answer was wrong.
    """
    cells = []
    with contextlib.ExitStack() as servers:
        ports = {name: servers.enter_context(serving(name)) for name in STACKS}
        for number in range(1, rounds + 1):
            for name, rows, calls in _turns(backwards=number % 2 == 0):
                port, pid = ports[name]
                order = Order(name, port, rows, calls, warmup, seconds, pid)
                cells.append(Cell(name, rows, calls, number, call(order)))
                progress(cells[-1])
    return cells


def medians(cells: Sequence[Cell]) -> dict[tuple[str, int, int], Median]:
    """Medians over the rounds, by stack, rows and calls."""
    groups: dict[tuple[str, int, int], list[Outcome]] = {}
    for cell in cells:
        groups.setdefault((cell.stack, cell.rows, cell.calls), []).append(cell.outcome)
    return {
        key: Median(
            statistics.median(outcome.answers / outcome.seconds for outcome in outcomes),
            _medians([outcome.milliseconds for outcome in outcomes]),
            _medians([outcome.cpu_us for outcome in outcomes]),
        )
        for key, outcomes in groups.items()
    }


def _medians(entries: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(entry[name] for entry in entries) for name in entries[0]}


def _turns(*, backwards: bool) -> Iterator[tuple[str, int, int]]:
    for rows in ROWS:
        for calls in CALLS:
            for name in reversed(STACKS) if backwards else STACKS:
                yield name, rows, calls


@contextlib.contextmanager
def serving(name: str) -> Iterator[tuple[int, int]]:
    """A serving process of a stack: its port and its process id.

    Raises:
        StartError: It did not start.
    """
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.hop.server", name, str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                raise StartError(f"the server of {name} did not start")
            yield port, process.pid
        finally:
            stop(process)


def call(order: Order) -> Outcome:
    """Run a calling process.

    Raises:
        CallError: A call failed, or an answer was wrong.
    """
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.hop.client"],
        input=msgspec.json.encode(order),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
        timeout=order.warmup + order.seconds + _SLACK_S,
        check=False,
    )
    if process.returncode:
        raise CallError(f"the client of {order.stack} failed")
    outcome = msgspec.json.decode(process.stdout, type=Outcome)
    if not outcome.answers:
        raise CallError(f"{order.stack}: no answer within {order.seconds:g} s")
    return outcome
