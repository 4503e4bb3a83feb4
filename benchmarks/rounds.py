"""Rounds of load on all sides in turn, and what they found."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np

from benchmarks.case import Case
from benchmarks.load import Order, Outcome
from benchmarks.sides import ROOT, Side

CHECKED = 200
RTOL = 1e-5


class WrongAnswerError(Exception):
    """A side answered with an error or with another prediction: whatever was measured is worth nothing."""


@dataclass(frozen=True)
class Cell:
    """One measurement: one side, one number of clients, one round.

    Attributes:
        side: Name of the side.
        clients: Connections, each with one request in flight.
        round: Counted from 1.
        answers: Answers within the measured time.
        seconds: The measured time.
        qps: Answers per second.
        milliseconds: Latency: ``p50``, ``p90``, ``p99``, ``max``, ``mean``.
        cpu_seconds: CPU time used, by role.
        cpu_us: The same in microseconds per answer.
        checked: How many of these answers were compared with the right prediction.
    """

    side: str
    clients: int
    round: int
    answers: int
    seconds: float
    qps: float
    milliseconds: dict[str, float]
    cpu_seconds: dict[str, float]
    cpu_us: dict[str, float]
    checked: int


@dataclass(frozen=True)
class Median:
    """The median of each figure over the rounds, for one side and number of clients."""

    qps: float
    milliseconds: dict[str, float]
    cpu_us: dict[str, float]


def check(side: Side, case: Case) -> None:
    """Ask one by one, and compare with the right predictions.

    Raises:
        WrongAnswerError: on the first that is not one.
    """
    if not side.answers:
        return
    connection = http.client.HTTPConnection("127.0.0.1", side.port, timeout=30)
    for index, body in enumerate(case.bodies[:CHECKED]):
        connection.request("POST", path(case), body, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise WrongAnswerError(f"{side.name} answers {answer.status}: {text}")
        compare(side, case, index, text)
    connection.close()


def compare(side: Side, case: Case, index: int, text: str) -> None:
    """Compare one V1 answer with the right prediction for the request of that index.

    Raises:
        WrongAnswerError: if they differ.
    """
    (value,) = json.loads(text)["predictions"]
    if isinstance(value, dict):
        if "degraded" in value:
            raise WrongAnswerError(f"{side.name} answers without stored features: {text}")
        value = value[case.bundle.contract.prediction.name]
    if not np.isclose(value, case.expected[index], rtol=RTOL, atol=0):
        raise WrongAnswerError(f"{side.name} predicts {value} for request {index}; right is {case.expected[index]}")


def measure(
    sides: Sequence[Side],
    case: Case,
    *,
    rounds: int,
    clients: Sequence[int],
    seconds: float,
    warmup: float,
    before_round: Callable[[], None],
    progress: Callable[[Cell], None],
) -> list[Cell]:
    """All rounds; the sides take turns, and every other round goes backwards.

    Raises:
        WrongAnswerError: as soon as one answer is an error or wrong.
    """
    cells = []
    for number in range(1, rounds + 1):
        before_round()
        for side, count in _turns(sides, clients, backwards=number % 2 == 0):
            outcome = _load(side, case, count, seconds, warmup)
            for index, text in outcome.samples if side.answers else ():
                compare(side, case, index, text)
            cells.append(_cell(side, count, number, outcome))
            progress(cells[-1])
    return cells


def medians(cells: Sequence[Cell]) -> dict[tuple[str, int], Median]:
    """Medians over the rounds, by side and clients."""
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.side, cell.clients), []).append(cell)
    return {
        key: Median(
            statistics.median(cell.qps for cell in group),
            medians_of([cell.milliseconds for cell in group]),
            medians_of([cell.cpu_us for cell in group]),
        )
        for key, group in groups.items()
    }


def as_json(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The raw numbers."""
    return [asdict(cell) for cell in cells]


def path(case: Case) -> str:
    """Where both sides are asked for predictions."""
    return f"/v1/models/{case.bundle.name}:predict"


def _turns(sides: Sequence[Side], clients: Sequence[int], *, backwards: bool) -> Iterator[tuple[Side, int]]:
    for count in clients:
        for side in reversed(sides) if backwards else sides:
            yield side, count


def _load(side: Side, case: Case, clients: int, seconds: float, warmup: float) -> Outcome:
    """One run of the generator, in a process of its own.

    Raises:
        WrongAnswerError: if any answer was not 200, or none came.
    """
    order = Order(side.port, path(case), case.bodies, clients, warmup, seconds, side.pids)
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=msgspec.json.encode(order),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
        start_new_session=True,
        timeout=warmup + seconds + 60,
    )
    outcome = msgspec.json.decode(process.stdout, type=Outcome)
    if outcome.errors or not outcome.answers:
        raise WrongAnswerError(f"{side.name}, {clients} clients: {outcome.errors} errors; {outcome.first_error}")
    return outcome


def _cell(side: Side, clients: int, number: int, outcome: Outcome) -> Cell:
    return Cell(
        side=side.name,
        clients=clients,
        round=number,
        answers=outcome.answers,
        seconds=outcome.seconds,
        qps=outcome.answers / outcome.seconds,
        milliseconds=outcome.milliseconds,
        cpu_seconds=outcome.cpu_seconds,
        cpu_us={role: 1e6 * used / outcome.answers for role, used in outcome.cpu_seconds.items()},
        checked=len(outcome.samples) if side.answers else 0,
    )


def medians_of(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Medians by name over the rounds; empty where nothing was measured."""
    return {name: statistics.median(entry[name] for entry in rounds) for name in rounds[0]} if rounds else {}
