"""What is looked at, and when."""

from __future__ import annotations

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from tandem_rollout.controller.work_queue import WorkQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def taken(work: WorkQueue[str]) -> str | None:
    """The next key, None if nothing is due."""
    task = asyncio.create_task(work.take())
    for _ in range(5):
        await asyncio.sleep(0)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def test_a_key_is_looked_at_once_however_often_it_is_added() -> None:
    work: WorkQueue[str] = WorkQueue(Clock())
    for _ in range(3):
        work.add("a")
    work.add("b")
    assert {await taken(work), await taken(work)} == {"a", "b"}
    assert await taken(work) is None


async def test_a_key_is_never_with_two_at_once_and_news_meanwhile_are_not_lost() -> None:
    work: WorkQueue[str] = WorkQueue(Clock())
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
    work: WorkQueue[str] = WorkQueue(clock)
    work.add("a", 10)
    assert await taken(work) is None
    clock.now = 10
    assert await taken(work) == "a"


async def test_the_earliest_wins() -> None:
    clock = Clock()
    work: WorkQueue[str] = WorkQueue(clock)
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
    work: WorkQueue[str] = WorkQueue(clock)
    work.add("a")
    assert await taken(work) == "a"
    work.add("a", 600)
    work.done("a")
    assert await taken(work) is None
    clock.now = 600
    assert await taken(work) == "a"


async def test_one_who_waits_is_woken_by_news() -> None:
    work: WorkQueue[str] = WorkQueue(Clock())
    work.add("z", 1000)
    waiting = [asyncio.create_task(work.take()) for _ in range(2)]
    await asyncio.sleep(0)
    work.add("a")
    work.add("b")
    assert {await task for task in waiting} == {"a", "b"}


async def test_what_is_dropped_does_not_come_back() -> None:
    work: WorkQueue[str] = WorkQueue(Clock())
    work.add("a")
    assert await taken(work) == "a"
    work.add("a")
    work.add("a", 0.001)
    work.drop("a")
    work.done("a")
    assert await taken(work) is None


async def test_what_comes_while_a_key_is_looked_at_is_due_in_its_order_afterwards() -> None:
    clock = Clock()
    work: WorkQueue[str] = WorkQueue(clock)
    work.add("a")
    assert await taken(work) == "a"
    work.add("a", 5)
    work.add("b", 3)
    clock.now = 10
    assert await taken(work) == "b"
    assert await taken(work) is None
    work.done("a")
    assert await taken(work) == "a"


async def test_a_group_gets_its_share_and_no_more() -> None:
    work: WorkQueue[str] = WorkQueue(Clock(), group=lambda key: key[0], share=2)
    for key in ("a1", "a2", "a3", "a4", "b1"):
        work.add(key)
    assert [await taken(work) for _ in range(4)] == ["a1", "a2", "b1", None]
    work.done("a2")
    assert [await taken(work), await taken(work)] == ["a3", None]
    work.done("a1")
    work.done("a3")
    assert [await taken(work), await taken(work)] == ["a4", None]


async def test_a_group_that_has_waited_queues_up_behind_the_others() -> None:
    clock = Clock()
    work: WorkQueue[str] = WorkQueue(clock, group=lambda key: key[0], share=1)
    for key in ("a1", "a2", "a3"):
        work.add(key)
    assert [await taken(work), await taken(work)] == ["a1", None]
    clock.now = 1.0
    work.add("b1")
    clock.now = 2.0
    work.done("a1")
    assert [await taken(work), await taken(work)] == ["b1", "a2"]


async def test_what_is_dropped_while_its_group_waits_gives_its_place_to_the_next() -> None:
    work: WorkQueue[str] = WorkQueue(Clock(), group=lambda key: key[0], share=1)
    for key in ("a1", "a2", "a3"):
        work.add(key)
    assert [await taken(work), await taken(work)] == ["a1", None]
    work.drop("a2")
    work.done("a1")
    assert await taken(work) == "a3"


class Plainly:
    """The same, as simple as it can be."""

    def __init__(self) -> None:
        self.due: dict[str, float] = {}
        self.busy: set[str] = set()
        self.again: set[str] = set()

    def add(self, key: str, now: float, after: float) -> None:
        if key in self.busy and not after:
            self.again.add(key)
        else:
            self.due[key] = min(self.due.get(key, float("inf")), now + after)

    def take(self, now: float) -> set[str]:
        """The keys of which any may come next."""
        ready = {key: due for key, due in self.due.items() if due <= now and key not in self.busy}
        return {key for key, due in ready.items() if due == min(ready.values())}

    def done(self, key: str, now: float) -> None:
        self.busy.discard(key)
        if key in self.again:
            self.again.discard(key)
            self.add(key, now, 0.0)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcdef"), st.sampled_from([0.0, 1.0, 2.0, 600.0])),
        st.tuples(st.just("drop"), st.sampled_from("abcdef"), st.just(0.0)),
        st.tuples(st.just("take"), st.just(""), st.just(0.0)),
        st.tuples(st.just("done"), st.sampled_from("abcdef"), st.just(0.0)),
        st.tuples(st.just("pass"), st.just(""), st.sampled_from([0.5, 1.0, 700.0])),
    ),
    max_size=200,
)


@given(_STEPS)
def test_it_is_what_a_list_of_all_keys_would_be(steps: list[tuple[str, str, float]]) -> None:
    async def run() -> None:
        clock, plainly = Clock(), Plainly()
        work: WorkQueue[str] = WorkQueue(clock)
        for action, key, seconds in steps:
            if action == "add":
                work.add(key, seconds)
                plainly.add(key, clock.now, seconds)
            elif action == "drop":
                work.drop(key)
                plainly.due.pop(key, None)
                plainly.again.discard(key)
            elif action == "pass":
                clock.now += seconds
            elif action == "done" and key in plainly.busy:
                work.done(key)
                plainly.done(key, clock.now)
            elif action == "take":
                possible, pick = plainly.take(clock.now), await taken(work)
                assert (pick in possible) if possible else pick is None
                if pick is not None:
                    plainly.due.pop(pick)
                    plainly.busy.add(pick)

    asyncio.run(run())


ASKED_FOR_TWICE = [("add", "a", 0.0), ("take", "", 0.0), ("add", "a", 0.0), ("add", "a", 1.0), ("pass", "", 1.0)]
"""A key that somebody is busy with is specified at once, and later, and it is given back after both."""


@given(_STEPS)
@example(ASKED_FOR_TWICE)
def test_no_group_has_more_than_its_share_and_none_starves(steps: list[tuple[str, str, float]]) -> None:
    async def run() -> None:
        clock = Clock()
        work: WorkQueue[str] = WorkQueue(clock, group=lambda key: key > "c", share=2)
        busy: list[str] = []
        for action, key, seconds in steps:
            if action == "add":
                work.add(key, seconds)
            elif action == "drop":
                work.drop(key)
            elif action == "pass":
                clock.now += seconds
            elif action == "done" and key in busy:
                busy.remove(key)
                work.done(key)
            elif action == "take" and (key := await taken(work) or ""):
                assert key not in busy
                busy.append(key)
            assert all(sum((busy_key > "c") == group for busy_key in busy) <= 2 for group in (True, False))
        # whatever was asked for last is still looked at
        for key in busy:
            work.done(key)
        for key in "abcdef":
            work.add(key)
        clock.now += 1000.0
        backlog = set("abcdef")
        while backlog:
            key = await taken(work) or ""
            backlog.discard(key)
            assert key, f"never: {backlog}"
            work.done(key)

    asyncio.run(run())
