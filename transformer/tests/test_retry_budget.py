from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem_transformer.predictors.retry_budget import RATIO, RESERVE, RetryBudget


@given(st.lists(st.booleans(), max_size=500))
def test_second_calls_never_exceed_their_part_of_the_first_ones_and_the_reserve(seconds: list[bool]) -> None:
    """At every moment, and since every moment: a full bucket holds no more than the reserve."""
    budget = RetryBudget()
    balance = highest = 0.0
    for retry in seconds:
        budget.deposit()
        balance -= RATIO
        highest = min(highest, balance)
        if retry and budget.withdraw():
            balance += 1
        assert balance - highest <= RESERVE + 1e-6


@given(st.integers(1, 300))
def test_what_the_budget_has_is_given(firsts: int) -> None:
    budget = RetryBudget()
    while budget.withdraw():
        pass
    for _ in range(firsts):
        budget.deposit()
    granted = 0
    while budget.withdraw():
        granted += 1
    assert granted == min(firsts // 10, RESERVE)
