"""Which calls travel together, and when. ``run`` is a fake whose batches come back when a test says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from tandem.errors import Overloaded
from tandem_transformer.admission import Admission
from tandem_transformer.batch import Call
from tandem_transformer.coalescer import FEW, Coalescer


@dataclass
class Run:
    """Keeps each batch on its way until :meth:`back`."""

    batches: list[list[Call]] = field(default_factory=list)
    _gates: list[asyncio.Event] = field(default_factory=list)
    _left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, calls: list[Call]) -> None:
        self.batches.append(calls)
        self._left.set()
        gate = asyncio.Event()
        self._gates.append(gate)
        await gate.wait()
        for call in calls:
            call.answer.set_result(None)  # type: ignore[arg-type]

    @property
    def sizes(self) -> list[list[int]]:
        return [[call.size for call in batch] for batch in self.batches]

    async def left(self, batches: int) -> None:
        """Wait until that many batches have left."""
        while len(self.batches) < batches:
            self._left.clear()
            await self._left.wait()

    async def back(self, batch: int) -> None:
        self._gates[batch].set()
        await asyncio.wait([call.answer for call in self.batches[batch]])
        await turn()


def call(size: int = 1, **about: Any) -> Call:
    loop = asyncio.get_running_loop()
    return Call(size, loop.time() + 60, loop.create_future(), arrived=loop.time(), **about)


async def turn() -> None:
    """Let the event loop do all that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


def coalescer(run: Run, *, max_queued_rows: int = 100, **settings: Any) -> Coalescer:
    defaults = {"max_rows": 10, "max_wait": 3600.0, "max_batches": 2, "admission": Admission(max_queued_rows)}
    return Coalescer(run, **(defaults | settings))


async def test_calls_of_one_turn_travel_together_and_in_order() -> None:
    run = Run()
    queue = coalescer(run)
    calls = [call() for _ in range(4)]
    for entry in calls:
        queue.submit(entry)
    assert run.batches == []
    await turn()
    assert run.batches == [calls]
    await run.back(0)


async def test_a_lone_call_never_waits() -> None:
    run = Run()
    queue = coalescer(run)  # an hour is how long it would have to wait
    for _ in range(3):
        queue.submit(call())
        await turn()
        await run.back(len(run.batches) - 1)
    assert run.sizes == [[1], [1], [1]]


async def test_while_there_are_few_calls_none_waits_for_the_batch_that_is_on_its_way() -> None:
    run = Run()
    queue = coalescer(run)
    for size in (1, 2):
        queue.submit(call(size))
        await turn()
    assert run.sizes == [[1], [2]]
    await run.back(0)
    await run.back(1)


async def burst(queue: Coalescer, run: Run) -> None:
    """Let many calls travel together, so that as many are expected from then on."""
    for _ in range(2 * FEW):
        queue.submit(call())
    await turn()
    await run.back(len(run.batches) - 1)


async def test_calls_that_came_together_are_expected_together_again() -> None:
    run = Run()
    queue = coalescer(run)  # an hour is how long they would wait for each other
    await burst(queue, run)
    for _ in range(2 * FEW - 1):
        queue.submit(call())
        await turn()
    assert len(run.batches) == 1
    queue.submit(call())
    await turn()
    assert run.sizes == [[1] * 2 * FEW] * 2
    await run.back(1)


async def test_calls_leave_after_the_longest_wait_although_others_are_expected() -> None:
    run = Run()
    queue = coalescer(run, max_wait=0.001)
    await burst(queue, run)
    late = call(2)
    queue.submit(late)
    await run.left(2)
    assert run.sizes[1] == [2]
    await run.back(1)
    assert late.answer.done()


async def test_when_calls_become_few_again_none_waits() -> None:
    run = Run()
    queue = coalescer(run, max_wait=0.001)
    await burst(queue, run)
    queue.submit(call())
    await run.left(2)
    await run.back(1)
    queue._max_wait = 3600.0
    queue.submit(call())
    await turn()
    assert len(run.batches) == 3
    await run.back(2)


async def test_no_more_batches_than_allowed_are_on_their_way() -> None:
    run = Run()
    queue = coalescer(run, max_wait=0.0)
    for size in (1, 2, 3, 4):
        queue.submit(call(size))
        await turn()
    assert run.sizes == [[1], [2]]
    await run.back(1)
    assert run.sizes == [[1], [2], [3, 4]]
    await run.back(0)
    await run.back(2)


async def test_a_batch_has_no_more_rows_than_allowed() -> None:
    run = Run()
    queue = coalescer(run, max_wait=0.0)
    for size in (4, 6, 1, 9, 5):
        queue.submit(call(size))
    await turn()
    assert run.sizes == [[4, 6], [1, 9]]
    await run.back(0)
    assert run.sizes == [[4, 6], [1, 9], [5]]
    await run.back(1)
    await run.back(2)


async def test_a_call_that_is_larger_than_a_batch_travels_alone() -> None:
    run = Run()
    queue = coalescer(run, max_batches=3)
    for size in (2, 50, 3):
        queue.submit(call(size))
    await turn()
    assert run.sizes == [[2], [50], [3]]
    for batch in range(3):
        await run.back(batch)


async def test_without_coalescing_every_call_leaves_alone() -> None:
    run = Run()
    queue = coalescer(run, max_rows=0, max_batches=3)
    for _ in range(3):
        queue.submit(call())
    await turn()
    assert run.sizes == [[1], [1], [1]]
    for batch in range(3):
        await run.back(batch)


async def test_overload() -> None:
    run = Run()
    queue = coalescer(run, max_batches=1, max_queued_rows=5)
    queue.submit(call(1))
    await turn()
    queue.submit(call(3))
    queue.submit(call(2))
    with pytest.raises(Overloaded, match="5 rows are waiting already") as refused:
        queue.submit(call(1))
    assert (refused.value.status, refused.value.code, refused.value.retry_after) == (429, "overloaded", 1)
    await run.back(0)
    queue.submit(call(5))  # as soon as the queue is empty again
    await run.back(1)
    await run.back(2)
    assert run.sizes == [[1], [3, 2], [5]]


async def test_a_tenant_with_more_calls_gives_way_and_all_take_turns() -> None:
    run = Run()
    queue = coalescer(run, max_wait=0.0, max_batches=1, max_rows=3, max_queued_rows=6)
    queue.submit(call())
    await turn()
    burst = [call() for _ in range(6)]
    for entry in burst:
        queue.submit(entry)
    later_calls = [call(tenant=1), call(tenant=2)]
    for entry in later_calls:
        queue.submit(entry)
    with pytest.raises(Overloaded, match="5 rows are waiting already"):
        await burst[5].answer
    assert isinstance(burst[4].answer.exception(), Overloaded)
    await run.back(0)
    assert run.batches[1] == [*later_calls, burst[0]]
    await run.back(1)
    assert run.batches[2] == burst[1:4]
    await run.back(2)


async def test_calls_that_nobody_waits_for_any_more_do_not_leave() -> None:
    run = Run()
    queue = coalescer(run, max_batches=1)
    queue.submit(call())
    await turn()
    gone, stays = call(), call()
    for entry in (gone, stays):
        queue.submit(entry)
    gone.answer.cancel()
    await run.back(0)
    assert run.batches[1] == [stays]
    lonely = call()
    queue.submit(lonely)
    lonely.answer.cancel()
    await run.back(1)
    assert len(run.batches) == 2
    await queue.drain()


async def test_a_call_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    run = Run()
    queue = coalescer(run, max_queued_rows=5)
    queue.submit(call(50))
    await turn()
    assert run.sizes == [[50]]
    await run.back(0)


async def test_drain_waits_for_what_is_on_its_way_and_what_waits() -> None:
    run = Run()
    queue = coalescer(run, max_batches=1)
    calls = [call() for _ in range(3)]
    queue.submit(calls[0])
    await turn()
    queue.submit(calls[1])
    draining = asyncio.create_task(queue.drain())
    await run.back(0)
    queue.submit(calls[2])
    assert not draining.done()
    for batch in (1, 2):
        await run.left(batch + 1)
        assert not draining.done()
        await run.back(batch)
    await draining
    assert all(entry.answer.done() for entry in calls)


async def test_draining_nothing_ends_at_once() -> None:
    await coalescer(Run()).drain()
