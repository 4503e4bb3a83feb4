"""Properties of the queue, whatever waits in it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tandem_transformer.fair_queue import FairQueue

LARGEST = 8


@dataclass(eq=False)
class Item:
    size: int
    tenant: int
    number: int = 0


ITEMS = st.lists(st.builds(Item, st.integers(1, LARGEST), st.integers(0, 3)), max_size=60)
STEPS = st.lists(
    st.one_of(
        st.builds(Item, st.integers(1, LARGEST), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(0, 20)),
        st.tuples(st.just("drop"), st.integers(1, 20)),
        st.tuples(st.just("make_room"), st.integers(1, LARGEST)),
    ),
    max_size=80,
)


def rows_of(items: list[Item]) -> int:
    return sum(item.size for item in items)


@given(STEPS)
def test_everything_leaves_once_and_each_tenants_items_in_their_order(steps: list[Item | tuple[str, int]]) -> None:
    queue: FairQueue[Item] = FairQueue()
    waiting: list[Item] = []
    for number, step in enumerate(steps):
        if isinstance(step, Item):
            item = Item(step.size, step.tenant, number)
            queue.push(item)
            waiting.append(item)
            continue
        kind, rows = step
        if kind == "take":
            batch = queue.take(rows, at_least_one=True)
            assert batch or not waiting
            assert rows_of(batch) <= rows or len(batch) == 1
            for tenant in {item.tenant for item in batch}:
                own = [item.number for item in batch if item.tenant == tenant]
                assert own == [item.number for item in waiting if item.tenant == tenant][: len(own)]
        elif kind == "drop":
            batch = queue.drop(rows)
            assert rows_of(batch) >= min(rows, rows_of(waiting))
        else:
            batch = queue.make_room(Item(rows, 9))
            assert not batch or rows_of(batch) >= rows
        waiting = [item for item in waiting if item not in batch]
        assert queue.rows == rows_of(waiting)
        assert set(queue) == set(waiting)


@given(ITEMS, st.integers(1, 20))
def test_tenants_that_wait_get_equal_rows(items: list[Item], rows: int) -> None:
    queue: FairQueue[Item] = FairQueue()
    left_of: dict[int, int] = defaultdict(int)
    for item in items:
        queue.push(item)
        left_of[item.tenant] += item.size
    served: dict[int, int] = dict.fromkeys(left_of, 0)
    while queue.rows:
        for item in queue.take(rows, at_least_one=True):
            served[item.tenant] += item.size
            left_of[item.tenant] -= item.size
            waiting = [tenant for tenant in served if left_of[tenant]]
            if waiting:
                fewest = min(served[tenant] for tenant in waiting)
                # nobody gets more than an item beyond those that wait
                assert max(served.values()) - fewest <= LARGEST or served[item.tenant] - fewest <= LARGEST


@given(st.integers(1, 300), st.integers(1, LARGEST), st.integers(0, 200))
def test_a_newcomer_does_not_wait_behind_a_burst(burst: int, size: int, rows: int) -> None:
    queue: FairQueue[Item] = FairQueue()
    for _ in range(burst):
        queue.push(Item(1, 0))
    queue.take(rows, at_least_one=False)
    newcomer = Item(size, 1)
    ahead = queue.rows_ahead(newcomer)
    assert ahead <= size
    queue.push(newcomer)
    order = [item for _ in range(burst + 1) for item in queue.take(1, at_least_one=True)]
    assert order.index(newcomer) <= max(ahead, 1)


@given(st.integers(1, 200))
def test_who_was_away_has_no_claim_to_what_others_had_meanwhile(alone: int) -> None:
    queue: FairQueue[Item] = FairQueue()
    for _ in range(alone + 100):
        queue.push(Item(1, 0))
    queue.take(alone, at_least_one=False)
    for _ in range(100):
        queue.push(Item(1, 1))
    first = [item.tenant for item in queue.take(100, at_least_one=False)]
    assert abs(first.count(0) - first.count(1)) <= 1


@given(ITEMS, st.builds(Item, st.integers(1, LARGEST), st.integers(0, 4)))
def test_room_is_made_at_the_expense_of_whoever_has_most_and_only_down_to_an_equal_share(
    items: list[Item], item: Item
) -> None:
    queue: FairQueue[Item] = FairQueue()
    for entry in items:
        queue.push(entry)
    rows = {tenant: rows_of([entry for entry in items if entry.tenant == tenant]) for tenant in range(5)}
    removed = queue.make_room(item)
    if removed:
        (heaviest,) = {entry.tenant for entry in removed}
        assert rows[heaviest] == max(rows.values())
        assert heaviest != item.tenant
        assert rows_of(removed) >= item.size
        assert rows[heaviest] - item.size >= rows[item.tenant] + item.size
        # the newest: what has waited for longest stays
        own = [entry for entry in items if entry.tenant == heaviest]
        assert own[-len(removed) :] == removed[::-1]
    else:
        row_counts = [rows[tenant] for tenant in range(5) if tenant != item.tenant]
        assert max(row_counts) - item.size < rows[item.tenant] + item.size or rows[item.tenant] == max(rows.values())


def test_a_tenant_alone_is_first_in_first_out() -> None:
    queue: FairQueue[Item] = FairQueue()
    items = [Item(size, 7, size) for size in (3, 1, 2, 5)]
    for item in items:
        queue.push(item)
    assert queue.rows_ahead(Item(1, 7)) == 11
    assert queue.take(4, at_least_one=False) == items[:2]
    assert queue.take(1, at_least_one=False) == []
    assert queue.take(1, at_least_one=True) == items[2:3]
    assert queue.take(9, at_least_one=True) == items[3:]
    assert queue.take(9, at_least_one=True) == []
