"""A transformer under load, event by event: calls wait, leave in batches, and are answered by a predictor.

Calls of one row arrive at random. The transformer and the predictor work on one thing at a time each, and take a fixed
time for a batch and some for each row. To refuse a call takes time too.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from benchmarks.overload.policies import Policy
from tandem_transformer.aimd import Sample

MAX_ROWS: Final = 256
MAX_BATCHES: Final = 8
_BATCH_S: Final = 0.0008
_REFUSAL_S: Final = 0.00005
_ROW_S: Final = 0.0001
"""What the transformer takes for a batch, a refusal and a row."""

PREDICTOR_BATCH_S: Final = 0.001
PREDICTOR_ROW_S: Final = 0.00045
"""What the predictor takes: it is the slower one."""

CAPACITY: Final = 1 / (PREDICTOR_ROW_S + PREDICTOR_BATCH_S / MAX_ROWS)
"""Calls per second that can be answered at most."""


@dataclass(frozen=True)
class Scenario:
    """What happens.

    Attributes:
        name: In the table.
        load: From the time to the calls per second, as a part of :data:`CAPACITY`.
        slowness: From the time to how many times as long as usual the predictor takes.
        timeout_s: Seconds that a call has.
        seconds: How long it goes on.
    """

    name: str
    load: Callable[[float], float]
    slowness: Callable[[float], float] = lambda now: 1.0
    timeout_s: float = 1.0
    seconds: float = 10.0


@dataclass
class Outcome:
    """What became of the calls.

    Attributes:
        offered: Calls.
        refused: Of them refused at once.
        late: Of them admitted, and not answered in time.
        seconds: Times of those that were answered in time.
        answered_at: When these were answered.
        possible: Calls that could have been answered at most.
    """

    offered: int = 0
    refused: int = 0
    late: int = 0
    seconds: list[float] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)
    possible: float = 0.0


class Simulation:
    """One scenario with one policy.

    Args:
        scenario: What happens.
        policy: What is admitted.
        seed: Of the arrivals.
    """

    def __init__(self, scenario: Scenario, policy: Policy, seed: int) -> None:
        self.outcome = Outcome()
        self._scenario = scenario
        self._policy = policy
        self._random = random.Random(seed)
        self._waiting: deque[float] = deque()
        self._running = 0
        self._inside = 0
        self._free_at = 0.0
        self._predictor_free_at = 0.0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = itertools.count()

    def run(self) -> Outcome:
        """Let all happen."""
        self._at(0.0, self._arrive)
        while self._events:
            now, _, event = heapq.heappop(self._events)
            event(now)
        return self.outcome

    def _at(self, time: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), event))

    def _arrive(self, now: float) -> None:
        scenario, policy = self._scenario, self._policy
        gap = self._random.expovariate(scenario.load(now) * CAPACITY)
        if now + gap < scenario.seconds:
            self._at(now + gap, self._arrive)
        self.outcome.offered += 1
        self.outcome.possible += min(scenario.load(now), 1 / scenario.slowness(now)) / scenario.load(now)
        if policy.admits(len(self._waiting), self._inside, scenario.timeout_s):
            self._waiting.append(now)
            self._inside += 1
            self._leave(now)
        else:
            self.outcome.refused += 1
            self._free_at = max(now, self._free_at) + _REFUSAL_S

    def _leave(self, now: float) -> None:
        while self._waiting and self._running < MAX_BATCHES:
            calls: list[float] = []
            while self._waiting and len(calls) < MAX_ROWS:
                arrived = self._waiting.popleft()
                if now - arrived < self._scenario.timeout_s:
                    calls.append(arrived)
                else:
                    self.outcome.late += 1
                    self._inside -= 1
            if calls:
                self._start(calls, now)

    def _start(self, calls: list[float], now: float) -> None:
        self._running += 1
        self._free_at = max(now, self._free_at) + _BATCH_S + _ROW_S * len(calls)
        predictor_s = (PREDICTOR_BATCH_S + PREDICTOR_ROW_S * len(calls)) * self._scenario.slowness(now)
        self._predictor_free_at = max(self._free_at, self._predictor_free_at) + predictor_s
        self._at(self._predictor_free_at, lambda end: self._end(calls, now, end))

    def _end(self, calls: list[float], started: float, now: float) -> None:
        self._running -= 1
        for arrived in calls:
            if now - arrived <= self._scenario.timeout_s:
                self.outcome.seconds.append(now - arrived)
                self.outcome.answered_at.append(now)
            else:
                self.outcome.late += 1
        sample = Sample(now - calls[0], len(calls), self._inside, now)
        self._inside -= len(calls)
        self._policy.answered(sample, len(self._waiting), started)
        self._leave(now)
