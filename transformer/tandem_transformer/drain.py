"""How fast waiting rows are answered: what a call that arrives now would have to wait. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

_KEEP: Final = 0.9
"""So much of what was measured counts still at the next batch: about the last twenty batches count."""


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
