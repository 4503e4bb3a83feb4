from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_transformer.reserve import Estimate, observe, share_of

SECONDS = st.floats(1e-6, 100)


def estimate_of(*seconds: float) -> Estimate:
    estimate = Estimate()
    for measurement in seconds:
        estimate = observe(estimate, measurement)
    return estimate


@given(st.lists(SECONDS, min_size=1))
def test_the_mean_lies_among_what_was_measured_and_the_bound_is_above_it(seconds: list[float]) -> None:
    estimate = estimate_of(*seconds)
    assert min(seconds) * 0.999 <= estimate.mean <= max(seconds) * 1.001
    assert estimate.mean <= estimate.bound <= 10 * max(seconds)


@given(SECONDS)
def test_what_always_takes_as_long_is_known_exactly_in_the_end(seconds: float) -> None:
    estimate = estimate_of(*[seconds] * 100)
    assert estimate.mean == pytest.approx(seconds)
    assert estimate.bound == pytest.approx(seconds, rel=1e-6)


def test_the_first_measurement_counts_as_a_whole_and_later_ones_in_part() -> None:
    assert estimate_of(0.8) == (0.8, 0.4)
    assert estimate_of(0.8, 1.6) == pytest.approx((0.9, 0.5))


@given(SECONDS, SECONDS)
def test_a_hop_gets_what_is_left_without_the_reserve_and_never_less_than_half(remaining: float, follows: float) -> None:
    estimate = Estimate(follows)
    share = share_of(remaining, estimate)
    assert share == pytest.approx(max(remaining - follows, remaining / 2))


@given(st.floats(-100, 0), SECONDS)
def test_after_the_deadline_there_is_nothing_to_share(remaining: float, follows: float) -> None:
    assert share_of(remaining, Estimate(follows)) == remaining
