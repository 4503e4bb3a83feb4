"""Coalescing: requests that arrive while a batch is on its way travel together in the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from itertools import chain
from typing import Any

from tandem_transformer.admission import Admission
from tandem_transformer.batch import Call
from tandem_transformer.call_queue import CallQueue
from tandem_transformer.call_results import fail

FEW = 4
"""With fewer calls than this at a time, coalescing them would cost more in waiting than it saves in work."""


_Running = tuple[list[Call], int, float, float]
"""A batch on its way: its calls, their rows, when the oldest one arrived, and when they left."""


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
        admission: Says which calls may wait.
    """

    def __init__(
        self,
        run: Callable[[list[Call]], Coroutine[Any, Any, None]],
        *,
        max_rows: int,
        max_wait: float,
        max_batches: int,
        admission: Admission,
    ) -> None:
        self._run = run
        self._max_rows = max_rows
        self._max_wait = max_wait if max_rows else 0.0
        self._max_batches = max_batches
        self._admission = admission
        self._waiting = CallQueue()
        self._running: dict[asyncio.Task[None], _Running] = {}
        self._running_calls = 0
        self._expected = 1
        self._leaving = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def check_room(self) -> None:
        """Refuse a call that has not been read yet, if all calls are of one tenant.

        Raises:
            Overloaded: if it could not wait, whatever it is.
        """
        if self._waiting.rows and self._admission.is_closed(self._waiting):
            raise self._admission.refusal(self._waiting)

    def submit(self, call: Call) -> None:
        """Put a call into a batch; its ``answer`` will be resolved.

        Raises:
            Overloaded: if it cannot wait, as :meth:`Admission.settle` says.
        """
        waiting, admission = self._waiting, self._admission
        # an empty queue takes a call of any size: otherwise a large one would never be answered
        if waiting.rows and admission.is_tight(call, waiting) and (removed := admission.settle(call, waiting)):
            fail(removed, admission.overloaded(waiting))
        waiting.push(call)
        # with too many on their way, the end of one of them lets the next leave
        if not self._leaving and len(self._running) < self._max_batches:
            self._consider()

    def calls(self) -> Iterator[Call]:
        """All that wait or are on their way."""
        return chain(self._waiting, *(batch[0] for batch in self._running.values()))

    @property
    def queued_rows(self) -> int:
        """Rows that wait."""
        return self._waiting.rows

    async def drain(self) -> None:
        """Wait until every call is answered."""
        while self._waiting.rows or self._running:
            if self._running:
                await asyncio.wait(self._running)
            else:  # a batch is about to leave
                await asyncio.sleep(self._max_wait)

    def _consider(self) -> None:
        """Let a batch leave now, or set the time at which it leaves."""
        if not self._max_wait or self._expected < FEW or self._waiting.calls >= self._expected:
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
        waiting, running = self._waiting, self._running
        self._expected = waiting.calls + self._running_calls
        while waiting.rows and len(running) < self._max_batches:
            before = waiting.rows
            # nobody waits any more for calls that have an answer: their time is over, or their client is gone
            calls = [call for call in waiting.take(self._max_rows) if not call.answer.done()]
            if calls:
                task = self._loop.create_task(self._run(calls))
                rows = before - waiting.rows
                running[task] = calls, rows, calls[0].arrived, self._loop.time()
                self._running_calls += len(calls)
                self._admission.left(rows)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        calls, rows, arrived, left = self._running.pop(task)
        self._running_calls -= len(calls)
        waiting, now, admission = self._waiting.rows, self._loop.time(), self._admission
        admission.pace.answered(rows, waiting, left, now)
        admission.answered(rows, waiting, now - arrived, now)
        if waiting and not self._leaving:
            self._consider()
