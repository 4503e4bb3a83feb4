"""Work that nobody waits for any more, and that goes on nevertheless.

Who gives up a lookup or a call of the predictor half-way has to close the connection, and learns nothing about the
backend. So the work goes on within its own time limit, and only the waiting ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Background:
    """Runs work beside those that wait for it.

    Args:
        most: Works at once; see :attr:`is_full`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_full(self) -> bool:
        """Whether no more should be started: what is under way does not come to an end."""
        return len(self._tasks) >= self._most

    def start(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Begin some work; it goes on whoever waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    async def wait_for(self, work: Coroutine[Any, Any, _Result], seconds: float) -> _Result:
        """The result of some work, if it is there in time.

        Args:
            work: Ends by itself within some time.
            seconds: How long to wait for it.

        Raises:
            TimeoutError: if it is not; the work goes on.
            Exception: what the work raises.
        """
        task = self.start(work)
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()

    async def close(self) -> None:
        """Wait for the end of what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen by those that wait, if any still do


async def first_success(*calls: asyncio.Task[_Result]) -> _Result:
    """The result of the first call that succeeds; the others go on.

    Raises:
        Exception: of a call that failed last, if all fail.
    """
    pending = set(calls)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        succeeded = [call for call in done if call.exception() is None]
        if succeeded or not pending:
            return (succeeded or list(done))[0].result()
