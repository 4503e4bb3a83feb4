from __future__ import annotations

import asyncio

from tandem.oip.deadlines import Deadlines


async def test_each_call_is_ended_at_its_own_deadline_in_their_order() -> None:
    expired: asyncio.Queue[int] = asyncio.Queue()
    deadlines = Deadlines(expired.put_nowait)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, seconds in ((1, 0.03), (3, 3600.0), (5, 0.01), (7, 0.02)):
        deadlines.set(number, seconds)
    deadlines.drop(7)
    assert (deadlines.get(3) or 0.0) >= began + 3600.0
    assert [await expired.get(), await expired.get()] == [5, 1]
    assert loop.time() >= began + 0.03
    assert deadlines.get(1) is None
    assert deadlines.get(7) is None
    deadlines.clear()


async def test_a_call_that_an_expired_one_leads_to_has_its_deadline() -> None:
    expired: asyncio.Queue[int] = asyncio.Queue()

    def expire(number: int) -> None:
        expired.put_nowait(number)
        if number == 1:
            deadlines.set(3, 0.0)

    deadlines = Deadlines(expire)
    deadlines.set(1, 0.0)
    assert [await expired.get(), await expired.get()] == [1, 3]


async def test_nothing_is_left_after_the_last_call() -> None:
    deadlines = Deadlines(lambda number: None)
    deadlines.set(1, 3600.0)
    timer = deadlines._timer
    deadlines.clear()
    assert timer is not None
    assert timer.cancelled()
