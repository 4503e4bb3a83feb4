"""Limits of waiting rows that are compared. The one that the transformer has is imported from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from typing import Final

from tandem_transformer.aimd import Limit, Sample, adapt
from tandem_transformer.pace import Pace

MOST: Final = 20_000.0
"""Rows that may be inside whatever a limit says: about the default of ``--max_queued_rows``."""

LEAST: Final = 256.0
"""Fewest rows of a limit: the default of ``--max_batch_rows``."""

_TARGET_S: Final = 0.5
"""The default of ``--latency_target_ms``."""

_LONG: Final = 600
"""Batches over which the gradient's usual time is smoothed."""

Adapt = Callable[[Limit, Sample], Limit]
"""From a limit and what a batch shows to the next limit."""


def fixed(limit: Limit, sample: Sample) -> Limit:
    """A limit that never changes."""
    return limit


def aimd(limit: Limit, sample: Sample) -> Limit:
    """Additive increase and multiplicative decrease around a target."""
    return adapt(limit, sample, target_s=_TARGET_S, least=LEAST, most=MOST)


@dataclass
class Gradient:
    """The limit follows the ratio of the usual time in the system to that of now, plus some room for a queue.

    Source: Netflix, ``concurrency-limits``: the idea of ``Gradient2Limit``, with its constants.
    """

    tolerance: float = 1.5
    smoothing: float = 0.2
    usual: float = 0.0

    def __call__(self, limit: Limit, sample: Sample) -> Limit:
        """The limit after a further batch."""
        seconds = sample.seconds
        self.usual = self.usual + (seconds - self.usual) * 2 / (_LONG + 1) if self.usual else seconds
        # after an overload the usual time comes back faster than it went up
        if self.usual > 2 * seconds:
            self.usual *= 0.95
        if sample.inside < limit.rows / 2:
            return limit
        gradient = max(0.5, min(1.0, self.tolerance * self.usual / max(seconds, 1e-9)))
        rows = limit.rows * gradient + sqrt(limit.rows)
        return Limit(min(MOST, max(LEAST, limit.rows + self.smoothing * (rows - limit.rows))))


@dataclass
class Policy:
    """Whether a call may wait.

    Attributes:
        adapt: Changes the limit with each batch.
        by_deadline: Refuse calls that could not be answered in time.
        limit: Rows that may wait.
        pace: How fast batches are answered.
    """

    adapt: Adapt
    by_deadline: bool
    limit: Limit = field(default_factory=lambda: Limit(MOST))
    pace: Pace = field(default_factory=Pace)

    def admits(self, waiting: int, inside: int, remaining_s: float) -> bool:
        """Whether a call of one row may wait behind others.

        Args:
            waiting: Rows that wait.
            inside: Rows that wait or are on their way.
            remaining_s: Seconds that the call has.
        """
        if not waiting:
            return True
        if inside >= self.limit.rows:
            return False
        return not self.by_deadline or self.pace.batch_s + waiting * self.pace.row_s <= remaining_s

    def answered(self, sample: Sample, waiting: int, departure: float) -> None:
        """A batch is answered.

        Args:
            sample: What it shows.
            waiting: Rows that wait.
            departure: When it left the queue.
        """
        self.pace.answered(sample.rows, waiting, departure, sample.now)
        self.limit = self.adapt(self.limit, sample)


POLICIES: Final[dict[str, Callable[[], Policy]]] = {
    "queue of 20,000 rows": lambda: Policy(fixed, by_deadline=False),
    "deadline": lambda: Policy(fixed, by_deadline=True),
    "AIMD": lambda: Policy(aimd, by_deadline=False),
    "gradient": lambda: Policy(Gradient(), by_deadline=False, limit=Limit(LEAST)),
    "AIMD, deadline": lambda: Policy(aimd, by_deadline=True),
    "gradient, deadline": lambda: Policy(Gradient(), by_deadline=True, limit=Limit(LEAST)),
}
"""What makes a policy, by name."""
