"""A queue of keys that are due at certain times. A key is never processed twice at the same time.

Slow keys of one group, such as a namespace, occupy at most the group's share of the workers.
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
"""Number of stale entries that are tolerated."""


class WorkQueue(Generic[K]):
    """A queue of keys, each at most once, with delays. It belongs to one event loop.

    Args:
        clock: Seconds on the event loop's clock.
        group: Returns the group of a key; by default each key is a group.
        share: Maximum number of keys of one group that are processed at the same time.
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
        # keys that are not being processed, by the time they are due; entries with other times are stale
        self._order: list[tuple[float, int, K]] = []
        self._numbers = itertools.count()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._group = group
        self._share = share
        self._shares: Counter[Hashable] = Counter()
        # keys that are due, of groups whose share is used
        self._held: dict[Hashable, deque[K]] = {}
        # one worker waits for events on behalf of all, so that an event does not wake all workers
        self._turn = asyncio.Lock()
        self._event = asyncio.Event()

    def add(self, key: K, after: float = 0.0) -> None:
        """Add a key that is due after some seconds, or earlier if it is already due earlier."""
        # the pass may have read the object before this change
        if key in self._busy and not after:
            self._again.add(key)
            return
        due = self._clock() + after
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._queue(key)

    def drop(self, key: K) -> None:
        """Remove a key."""
        self._due.pop(key, None)
        self._again.discard(key)

    async def take(self) -> K:
        """Wait for the next key. After processing, :meth:`done` must be called."""
        async with self._turn:
            while True:
                self._event.clear()
                key = self._first()
                wait = None if key is None else self._due[key] - self._clock()
                if key is not None and wait is not None and wait <= 0:
                    del self._due[key]
                    self._busy.add(key)
                    self._shares[self._group(key)] += 1
                    return key
                try:
                    await asyncio.wait_for(self._event.wait(), wait)
                except TimeoutError:
                    continue

    def done(self, key: K) -> None:
        """Finish a key."""
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
        # a heap has no cheap removal: stale entries are skipped, and removed when they are the majority
        if len(self._order) > 2 * len(self._due) + _FEW:
            self._order = [entry for entry in self._order if self._is_valid(entry)]
            heapq.heapify(self._order)
        entry = (self._due[key], next(self._numbers), key)
        heapq.heappush(self._order, entry)
        # only a new first entry shortens the wait
        if self._order[0] is entry:
            self._event.set()

    def _first(self) -> K | None:
        """The key that is due first and whose group has not used its share."""
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
        """Release a share of a group. The next key of the group is queued behind the due keys of other groups."""
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
