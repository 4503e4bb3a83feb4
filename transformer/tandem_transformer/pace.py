"""How fast batches are answered: what a call that arrives now would have to wait. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from tandem_transformer.reserve import Estimate, observe

_KEEP: Final = 0.9
"""So much of what was measured counts still at the next batch: about the last twenty batches count."""

_OUTLIER: Final = 3.0
"""A batch that takes so many times as long as almost all others was held up by a stall."""


class Drain(NamedTuple):
    """A running estimate of how fast rows leave while others wait.

    Attributes:
        seconds: In which rows have left while others waited, the older the less.
        rows: As many have.
    """

    seconds: float = 0.0
    rows: float = 0.0

    @property
    def row_s(self) -> float:
        """Seconds for each row; 0 while nothing is known."""
        return self.seconds / self.rows if self.rows else 0.0


def observe_drain(drain: Drain, rows: int, seconds: float) -> Drain:
    """The estimate after a further batch.

    Args:
        drain: So far.
        rows: Rows of the batch.
        seconds: From the end of the batch before it to its own, while rows waited.
    """
    return Drain(_KEEP * drain.seconds + seconds, _KEEP * drain.rows + rows)


class Pace:
    """How long a batch takes, and how fast rows leave that wait.

    A stall of a backend holds up all batches that are under way. It counts once, not for each of them, and says little
    about how fast rows leave.

    Attributes:
        batch_s: Seconds within which a batch is almost always answered.
        row_s: Seconds in which one row leaves of those that wait; 0 while nothing is known.
    """

    def __init__(self) -> None:
        self.batch_s = self.row_s = 0.0
        self._batch = Estimate()
        self._drain = Drain()
        self._stalled_until = self._last_end = float("-inf")

    def answered(self, rows: int, waiting: int, left: float, now: float) -> None:
        """A batch has been answered.

        Args:
            rows: Its rows.
            waiting: Rows that wait.
            left: When it left the queue.
            now: The time, on the same clock.
        """
        if left < self._stalled_until:
            return
        usual, since = self.batch_s, now - max(self._last_end, left)
        self._last_end = now
        if usual and now - left > _OUTLIER * usual:
            self._stalled_until, since = now, min(since, usual)
        self._batch = batch = observe(self._batch, now - left)
        self.batch_s = batch.bound
        if waiting:
            self._drain = drain = observe_drain(self._drain, rows, since)
            self.row_s = drain.row_s
