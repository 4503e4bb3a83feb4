"""What is to be looked at, and when. One rollout is never looked at twice at the same time.

Whatever takes long in one group of keys, such as a namespace, holds up no more than the group's share of the workers.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_FEW: Final = 64
"""So many entries that are out of date are not worth a thought."""


class WorkQueue(Generic[K]):
    """A queue of keys, each in it once, some of them for later. Belongs to one event loop.

    Args:
        clock: Seconds on the event loop's clock.
        group: The group of a key; each is its own without it.
        share: Most keys of one group that are being looked at.
    """

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        *,
        group: Callable[[K], Hashable] = lambda key: key,
        share: int = 1,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._due: dict[K, float] = {}
        # the keys that nobody is busy with, by the time they are due; entries of other times are out of date
        self._order: list[tuple[float, int, K]] = []
        self._numbers = itertools.count()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._group = group
        self._share = share
        self._shares: Counter[Hashable] = Counter()
        # keys that are due, of groups that have their share
        self._held: dict[Hashable, deque[K]] = {}
        # one waits for news on behalf of all, or each piece of news would wake everybody
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()

    def add(self, key: K, after: float = 0.0) -> None:
        """Have a key looked at, after so many seconds or earlier."""
        if key in self._busy and not after:
            self._again.add(key)
            return
        due = self._clock() + after
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._queue(key)

    def drop(self, key: K) -> None:
        """Do not look at a key."""
        self._due.pop(key, None)
        self._again.discard(key)

    async def take(self) -> K:
        """Wait for the next key; it must be given back with :meth:`done`."""
        async with self._turn:
            while True:
                self._news.clear()
                key = self._first()
                wait = None if key is None else self._due[key] - self._clock()
                if key is not None and wait is not None and wait <= 0:
                    del self._due[key]
                    self._busy.add(key)
                    self._shares[self._group(key)] += 1
                    return key
                try:
                    await asyncio.wait_for(self._news.wait(), wait)
                except TimeoutError:
                    continue

    def done(self, key: K) -> None:
        """A key has been looked at."""
        if key in self._busy:
            self._busy.discard(key)
            self._release(self._group(key))
        if key in self._again:
            self._again.discard(key)
            self._due[key] = min(self._due.get(key, math.inf), self._clock())
        if key in self._due:
            self._queue(key)

    def _queue(self, key: K) -> None:
        if key in self._busy:
            return
        if len(self._order) > 2 * len(self._due) + _FEW:
            self._order = [entry for entry in self._order if self._is_valid(entry)]
            heapq.heapify(self._order)
        entry = (self._due[key], next(self._numbers), key)
        heapq.heappush(self._order, entry)
        if self._order[0] is entry:
            self._news.set()

    def _first(self) -> K | None:
        """The key that is due first, of those that nobody is busy with and whose group has not got its share."""
        now = self._clock()
        while self._order:
            due, _, key = self._order[0]
            if self._is_valid(self._order[0]):
                group = self._group(key)
                if due > now or self._shares[group] < self._share:
                    return key
                self._held.setdefault(group, deque()).append(key)
            heapq.heappop(self._order)
        return None

    def _release(self, group: Hashable) -> None:
        """One of a group has been looked at: the next one queues up behind what other groups have waiting."""
        self._shares[group] -= 1
        if not self._shares[group]:
            del self._shares[group]
        waiting = self._held.get(group)
        while waiting:
            key = waiting.popleft()
            if key in self._due:
                self._due[key] = max(self._due[key], self._clock())
                self._queue(key)
                break
        if waiting is not None and not waiting:
            del self._held[group]

    def _is_valid(self, entry: tuple[float, int, K]) -> bool:
        due, _, key = entry
        return self._due.get(key) == due and key not in self._busy
