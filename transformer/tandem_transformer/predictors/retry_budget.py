"""How many calls may be made twice: a token bucket that each first call fills by a part of a token.

So what is repeated never adds more than that part to the load of a predictor that fails because of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RATIO: Final = 0.1
"""Second calls for each first one, in the long run."""

RESERVE: Final = 10.0
"""Second calls that need no first ones: all that are under way when a pod ends while there is little traffic."""


@dataclass(slots=True)
class RetryCounts:
    """Second calls since the counts were taken last.

    Attributes:
        retries: After an error of the first call.
        hedges: Without an answer of the first call.
        denied: Not made, since the budget was used up.
    """

    retries: int = 0
    hedges: int = 0
    denied: int = 0

    def take(self) -> dict[str, int]:
        """The counts since the last time, by name."""
        counts = {"retry": self.retries, "hedge": self.hedges, "denied": self.denied}
        self.retries = self.hedges = self.denied = 0
        return counts


class RetryBudget:
    """A token bucket: full at the start, never fuller.

    Args:
        ratio: Tokens that a first call brings.
        reserve: Most tokens.
    """

    def __init__(self, ratio: float = RATIO, reserve: float = RESERVE) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._tokens = reserve

    def deposit(self) -> None:
        """A first call is made."""
        self._tokens = min(self._tokens + self._ratio, self._reserve)

    def withdraw(self) -> bool:
        """Whether a second call may be made; it takes a token."""
        # a tenth ten times is a little less than one
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True
