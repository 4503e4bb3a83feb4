from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_transformer.pace import Drain, Pace, observe_drain

BATCHES = st.lists(st.tuples(st.integers(1, 256), st.floats(1e-4, 1)), min_size=1)


@given(BATCHES)
def test_the_time_of_a_row_lies_among_those_of_the_batches(batches: list[tuple[int, float]]) -> None:
    drain = Drain()
    assert drain.row_s == 0.0
    for rows, seconds in batches:
        drain = observe_drain(drain, rows, seconds)
    row_times = [seconds / rows for rows, seconds in batches]
    assert min(row_times) * 0.999 <= drain.row_s <= max(row_times) * 1.001


def test_it_follows_a_change_within_some_batches() -> None:
    drain = Drain()
    for _ in range(100):
        drain = observe_drain(drain, 100, 1.0)
    assert drain.row_s == pytest.approx(0.01)
    for _ in range(50):
        drain = observe_drain(drain, 100, 4.0)
    assert drain.row_s == pytest.approx(0.04, rel=0.01)


def test_the_pace_of_batches_one_after_the_other() -> None:
    pace = Pace()
    assert (pace.batch_s, pace.row_s) == (0.0, 0.0)
    for batch in range(50):
        pace.answered(10, 10, batch / 10, (batch + 1) / 10)
    assert pace.batch_s == pytest.approx(0.1, rel=1e-3)
    assert pace.row_s == pytest.approx(0.01)


def test_batches_that_are_under_way_together_leave_more_rows_in_less_time() -> None:
    pace = Pace()
    for batch in range(100):
        pace.answered(10, 10, batch / 10, batch / 10 + 0.4)
    assert pace.batch_s == pytest.approx(0.4, rel=1e-2)
    assert pace.row_s == pytest.approx(0.01, rel=1e-2)


def test_without_rows_that_wait_nothing_shows_how_fast_they_leave() -> None:
    pace = Pace()
    pace.answered(10, 0, 0.0, 1.0)
    assert (pace.batch_s, pace.row_s) == (3.0, 0.0)


def test_a_stall_counts_once_and_says_little_about_rows_that_wait() -> None:
    pace, once = Pace(), Pace()
    for batch in range(50):
        for estimator in (pace, once):
            estimator.answered(10, 10, batch / 100, (batch + 1) / 100)
    for _ in range(8):
        pace.answered(3, 50, 0.5, 0.7)
    once.answered(3, 50, 0.5, 0.7)
    assert pace.batch_s == once.batch_s < 0.25
    assert pace.row_s == once.row_s < 0.002
    # what leaves after it counts again
    pace.answered(10, 10, 0.7, 0.71)
    assert pace.batch_s < once.batch_s
