"""The calls that wait for a batch: those of high priority first, and among equals the tenants in turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from tandem_transformer.batch import Call
from tandem_transformer.fair_queue import FairQueue

LOW: Final = b"low"
"""Priority of calls that others go before; all others are high: a client can step back, and not push forward."""

LANES: Final = 1024
"""Tenants that are told apart at most; beyond, several share a turn."""


def lane_of(tenant: bytes) -> int:
    """Number of the lane in which the calls of a tenant wait; another one in every process."""
    return hash(tenant) % LANES


class CallQueue:
    """Calls that wait.

    Attributes:
        rows: Rows of all calls.
        calls: How many calls wait.
    """

    def __init__(self) -> None:
        self.rows = self.calls = 0
        self._high: FairQueue[Call] = FairQueue()
        self._low: FairQueue[Call] = FairQueue()

    def __iter__(self) -> Iterator[Call]:
        """All calls, in no order."""
        return chain(self._high, self._low)

    @property
    def has_low(self) -> bool:
        """Whether a call of low priority waits."""
        return bool(self._low.rows)

    def push(self, call: Call) -> None:
        """Let a call wait."""
        self.rows += call.size
        self.calls += 1
        (self._low if call.is_low else self._high).push(call)

    def take(self, rows: int) -> list[Call]:
        """Take the calls of the next batch: at least one, and then as many as fit into so many rows."""
        high, low = self._high, self._low
        before = high.rows
        calls = high.take(rows, at_least_one=True)
        if low.rows and not high.rows:
            calls += low.take(rows - before, at_least_one=not calls)
        self._count(calls)
        return calls

    def rows_ahead(self, call: Call) -> int:
        """About how many rows go before a call that is not here yet."""
        if call.is_low:
            return self._high.rows + self._low.rows_ahead(call)
        return self._high.rows_ahead(call)

    def make_room(self, call: Call) -> list[Call]:
        """Remove calls for one that has more claim to their place: of low priority, or of a tenant that has more rows.

        Returns:
            What was removed, at least as many rows as the call has; nothing where it has no claim.
        """
        if not call.is_low and self._low.rows >= call.size:
            removed = self._low.drop(call.size)
        else:
            removed = (self._low if call.is_low else self._high).make_room(call)
        self._count(removed)
        return removed

    def _count(self, removed: list[Call]) -> None:
        self.rows = self._high.rows + self._low.rows
        self.calls -= len(removed)
