"""Lookups of a store that has stalled end before their time is over, so that requests do not pile up behind them.

A store stalls when it saves, when it starts a new primary, or when its node has no processor. Until its lookups time
out, all batches wait for it, and all that came meanwhile has to be answered at once.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final

from tandem_transformer.breaker import FAILURES

STALL: Final = 0.25
"""So much of the time of a lookup passes without an answer to any before the store counts as stalled."""

_READ_S: Final = 0.001


class Stalls:
    """The lookups under way; those of a stalled store time out at once.

    Args:
        timeout_s: Seconds that a lookup may take.
    """

    def __init__(self, timeout_s: float) -> None:
        self._stall_s = STALL * timeout_s
        self._loop = asyncio.get_running_loop()
        self._began: dict[asyncio.Timeout, float] = {}
        self._answered = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def began(self, limit: asyncio.Timeout, now: float) -> None:
        """A lookup is under way.

        Args:
            limit: Ends it; its block is entered before the event loop goes on.
            now: The time, on the event loop's clock.
        """
        self._began[limit] = now
        if self._timer is None:
            self._timer = self._loop.call_later(self._stall_s / 2, self._look)

    def ended(self, limit: asyncio.Timeout, *, answered: bool) -> None:
        """A lookup has ended.

        Args:
            limit: That of :meth:`began`.
            answered: Whether the store has answered it.
        """
        del self._began[limit]
        if answered:
            self._answered = self._loop.time()

    def _look(self) -> None:
        self._timer = None
        if not self._began:
            return
        if self._is_stalled():
            # it may be this process that was held up: it reads first what has come
            self._loop.call_later(_READ_S, self._loop.call_soon, self._end)
        self._timer = self._loop.call_later(self._stall_s / 2, self._look)

    def _is_stalled(self) -> bool:
        """Whether as many lookups as open the circuit have waited so long, and no other was answered meanwhile."""
        since = self._loop.time() - self._stall_s
        last = next(islice(self._began.values(), FAILURES - 1, None), None)
        return last is not None and max(last, self._answered) <= since

    def _end(self) -> None:
        if self._is_stalled():
            now = self._loop.time()
            for limit in self._began:
                if not limit.expired():
                    limit.reschedule(now)
