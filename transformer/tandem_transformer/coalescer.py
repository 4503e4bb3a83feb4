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

    With no batch on its way, calls leave together at the end of the event-loop turn in which the first of them came.
    Otherwise they wait for one to come back, but at most ``max_wait``: batches so grow with the load by themselves, a
    lone request never waits, and a slow predictor still gets several batches at once.

    Args:
        run: Answers the calls of one batch; never raises.
        max_rows: Most rows of one batch, unless a single call has more; 0 to send every call alone and at once.
        max_wait: Seconds for which calls wait while another batch is on its way.
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
        self._running: set[asyncio.Task[None]] = set()
        self._departure: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()

    def submit(self, call: Call) -> None:
        """Put a call into a batch; its ``answer`` will be resolved.

        Raises:
            Overloaded: if too many rows are waiting.
        """
        if self._waiting and self._queued_rows + call.size > self._max_queued_rows:
            raise Overloaded(f"{self._queued_rows} rows are waiting already", retry_after=1)
        self._waiting.append(call)
        self._queued_rows += call.size
        if self._departure is None and len(self._running) < self._max_batches:
            wait = self._max_wait if self._running else 0.0
            self._departure = (
                self._loop.call_later(wait, self._dispatch) if wait else self._loop.call_soon(self._dispatch)
            )

    async def drain(self) -> None:
        """Wait until every call is answered."""
        while self._waiting or self._running:
            if self._running:
                await asyncio.wait(self._running)
            else:  # a batch is about to leave
                await asyncio.sleep(0)

    def _dispatch(self) -> None:
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        while self._waiting and len(self._running) < self._max_batches:
            task = self._loop.create_task(self._run(self._take()))
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
        if self._waiting:
            self._dispatch()
