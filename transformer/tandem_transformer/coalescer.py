"""Coalescing: requests that arrive while a batch is on its way travel together in the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from tandem.errors import Overloaded

from tandem_transformer.batch import Call


class Coalescer:
    """Collects calls into batches.

    A batch leaves at the end of the event-loop turn in which its first call came, or ``max_wait`` later. At most
    ``max_batches`` are on their way; meanwhile further calls wait and make a larger batch, so that batches grow with
    the load by themselves.

    Args:
        run: Answers the calls of one batch; never raises.
        max_rows: Most rows of one batch, unless a single call has more; 0 to send every call alone.
        max_wait: Seconds for which a batch waits for more.
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
        self._max_wait = max_wait
        self._max_batches = max_batches
        self._max_queued_rows = max_queued_rows
        self._waiting: deque[Call] = deque()
        self._queued_rows = 0
        self._running: set[asyncio.Task[None]] = set()
        self._scheduled = False

    def submit(self, call: Call) -> None:
        """Put a call into a batch; its ``answer`` will be resolved.

        Raises:
            Overloaded: if too many rows are waiting.
        """
        if self._waiting and self._queued_rows + call.size > self._max_queued_rows:
            raise Overloaded(f"{self._queued_rows} rows are waiting already", retry_after=1)
        self._waiting.append(call)
        self._queued_rows += call.size
        if not self._scheduled and len(self._running) < self._max_batches:
            self._schedule()

    async def drain(self) -> None:
        """Wait until every call is answered."""
        while self._waiting or self._running:
            if self._running:
                await asyncio.wait(self._running)
            else:  # a batch is about to leave
                await asyncio.sleep(self._max_wait)

    def _schedule(self) -> None:
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._max_wait and self._queued_rows < self._max_rows:
            loop.call_later(self._max_wait, self._dispatch)
        else:
            loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._running) < self._max_batches:
            task = asyncio.get_running_loop().create_task(self._run(self._take()))
            self._running.add(task)
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
        self._running.discard(task)
        if self._waiting and not self._scheduled:
            self._schedule()
