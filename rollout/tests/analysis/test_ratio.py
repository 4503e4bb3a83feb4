"""Sample-ratio mismatch, and the interval of the rate ratio."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import Increments
from tandem_rollout.analysis.ratio import (
    Assignment,
    Interval,
    Likelihood,
    chi_square,
    interval,
    mismatched,
    update_assignment,
    update_likelihood,
)

from .traffic import plausible


def units(seed: int, *, share: float, configured: float, ticks: int = 100, per_tick: int = 200) -> list[Assignment]:
    random, so_far, all_of_it = np.random.default_rng(seed), Assignment(), []
    for ours in random.binomial(per_tick, share, ticks).tolist():
        so_far = update_assignment(so_far, canary=ours, stable=per_tick - ours, share=configured)
        all_of_it.append(so_far)
    return all_of_it


def test_units_that_fall_as_configured_rarely_mismatch() -> None:
    ever = sum(
        any(mismatched(assignment, alpha=0.05) for assignment in units(seed, share=0.1, configured=0.1))
        for seed in range(300)
    )
    assert plausible(ever, 300, 0.05)


def test_a_canary_that_gets_an_eighth_instead_of_a_tenth_is_found() -> None:
    assert all(mismatched(units(seed, share=0.125, configured=0.1)[-1]) for seed in range(30))


def test_units_are_counted_at_the_share_that_was_configured_then() -> None:
    so_far = update_assignment(Assignment(), canary=500, stable=9500, share=0.05)
    so_far = update_assignment(so_far, canary=5000, stable=5000, share=0.5)
    assert so_far.expected == 5500
    assert not mismatched(so_far)


def test_a_mismatch_is_found_although_the_share_rises() -> None:
    so_far = Assignment()
    for configured in (0.05, 0.1, 0.2, 0.4):
        so_far = update_assignment(
            so_far, canary=8000 * configured * 1.15, stable=8000 * (1 - configured * 1.15), share=configured
        )
    assert mismatched(so_far, alpha=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_is_learnt_where_all_units_go_one_way(share: float) -> None:
    assert update_assignment(Assignment(), canary=5, stable=5, share=share) == Assignment()


def test_chi_square_by_hand() -> None:
    """χ² = (60 − 50)² / 50 + (40 − 50)² / 50 = 4: p = 0.0455."""
    assert chi_square(canary=60, stable=40, share=0.5) == pytest.approx(0.0455, abs=1e-4)
    assert chi_square(canary=0, stable=0, share=0.5) == 1.0


def likelihood(*ticks: Increments) -> Likelihood:
    so_far = Likelihood()
    for tick in ticks:
        so_far = update_likelihood(so_far, tick)
    return so_far


def test_without_events_nothing_is_known() -> None:
    assert interval(Likelihood()) == Interval(0.0, None, math.inf)
    assert interval(likelihood(Increments(100, 0, 900, 0), Increments(100, 5, 0, 0))) == Interval(0.0, None, math.inf)


def test_the_estimate_is_the_ratio_of_rates() -> None:
    result = interval(likelihood(Increments(1000, 30, 9000, 90)))
    assert result.estimate == pytest.approx(3.0, rel=0.01)
    assert 1.0 < result.low < 3.0 < result.high < 10.0


def test_shares_are_those_of_each_tick() -> None:
    result = interval(likelihood(Increments(100, 1, 1000, 10), Increments(1000, 100, 100, 10)))
    assert result.estimate == pytest.approx(1.0, rel=0.01)


def test_a_canary_without_errors_has_an_upper_end_only() -> None:
    result = interval(likelihood(Increments(1000, 0, 1000, 50)))
    assert (result.low, result.estimate) == (0.0, 0.0)
    assert result.high < 0.5
    turned = interval(likelihood(Increments(1000, 50, 1000, 0)))
    assert (turned.estimate, turned.high) == (math.inf, math.inf)
    assert turned.low == pytest.approx(1 / result.high)


def test_dispersion_widens_the_interval() -> None:
    tick = Increments(1000, 30, 9000, 90)
    plain, bursty = (interval(update_likelihood(Likelihood(), tick, dispersion=phi)) for phi in (1.0, 3.0))
    assert bursty.low < plain.low < plain.high < bursty.high


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_the_interval_covers_the_ratio_at_all_looks(ratio: float) -> None:
    runs, missed = 150, 0
    random = np.random.default_rng(7)
    for _ in range(runs):
        so_far, covered = Likelihood(), True
        for ours, theirs in zip(random.binomial(100, 0.02 * ratio, 60), random.binomial(900, 0.02, 60), strict=True):
            so_far = update_likelihood(so_far, Increments(100, int(ours), 900, int(theirs)))
            result = interval(so_far, alpha=0.05)
            covered &= result.low <= ratio <= result.high
        missed += not covered
    assert plausible(missed, runs, 0.05)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 200), st.integers(1, 2000))
def test_the_estimate_lies_in_the_interval(k_c: int, k_s: int, n_c: int, n_s: int) -> None:
    result = interval(likelihood(Increments(n_c, min(k_c, n_c), n_s, min(k_s, n_s))))
    assert result.low <= result.high
    assert result.estimate is None or result.low <= result.estimate <= result.high


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=5))
def test_what_is_written_is_read_back_bit_for_bit(events: list[tuple[int, int]]) -> None:
    so_far = likelihood(*(Increments(50, ours, 500, theirs) for ours, theirs in events))
    assert msgspec.json.decode(msgspec.json.encode(so_far), type=Likelihood) == so_far
    for assignment in units(len(events), share=0.1, configured=0.1, ticks=3):
        assert msgspec.json.decode(msgspec.json.encode(assignment), type=Assignment) == assignment
