from __future__ import annotations

import asyncio

import pytest

from tandem_transformer.background import Background, first_success


async def work(gate: asyncio.Event, error: Exception | None = None) -> int:
    await gate.wait()
    if error is not None:
        raise error
    return 7


async def test_what_is_there_in_time_is_returned_and_what_is_raised_is_raised() -> None:
    gate, background = asyncio.Event(), Background(1)
    gate.set()
    assert await background.wait_for(work(gate), 60) == 7
    with pytest.raises(ValueError, match="no"):
        await background.wait_for(work(gate, ValueError("no")), 60)
    assert not background.is_full


@pytest.mark.parametrize("error", [None, ValueError("nobody is told")])
async def test_what_is_late_goes_on_and_counts_until_its_end(error: Exception | None) -> None:
    gate, background = asyncio.Event(), Background(2)
    with pytest.raises(TimeoutError):
        await background.wait_for(work(gate, error), 0)
    assert not background.is_full
    with pytest.raises(TimeoutError):
        await background.wait_for(work(gate), 0)
    assert background.is_full
    closing = asyncio.create_task(background.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.set()
    await closing
    assert not background.is_full


async def test_who_is_cancelled_leaves_the_work_to_go_on() -> None:
    gate, background = asyncio.Event(), Background(1)
    waiting = asyncio.create_task(background.wait_for(work(gate), 60))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert background.is_full
    gate.set()
    await background.close()


async def test_the_first_success_of_several_calls() -> None:
    slow, fast = asyncio.Event(), asyncio.Event()
    background = Background(9)
    fast.set()
    calls = [background.start(work(slow)), background.start(work(fast, ValueError("no"))), background.start(work(fast))]
    assert await first_success(*calls) == 7
    with pytest.raises(ValueError, match="no"):
        await first_success(background.start(work(fast, ValueError("no"))))
    slow.set()
    await background.close()
