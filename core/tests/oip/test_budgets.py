from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.oip.budgets import Allowance, Backlog, Overhead, headers_cost, shared_overhead


def test_an_allowance_is_earned_by_time_and_work_and_saved_up_to_its_capacity() -> None:
    now = 0.0
    allowance = Allowance(10, 2, lambda: now)
    allowance.earn(100)
    assert allowance.spend(10) == 0
    assert allowance.spend(1) == 1
    now = 1.0
    assert allowance.spend(3) == 1
    allowance.earn(5)
    assert allowance.spend(4) == 0
    assert Allowance(10, 2, lambda: now, first=3).spend(4) == 1


def test_what_an_allowance_owes_is_earned_in_turn() -> None:
    now = 0.0
    allowance = Allowance(10, 2, lambda: now)
    assert [allowance.owe(10), allowance.owe(4), allowance.owe(4)] == [0.0, 2.0, 4.0]
    now = 5.0
    assert allowance.owe(0) == 0.0
    assert [allowance.owe(1e9), allowance.owe(1e9)] == [40.0, 40.0]
    now = 45.0
    assert allowance.owe(0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=60))
def test_a_backlog_is_never_larger_than_its_limit(changes: list[tuple[int, int]]) -> None:
    backlog, sizes = Backlog(100), dict[int, int]()
    for holder, size in changes:
        if size:
            sizes[holder] = size
            backlog.hold(holder, size, lambda holder=holder: sizes.pop(holder))  # type: ignore[misc]
        else:
            sizes.pop(holder, None)
            backlog.release(holder)
        assert backlog.size == sum(sizes.values()) <= backlog.limit


def test_overhead_waits_for_nothing_until_both_its_own_and_the_shared_budget_are_used_up() -> None:
    now = 0.0
    shared = shared_overhead(lambda: now)
    first, second = Overhead(shared, lambda: now), Overhead(shared, lambda: now)
    assert first.charge(200 + 600) == 0
    assert first.charge(1) == 0.02
    assert [first.charge(90), first.charge(6000)] == [91 / 3000, 6091 / 3000]
    assert second.charge(200) == 0
    assert second.charge(1) == 1.0
    first.earn(50)
    assert first.charge(50) == 0


def test_long_headers_cost_by_their_length() -> None:
    assert [headers_cost(size) for size in (0, 512, 513, 1600)] == [0, 0, 64, 200]
