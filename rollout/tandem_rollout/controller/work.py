"""What is to be looked at, and when. One rollout is never looked at twice at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Work(Generic[K]):
    """A queue of keys, each in it once, some of them for later. Belongs to one event loop.

    Args:
        clock: Seconds on the event loop's clock.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._due: dict[K, float] = {}
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._news = asyncio.Event()

    def add(self, key: K, after: float = 0.0) -> None:
        """Have a key looked at, after so many seconds or earlier."""
        if key in self._busy and not after:
            self._again.add(key)
            return
        due = self._clock() + after
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._news.set()

    def drop(self, key: K) -> None:
        """Do not look at a key."""
        self._due.pop(key, None)
        self._again.discard(key)

    async def take(self) -> K:
        """Wait for the next key; it must be given back with :meth:`done`."""
        while True:
            self._news.clear()
            key = min((each for each in self._due if each not in self._busy), key=self._due.__getitem__, default=None)
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
        self._news.set()
