"""Dynamic batching: rows of concurrent requests run together.

One run at a time (or as many as there are instances) is under way; requests that arrive meanwhile queue up and make the
next batch. With a delay, a batch also waits for company while the session is idle.

A thread hop costs tens of microseconds, more than many a small model takes. So a model that the warm-up found fast
enough runs on the event loop itself, at once: nothing can arrive while it does, hence there is nothing to merge.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from tandem.errors import DeadlineExceeded, Overloaded
from tandem.oip.tensors import Array
from tandem_predictor.callers import DEADLINE, GONE, UNKNOWN, Caller, refusal_of
from tandem_predictor.session import Feeds

Run = Callable[[Feeds, Sequence[str]], list[Array]]
Outcome = list[Array] | Exception

_RETRY_AFTER_S: Final = 1.0


@dataclass(slots=True, eq=False)
class _Job:
    feeds: Feeds
    rows: int
    due: float
    result: asyncio.Future[list[Array]]
    caller: Caller


@dataclass(slots=True, eq=False)
class _Lane:
    """Jobs that fit into one batch: same outputs, same shapes but for the rows."""

    outputs: tuple[str, ...]
    jobs: deque[_Job] = field(default_factory=deque)
    rows: int = 0


class Batcher:
    """The queue in front of one session. Belongs to one event loop.

    Args:
        run: Runs the session; thread-safe.
        max_rows: Most rows in a batch; 1 runs each request alone. A request with more rows runs alone.
        max_delay: Seconds that a request waits for company while the session is idle.
        max_queue_rows: Most rows waiting.
        instances: Runs at the same time.
        timeout: Seconds that a request may wait for its result; 0 for no limit.
        inline: Run on the event loop, if ``max_delay`` is 0.
        observe: Called with the rows of each batch that is about to run.
        waited: Called with the seconds for which the requests of each batch have waited, together.
        dropped: Called with the reason for each request that is not run, since nobody waits for it any more.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_rows: int = 64,
        max_delay: float = 0.0,
        max_queue_rows: int = 4096,
        instances: int = 1,
        timeout: float = 0.0,
        inline: bool = False,
        observe: Callable[[int], object] = lambda rows: None,
        waited: Callable[[float], object] = lambda seconds: None,
        dropped: Callable[[str], object] = lambda reason: None,
    ) -> None:
        self._run = run
        self._max_rows = max_rows
        self._max_delay = max_delay
        self._max_queue_rows = max_queue_rows
        self._instances = instances
        self._timeout = timeout
        self._inline = inline and max_delay == 0
        self._observe = observe
        self._waited = waited
        self._dropped = dropped
        self._lanes: dict[Any, _Lane] = {}
        self._running = 0
        self._timer: asyncio.Handle | None = None
        self._pool = ThreadPoolExecutor(instances, thread_name_prefix="session")
        self.queued_rows = 0

    @property
    def inline(self) -> bool:
        """Whether requests run on the event loop."""
        return self._inline

    async def submit(self, feeds: Feeds, rows: int, outputs: tuple[str, ...], caller: Caller = UNKNOWN) -> list[Array]:
        """Outputs of one request.

        Args:
            feeds: Input arrays, always in the same order; where batches are made, ``rows`` along the first axis.
            rows: Rows of the request.
            outputs: Names of the outputs wanted.
            caller: Who waits for the result, and until when.

        Raises:
            Overloaded: The queue is full.
            DeadlineExceeded: No result within the timeout, or not run before the caller's deadline.
            RequestError: What the session raises.
        """
        self._check_waits(caller)
        # no task, future or timer: the model is faster than any of them
        if self._inline and rows <= self._max_rows:
            self._observe(rows)
            return self._run(feeds, outputs)
        return await self._enqueue(feeds, rows, outputs, caller)

    def _check_waits(self, caller: Caller) -> None:
        if caller is not UNKNOWN and (reason := caller.absence(asyncio.get_running_loop().time())):
            self._dropped(reason)
            raise refusal_of(reason)

    def _enqueue(
        self, feeds: Feeds, rows: int, outputs: tuple[str, ...], caller: Caller
    ) -> asyncio.Future[list[Array]]:
        # an empty queue takes a request of any size: otherwise a large one would never be answered
        if self.queued_rows and self.queued_rows + rows > self._max_queue_rows:
            raise Overloaded(f"{self.queued_rows} rows are waiting already", retry_after=_RETRY_AFTER_S)
        loop = asyncio.get_running_loop()
        job = _Job(feeds, rows, loop.time() + self._max_delay, loop.create_future(), caller)
        if self._timeout:
            expiry = loop.call_later(self._timeout, self._expire, job)
            job.result.add_done_callback(lambda _: expiry.cancel())
        # only requests of equal shapes and outputs can be concatenated
        key = (outputs, *(array.shape[1:] for array in feeds.values()))
        lane = self._lanes.setdefault(key, _Lane(outputs))
        lane.jobs.append(job)
        lane.rows += rows
        self.queued_rows += rows
        self._schedule(loop, at_once=lane.rows >= self._max_rows)
        return job.result

    def _expire(self, job: _Job) -> None:
        if not job.result.done():
            job.result.set_exception(DeadlineExceeded(f"no result within {self._timeout * 1e3:g} ms"))

    def _schedule(self, loop: asyncio.AbstractEventLoop, *, at_once: bool) -> None:
        """See to it that :meth:`_flush` is called when the next batch is due; the end of a run calls it too."""
        if self._running >= self._instances or not self._lanes:
            return
        if at_once and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            due = 0.0 if at_once else min(lane.jobs[0].due for lane in self._lanes.values())
            # call_soon: requests that are already in this turn of the loop still join
            self._timer = loop.call_at(due, self._flush) if due > loop.time() else loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Start a batch of every lane that is full or due, as long as an instance is free."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for key, lane in list(self._lanes.items()):
            if self._running >= self._instances:
                return
            if lane.rows >= self._max_rows or lane.jobs[0].due <= now:
                del self._lanes[key]
                jobs = self._take(lane, now)
                if lane.jobs:  # to the end: lanes take turns
                    self._lanes[key] = lane
                if jobs:
                    self._start(loop, jobs, lane.outputs)
        self._schedule(loop, at_once=False)

    def _take(self, lane: _Lane, now: float) -> list[_Job]:
        """Remove one batch from a lane, without jobs that nobody waits for any more."""
        jobs: list[_Job] = []
        rows = 0
        while lane.jobs and (not jobs or rows + lane.jobs[0].rows <= self._max_rows):
            job = lane.jobs.popleft()
            lane.rows -= job.rows
            self.queued_rows -= job.rows
            if reason := _absence(job, now):
                self._dropped(reason)
                if not job.result.done():
                    job.result.set_exception(refusal_of(reason))
            else:
                jobs.append(job)
                rows += job.rows
        return jobs

    def _start(self, loop: asyncio.AbstractEventLoop, jobs: list[_Job], outputs: tuple[str, ...]) -> None:
        self._observe(sum(job.rows for job in jobs))
        self._waited(max(0.0, sum(loop.time() - job.due + self._max_delay for job in jobs)))
        self._running += 1
        run = loop.run_in_executor(
            self._pool, run_together, self._run, [job.feeds for job in jobs], [job.rows for job in jobs], outputs
        )
        run.add_done_callback(lambda done: self._finish(jobs, done))

    def _finish(self, jobs: list[_Job], done: asyncio.Future[list[Outcome]]) -> None:
        self._running -= 1
        for job, outcome in zip(jobs, done.result(), strict=True):
            # its time may be over, or its client gone
            if job.result.done():
                continue
            if isinstance(outcome, Exception):
                job.result.set_exception(outcome)
            else:
                job.result.set_result(outcome)
        self._flush()


def run_together(run: Run, feeds: Sequence[Feeds], rows: Sequence[int], outputs: Sequence[str]) -> list[Outcome]:
    """Run the requests of a batch as one, and if that fails its halves, so that only the bad ones fail.

    One bad request among ``n`` costs ``2 log2(n)`` further runs; never are there more than ``2 n - 1``.

    Args:
        run: Runs the session.
        feeds: Inputs of each request.
        rows: Rows of each request.
        outputs: Names of the outputs.

    Returns:
        For each request its outputs, or the exception that it causes.
    """
    if len(feeds) == 1:
        return [_run_alone(run, feeds[0], outputs)]
    try:
        merged = {name: np.concatenate([own[name] for own in feeds]) for name in feeds[0]}
        return list(split(run(merged, outputs), rows))
    # also where the outputs have other rows than went in: alone, each request gets all that comes out
    except Exception:
        half = len(feeds) // 2
        return [
            *run_together(run, feeds[:half], rows[:half], outputs),
            *run_together(run, feeds[half:], rows[half:], outputs),
        ]


def split(results: Sequence[Array], rows: Sequence[int]) -> list[list[Array]]:
    """Outputs of a batch as outputs of its requests.

    Raises:
        ValueError: An output does not have one row for each row that went in.
    """
    if any(len(result) != sum(rows) for result in results):
        raise ValueError("the outputs have another number of rows than the inputs")
    ends = np.cumsum(rows).tolist()
    return [[result[end - count : end] for result in results] for end, count in zip(ends, rows, strict=True)]


def _absence(job: _Job, now: float) -> str:
    """Why nobody waits for a job any more; empty while somebody does."""
    reason = job.caller.absence(now)
    if reason or not job.result.done():
        return reason
    # a call over gRPC is cancelled by its client, one that has waited too long has an error
    return GONE if job.result.cancelled() else DEADLINE


def _run_alone(run: Run, feeds: Feeds, outputs: Sequence[str]) -> Outcome:
    try:
        return run(feeds, outputs)
    except Exception as error:
        return error
