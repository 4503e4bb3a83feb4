"""What becomes of lookups when the store answers none of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tandem import Bundle
from tandem_transformer.breaker import FAILURES
from tandem_transformer.stalls import Stalls

from . import world
from .parts import make_service
from .test_deadlines import Stalled
from .test_service import ask
from .world import good_row

MOMENT_S = 0.02
"""Short enough to wait for, as part of a time limit that no test reaches."""


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def wait(stalls: Stalls, answered: asyncio.Event | None = None) -> None:
    """A lookup that fails with TimeoutError if it is ended before it is answered."""
    limit = asyncio.timeout(60)
    stalls.began(limit, asyncio.get_running_loop().time())
    try:
        async with limit:
            await (never() if answered is None else answered.wait())
    finally:
        stalls.ended(limit, answered=answered is not None and answered.is_set())


@pytest.fixture
async def stalls() -> AsyncIterator[Stalls]:
    yield Stalls(4 * MOMENT_S)


async def test_lookups_that_are_not_answered_end_together(stalls: Stalls) -> None:
    results = await asyncio.gather(*(wait(stalls) for _ in range(FAILURES)), return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError] * FAILURES


async def test_fewer_lookups_than_open_the_circuit_wait(stalls: Stalls) -> None:
    answered = asyncio.Event()
    few = [asyncio.create_task(wait(stalls, answered)) for _ in range(FAILURES - 1)]
    await asyncio.wait(few, timeout=4 * MOMENT_S)
    answered.set()
    await asyncio.gather(*few)


async def test_lookups_wait_while_others_are_answered(stalls: Stalls) -> None:
    answered = asyncio.Event()
    waiting = [asyncio.create_task(wait(stalls, answered)) for _ in range(2 * FAILURES)]
    at_once = asyncio.Event()
    at_once.set()
    loop = asyncio.get_running_loop()
    until = loop.time() + 4 * MOMENT_S
    while loop.time() < until:
        await wait(stalls, at_once)
        await asyncio.sleep(0)
    answered.set()
    await asyncio.gather(*waiting)


async def test_a_lookup_that_was_cancelled_is_forgotten(stalls: Stalls) -> None:
    waiting = [asyncio.create_task(wait(stalls)) for _ in range(FAILURES)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * FAILURES
    # nothing is left that could count against these
    answered = asyncio.Event()
    few = [asyncio.create_task(wait(stalls, answered)) for _ in range(FAILURES - 1)]
    await asyncio.wait(few, timeout=4 * MOMENT_S)
    answered.set()
    await asyncio.gather(*few)


async def test_requests_that_can_be_answered_do_not_wait_for_a_store_that_has_stalled(nested_bundle: Bundle) -> None:
    store = Stalled()
    await store.put(world.stored())
    service = make_service(
        nested_bundle, store=store, store_timeout_ms=30_000, request_timeout_ms=60_000, max_batch_rows=0
    )
    service.backends._lookups._stalls = Stalls(4 * MOMENT_S)
    await ask(service, good_row())
    store.go_on.clear()
    answers = await asyncio.gather(*(ask(service, good_row()) for _ in range(2 * FAILURES)))
    assert {why.source for answer in answers for why in answer.degraded[0].values()} == {"last_known"}
    store.go_on.set()
    await service.close()
