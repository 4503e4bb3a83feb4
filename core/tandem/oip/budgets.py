"""What one connection may cost a server, and all connections together."""

from __future__ import annotations

from collections.abc import Callable


class Allowance:
    """A budget that is earned by useful work and by time, and spent on what is none.

    Args:
        capacity: Most that can be saved.
        per_second: What time earns.
        clock: Seconds.
        first: What there is at first; by default as much as can be saved.
    """

    __slots__ = ("_capacity", "_clock", "_left", "_per_second", "_since")

    def __init__(
        self, capacity: float, per_second: float, clock: Callable[[], float], *, first: float | None = None
    ) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._clock = clock
        self._left = capacity if first is None else first
        self._since = clock()

    def earn(self, amount: float) -> None:
        """Useful work has been done."""
        left = self._left + amount
        self._left = left if left < self._capacity else self._capacity

    def spend(self, amount: float) -> float:
        """Spend as much of an amount as there is, and return the rest; the clock is read only where there is one."""
        self._left -= amount
        if self._left >= 0:
            return 0.0
        self._refill()
        missing = max(0.0, -self._left)
        self._left += missing
        return missing

    def owe(self, amount: float) -> float:
        """Spend an amount whether it is there or not, and return the seconds until time has earned what was not."""
        self._left -= amount
        self._refill()
        return max(0.0, -self._left) / self._per_second

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._capacity, self._left + (now - self._since) * self._per_second)
        self._since = now


class Backlog:
    """Bytes of unfinished requests and of answers that are not taken, by what holds them.

    When there are more than the limit, the oldest holders are dropped: whoever is slow gives way to whoever is not.

    Args:
        limit: Most bytes.

    Attributes:
        size: Bytes of unfinished requests and of answers that are not taken.
        working: Bytes of requests that are being answered.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.working = 0
        self._holders: dict[object, tuple[int, Callable[[], object]]] = {}

    def hold(self, holder: object, size: int, drop: Callable[[], object]) -> None:
        """Count what a holder has from now on.

        Args:
            holder: A stream.
            size: All of its bytes.
            drop: Gives them up; must end in :meth:`release`.
        """
        self.size += size - self._holders.get(holder, (0,))[0]
        self._holders[holder] = size, drop
        while self.size > self.limit:
            oldest = next(iter(self._holders))
            drop = self._holders[oldest][1]
            self.release(oldest)
            drop()

    def release(self, holder: object) -> None:
        """A holder has nothing any more."""
        if (held := self._holders.pop(holder, None)) is not None:
            self.size -= held[0]
