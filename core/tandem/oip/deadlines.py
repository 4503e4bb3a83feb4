"""The deadlines of the calls of one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadlines:
    """Ends calls whose time is over, by the numbers of their streams.

    All calls share one timer, since most of them are answered in time and never need one.

    Args:
        expire: Is called with the number of a call whose time is over.
    """

    def __init__(self, expire: Callable[[int], None]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._deadlines: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def set(self, number: int, seconds: float) -> None:
        """Give a call so many seconds from now."""
        self._deadlines[number] = deadline = self._loop.time() + seconds
        # an earlier timer stays, even one for a call that has been answered
        if self._timer is None or deadline < self._due:
            self._set_timer(deadline)

    def get(self, number: int) -> float | None:
        """When the time of a call is over, on the event loop's clock; None for never."""
        return self._deadlines.get(number)

    def drop(self, number: int) -> None:
        """A call has come to its end."""
        self._deadlines.pop(number, None)

    def clear(self) -> None:
        """All calls have come to their end, and no more are to come."""
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._expire_late)

    def _expire_late(self) -> None:
        self._timer = None
        now = self._loop.time()
        for number in [number for number, deadline in self._deadlines.items() if deadline <= now]:
            self.drop(number)
            self._expire(number)
        # what ends a call may have set a timer, or dropped the last deadline
        if self._deadlines:
            self._set_timer(min(self._deadlines.values()))
