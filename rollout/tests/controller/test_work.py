"""What is looked at, and when."""

from __future__ import annotations

import asyncio

from tandem_rollout.controller.work import Work


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def taken(work: Work[str]) -> str | None:
    """The next key, None if nothing is due."""
    task = asyncio.create_task(work.take())
    for _ in range(5):
        await asyncio.sleep(0)
    if task.done():
        return task.result()
    task.cancel()
    return None


async def test_a_key_is_looked_at_once_however_often_it_is_added() -> None:
    work: Work[str] = Work(Clock())
    for _ in range(3):
        work.add("a")
    work.add("b")
    assert {await taken(work), await taken(work)} == {"a", "b"}
    assert await taken(work) is None


async def test_a_key_is_never_with_two_at_once_and_news_meanwhile_are_not_lost() -> None:
    work: Work[str] = Work(Clock())
    work.add("a")
    assert await taken(work) == "a"
    work.add("a")
    assert await taken(work) is None
    work.done("a")
    assert await taken(work) == "a"
    work.done("a")
    assert await taken(work) is None


async def test_a_key_for_later_waits_until_then() -> None:
    clock = Clock()
    work: Work[str] = Work(clock)
    work.add("a", 10)
    assert await taken(work) is None
    clock.now = 10
    assert await taken(work) == "a"


async def test_the_earliest_wins() -> None:
    clock = Clock()
    work: Work[str] = Work(clock)
    work.add("a", 10)
    work.add("a", 600)
    work.add("b", 5)
    clock.now = 10
    assert [await taken(work), await taken(work)] == ["b", "a"]
    work.add("c", 600)
    work.add("c")
    assert await taken(work) == "c"


async def test_later_is_kept_while_a_key_is_being_looked_at() -> None:
    clock = Clock()
    work: Work[str] = Work(clock)
    work.add("a")
    assert await taken(work) == "a"
    work.add("a", 600)
    work.done("a")
    assert await taken(work) is None
    clock.now = 600
    assert await taken(work) == "a"


async def test_one_who_waits_is_woken_by_news() -> None:
    work: Work[str] = Work(Clock())
    work.add("z", 1000)
    waiting = [asyncio.create_task(work.take()) for _ in range(2)]
    await asyncio.sleep(0)
    work.add("a")
    work.add("b")
    assert {await each for each in waiting} == {"a", "b"}


async def test_what_is_dropped_does_not_come_back() -> None:
    work: Work[str] = Work(Clock())
    work.add("a")
    assert await taken(work) == "a"
    work.add("a")
    work.add("a", 0.001)
    work.drop("a")
    work.done("a")
    assert await taken(work) is None
