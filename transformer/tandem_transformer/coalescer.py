"""Coalescing: requests that arrive while a batch is on its way travel together in the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from itertools import chain
from typing import Any

from tandem.errors import Overloaded
from tandem_transformer.batch import Call

FEW = 4
"""With fewer calls than this at a time, coalescing them would cost more in waiting than it saves in work."""


class Coalescer:
    """Collects calls into batches.

    Calls that tend to come together leave together: a batch leaves as soon as so many calls wait as were waiting or on
    their way when the last one left, and at the latest ``max_wait`` after its first call. So batches grow with the load
    by themselves, and while there are few calls at a time, none of them waits. A batch always leaves at the end of an
    event-loop turn, with all that came in it.

    Args:
        run: Answers the calls of one batch; never raises.
        max_rows: Most rows of one batch, unless a single call has more; 0 to send every call alone and at once.
        max_wait: Seconds for which a call waits for others.
        max_batches: Batches on their way at once.
        max_queued_rows: Rows that may wait.
    """

    def __init__(
        self,
        run: Callable[[list[Call]], Coroutine[Any, Any, None]],
        *,
        max_rows: int,
        max_wait: float,
        max_batches: int,
        max_queued_rows: int,
    ) -> None:
        self._run = run
        self._max_rows = max_rows
        self._max_wait = max_wait if max_rows else 0.0
        self._max_batches = max_batches
        self._max_queued_rows = max_queued_rows
        self._waiting: deque[Call] = deque()
        self._queued_rows = 0
        self._running: dict[asyncio.Task[None], list[Call]] = {}
        self._expected = 1
        self._leaving = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def submit(self, call: Call) -> None:
        """Put a call into a batch; its ``answer`` will be resolved.

        Raises:
            Overloaded: if too many rows are waiting.
        """
        # an empty queue takes a call of any size: otherwise a large one would never be answered
        if self._waiting and self._queued_rows + call.size > self._max_queued_rows:
            raise Overloaded(f"{self._queued_rows} rows are waiting already", retry_after=1)
        self._waiting.append(call)
        self._queued_rows += call.size
        # with too many on their way, the end of one of them lets the next leave
        if not self._leaving and len(self._running) < self._max_batches:
            self._consider()

    def calls(self) -> Iterator[Call]:
        """All that wait or are on their way."""
        return chain(self._waiting, *self._running.values())

    async def drain(self) -> None:
        """Wait until every call is answered."""
        while self._waiting or self._running:
            if self._running:
                await asyncio.wait(self._running)
            else:  # a batch is about to leave
                await asyncio.sleep(self._max_wait)

    def _consider(self) -> None:
        """Let a batch leave now, or set the time at which it leaves."""
        if not self._max_wait or self._expected < FEW or len(self._waiting) >= self._expected:
            self._leaving = True
            # at the end of this turn of the loop, so that calls which arrive in it still join
            self._loop.call_soon(self._leave)
        elif self._timer is None:
            self._timer = self._loop.call_later(self._max_wait, self._leave)

    def _leave(self) -> None:
        self._leaving = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # as many calls as are open now are likely to come again together
        self._expected = len(self._waiting) + sum(map(len, self._running.values()))
        while self._waiting and len(self._running) < self._max_batches:
            calls = self._take()
            task = self._loop.create_task(self._run(calls))
            self._running[task] = calls
            task.add_done_callback(self._done)

    def _take(self) -> list[Call]:
        calls = [self._waiting.popleft()]
        rows = calls[0].size
        while self._waiting and rows + self._waiting[0].size <= self._max_rows:
            calls.append(self._waiting.popleft())
            rows += calls[-1].size
        self._queued_rows -= rows
        return calls

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if self._waiting and not self._leaving:
            self._consider()
