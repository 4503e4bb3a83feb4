"""What one connection may cost a server, and all connections together.

Costs are counted in units of about 3 µs, which is what a control frame takes. A call that is given up takes thirty; a
byte of headers in Huffman's code takes 0.19 µs, and costs twice as much, since nothing else is done before its block is
read. An answer pays for ten calls that are given up, and for its own
headers: so a gateway whose clients give up calls goes on, as does a client with long headers. What a connection has not
earned comes out of a budget that all connections share, a hundredth of the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

WINDOW_COST: Final = 3
"""Of a frame that makes room for one stream."""

STREAMS_PER_UNIT: Final = 16
"""How many streams a frame that concerns all of them may visit for the cost of one unit."""

SHORT_DATA: Final = 2**8
"""Bytes below which a frame of data brings its call no further, and a read its request."""

PARTS_PER_UNIT: Final = 10
"""How many parts of a body over HTTP/1, such as chunks of one byte, are taken for the cost of one unit."""

SEGMENT_COST: Final = 3
"""Of a read that brings a request no further than a few bytes."""

FREE_SEGMENTS: Final = 8
"""So many such reads of one request over HTTP/1 cost nothing: some clients send head and body apart."""

RESET_COST: Final = 30
"""Of a call that is given up."""

ANSWER_EARNS: Final = 300
"""What an answer pays for, besides its own headers."""

FREE_HEADERS: Final = 2**9
"""Bytes of a header block that cost nothing; of a longer one all do."""

_HEADERS_PER_UNIT: Final = 8
_FIRST: Final = 200
# enough for a gateway whose thousand calls at once are all given up
_MOST_SAVED: Final = 30_000
_PER_S: Final = 100
_SHARED: Final = 600
# units of 3 µs: a hundredth of one processor
_SHARED_PER_S: Final = 3000
_INFLATED: Final = 2**25
_INFLATED_PER_S: Final = 2**25
# what arrives in small parts meanwhile is then read at once, and costs less
_LEAST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 1.0
_LONGEST_DEBT_S: Final = 40.0


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
        # no min(): every answer of gRPC comes by here
        balance = self._left + amount
        self._left = balance if balance < self._capacity else self._capacity

    def spend(self, amount: float) -> float:
        """Spend as much of an amount as there is, and return the rest; the clock is read only where there is one."""
        self._left -= amount
        if self._left >= 0:
            return 0.0
        self._refill()
        missing = max(0.0, -self._left)
        # what is missing is paid by all, so the connection owes nothing
        self._left += missing
        return missing

    def owe(self, amount: float) -> float:
        """Spend an amount whether it is there or not, and return the seconds until time has earned what was not.

        No more is ever owed than time earns in :data:`_LONGEST_DEBT_S`: whoever comes later does not pay for it all.
        """
        # the debt is kept: whoever comes next waits behind it, so many connections get no more than one
        self._left = max(self._left - amount, -_LONGEST_DEBT_S * self._per_second)
        self._refill()
        return max(0.0, -self._left) / self._per_second

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._capacity, self._left + (now - self._since) * self._per_second)
        self._since = now


class Overhead(Allowance):
    """What a client's frames may cost that bring no call forward.

    Args:
        shared: From :func:`shared_overhead`, of all connections.
        clock: Seconds.
    """

    __slots__ = ("_shared",)

    def __init__(self, shared: Allowance, clock: Callable[[], float]) -> None:
        super().__init__(_MOST_SAVED, _PER_S, clock, first=_FIRST)
        self._shared = shared

    def charge(self, cost: float) -> float:
        """Spend what the connection has earned, and what is beyond that of what all share.

        Returns:
            Seconds for which no more is to be taken of this connection. It is not cut off: its client would come back
            with a new one. At most a second, or what the connection alone would take to earn a larger cost.
        """
        missing = self.spend(cost)
        if missing and (seconds := self._shared.owe(missing)):
            return min(max(seconds, _LEAST_WAIT_S), max(missing / _PER_S, _LONGEST_WAIT_S))
        return 0.0


def shared_overhead(clock: Callable[[], float]) -> Allowance:
    """What the connections of a server may cost together beyond what each has earned.

    Args:
        clock: Seconds.
    """
    return Allowance(_SHARED, _SHARED_PER_S, clock)


def shared_inflation(clock: Callable[[], float]) -> Allowance:
    """Bytes that the compressed requests of a process may come to together, beyond what their own length pays for.

    Args:
        clock: Seconds.
    """
    return Allowance(_INFLATED, _INFLATED_PER_S, clock)


def headers_cost(size: int) -> int:
    """Cost of reading a header block of so many bytes."""
    return size // _HEADERS_PER_UNIT if size > FREE_HEADERS else 0


class Backlog:
    """Bytes of unfinished requests and of answers that are not taken, by what holds them.

    When there are more than the limit, the oldest holders are dropped: slow clients give way to others.

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
        # a holder that grows keeps its place, so a slow client does not become younger by sending a little
        self._holders[holder] = size, drop
        while self.size > self.limit:
            oldest = next(iter(self._holders))
            drop = self._holders[oldest][1]
            # released first: the loop must end whatever the drop does
            self.release(oldest)
            drop()

    def release(self, holder: object) -> None:
        """A holder has nothing any more."""
        if (entry := self._holders.pop(holder, None)) is not None:
            self.size -= entry[0]
