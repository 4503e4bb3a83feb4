from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_transformer.drain import Drain, observe_drain

BATCHES = st.lists(st.tuples(st.integers(1, 256), st.floats(1e-4, 1)), min_size=1)


@given(BATCHES)
def test_the_time_of_a_row_lies_among_those_of_the_batches(batches: list[tuple[int, float]]) -> None:
    drain = Drain()
    assert drain.row_s == 0.0
    for rows, seconds in batches:
        drain = observe_drain(drain, rows, seconds)
    each = [seconds / rows for rows, seconds in batches]
    assert min(each) * 0.999 <= drain.row_s <= max(each) * 1.001


def test_it_follows_a_change_within_some_batches() -> None:
    drain = Drain()
    for _ in range(100):
        drain = observe_drain(drain, 100, 1.0)
    assert drain.row_s == pytest.approx(0.01)
    for _ in range(50):
        drain = observe_drain(drain, 100, 4.0)
    assert drain.row_s == pytest.approx(0.04, rel=0.01)
