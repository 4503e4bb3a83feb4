"""What is to be looked at, and when. One rollout is never looked at twice at the same time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_FEW: Final = 64
"""So many entries that are out of date are not worth a thought."""


class Work(Generic[K]):
    """A queue of keys, each in it once, some of them for later. Belongs to one event loop.

    Args:
        clock: Seconds on the event loop's clock.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._due: dict[K, float] = {}
        # the keys that nobody is busy with, by the time they are due; entries of other times are out of date
        self._order: list[tuple[float, int, K]] = []
        self._numbers = itertools.count()
        self._busy: set[K] = set()
        self._again: set[K] = set()
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
                    return key
                try:
                    await asyncio.wait_for(self._news.wait(), wait)
                except TimeoutError:
                    continue

    def done(self, key: K) -> None:
        """A key has been looked at."""
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif key in self._due:
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
        """The key that is due first, of those that nobody is busy with."""
        while self._order and not self._is_valid(self._order[0]):
            heapq.heappop(self._order)
        return self._order[0][2] if self._order else None

    def _is_valid(self, entry: tuple[float, int, K]) -> bool:
        due, _, key = entry
        return self._due.get(key) == due and key not in self._busy
