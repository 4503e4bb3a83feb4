"""Where calls come in: each gets its deadline and its place, waits or is refused, and ends when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tandem.errors import Overloaded
from tandem_transformer.admission import Admission
from tandem_transformer.batch import Call
from tandem_transformer.call_queue import LOW, lane_of
from tandem_transformer.call_results import expire
from tandem_transformer.coalescer import Coalescer
from tandem_transformer.config import TransformerConfig
from tandem_transformer.metrics import Recorder

EXPIRY_S = 0.02
"""A call is ended at most so much after its deadline."""


class Intake:
    """Takes calls.

    Args:
        answer: Answers the calls of one batch; never raises.
        config: Time limits and bounds of batches.
        recorder: Counts what is refused.

    Attributes:
        request_timeout: Seconds that a request has, unless its client gives it less.
    """

    def __init__(
        self,
        answer: Callable[[list[Call]], Coroutine[Any, Any, None]],
        config: TransformerConfig,
        recorder: Recorder,
    ) -> None:
        self.request_timeout = config.request_timeout_ms / 1000
        self._workers = config.workers
        self._is_fair = bool(config.fairness_header)
        self._recorder = recorder
        self._loop = asyncio.get_running_loop()
        self._expiry: asyncio.TimerHandle | None = None
        admission = _admission_of(config)
        self._coalescer = Coalescer(
            answer,
            max_rows=config.max_batch_rows,
            max_wait=config.max_batch_wait_ms / 1000,
            max_batches=config.max_batches,
            admission=admission,
        )
        recorder.load.watch(admission, self._coalescer)

    def call(
        self,
        size: int,
        timeout: float | None,
        arrived: float | None = None,
        *,
        priority: bytes | None = None,
        tenant: bytes | None = None,
    ) -> Call:
        """A call with its deadline.

        Args:
            size: Number of its rows.
            timeout: Seconds that the client gives it; None for what the configuration gives.
            arrived: When the request was there, on the clock of deadlines; now if None.
            priority: :data:`LOW` for a call that others go before.
            tenant: Whose call it is, where tenants take turns.
        """
        own = timeout is not None and timeout < self.request_timeout
        seconds = timeout if own and timeout is not None else self.request_timeout
        arrived = self._loop.time() if arrived is None else arrived
        call = Call(size, arrived + seconds, self._loop.create_future(), arrived=arrived)
        if priority is not None:
            call.is_low = priority == LOW
        if tenant is not None:
            call.tenant = lane_of(tenant)
        if own:
            # a timer of its own only where a client asks for less time; the others share one
            timer = self._loop.call_at(call.deadline, expire, call)
            call.answer.add_done_callback(lambda _: timer.cancel())
        return call

    def check_room(self) -> None:
        """Refuse a request before it is read, where that is certain already.

        Raises:
            Overloaded: if too many requests are in flight, or too many rows are waiting.
        """
        # the request that asks is among them already
        if self._workers and self._recorder.inflight > self._workers:
            raise Overloaded(f"{self._workers} requests are in flight already", retry_after=1)
        # whose turn a request takes is known only from its tenant
        if not self._is_fair:
            self._coalescer.check_room()

    def submit(self, call: Call) -> None:
        """Put a call on its way, coalesced with others; its ``answer`` will be resolved.

        Raises:
            Overloaded: if too much is waiting.
        """
        self._coalescer.submit(call)
        if self._expiry is None:
            self._expiry = self._loop.call_later(EXPIRY_S, self._expire_late)

    async def drain(self) -> None:
        """Wait until every call is answered."""
        await self._coalescer.drain()

    def _expire_late(self) -> None:
        """End the calls whose time is over, wherever they are; a timer for each of them would cost more."""
        calls = list(self._coalescer.calls())
        self._expiry = self._loop.call_later(EXPIRY_S, self._expire_late) if calls else None
        now = self._loop.time()
        for call in calls:
            if call.deadline <= now:
                expire(call)


def _admission_of(config: TransformerConfig) -> Admission:
    return Admission(
        config.max_queued_rows,
        max_batches=config.max_batches,
        max_batch_rows=config.max_batch_rows,
        target_s=min(config.latency_target_ms, config.request_timeout_ms / 2) / 1000,
    )
