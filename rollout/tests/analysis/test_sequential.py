"""The sequential test: values by hand, and what must hold of any evidence."""

from __future__ import annotations

import math
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import Increments
from tandem_rollout.analysis.likelihood import ratio_increments
from tandem_rollout.analysis.priors import BAD, GOOD, Prior
from tandem_rollout.analysis.sequential import (
    RatioEvidence,
    RatioTest,
    log_promotion,
    log_rollback,
    promotes,
    rolls_back,
    start,
    update,
)

TESTS = st.builds(
    RatioTest,
    margin=st.sampled_from([1.2, 1.5, 2.0, 3.0]),
    floor=st.sampled_from([0.0, 0.002, 0.05]),
    dispersion=st.sampled_from([1.0, 1.8]),
)


@st.composite
def ticks(draw: st.DrawFn) -> Increments:
    canary, stable = draw(st.integers(0, 500)), draw(st.integers(0, 2000))
    return Increments(canary, draw(st.integers(0, canary)), stable, draw(st.integers(0, stable)))


def gathered(test: RatioTest, *increments: Increments, onto: RatioEvidence | None = None) -> RatioEvidence:
    evidence = onto or start(test)
    for tick in increments:
        evidence = update(test, evidence, tick)
    return evidence


def logs(evidence: RatioEvidence) -> list[float]:
    return [*evidence.bad, *evidence.good, *evidence.floor]


def test_one_error_on_the_canary_by_hand() -> None:
    """θ(r) = r / (r + 9) at 10 of 100 requests, θ(1) = 1/10: E is the mean of 10 r / (r + 9)."""
    evidence = gathered(RatioTest(), Increments(10, 1, 90, 0))
    by_hand = sum(weight * 10 * r / (r + 9) for r, weight in zip(BAD.values, BAD.weights, strict=True))
    assert math.exp(log_rollback(evidence)) == pytest.approx(by_hand)
    assert math.exp(evidence.bad[BAD.values.index(3.0)]) == pytest.approx(2.5)


def test_one_error_on_stable_by_hand() -> None:
    """1 − θ(r) = 9 / (r + 9), against 9 / 11 at the margin of 2: a ratio of 1 gains 11/10."""
    evidence = gathered(RatioTest(), Increments(10, 0, 90, 1))
    assert math.exp(evidence.good[GOOD.values.index(1.0)]) == pytest.approx(1.1)
    by_hand = sum(weight * 11 / (r + 9) for r, weight in zip(GOOD.values, GOOD.weights, strict=True))
    assert math.exp(log_promotion(RatioTest(), evidence)) == pytest.approx(by_hand)


def test_shares_are_those_of_each_tick() -> None:
    """Pooled, a canary that took over while errors rose looks bad: 40 errors in 1100 requests against 3 in 1100."""
    ramp = [Increments(100, 0, 1000, 3), Increments(1000, 40, 100, 4)]
    pooled = Increments(1100, 40, 1100, 7)
    assert rolls_back(RatioTest(), gathered(RatioTest(), pooled))
    assert log_rollback(gathered(RatioTest(), *ramp)) < 0


def test_the_clean_requests_that_a_floor_takes() -> None:
    test = RatioTest(floor=0.002)
    assert not promotes(test, gathered(test, Increments(3300, 0, 29700, 0)))
    assert promotes(test, gathered(test, Increments(3400, 0, 30600, 0)))


def test_without_a_floor_no_errors_promote_nothing() -> None:
    assert not promotes(RatioTest(), gathered(RatioTest(), Increments(1e9, 0, 9e9, 0)))


def test_dispersion_divides_counts() -> None:
    tick = Increments(100, 6, 900, 20)
    half = gathered(RatioTest(dispersion=2.0), tick)
    assert half.bad == pytest.approx(gathered(RatioTest(), Increments(100, 3, 900, 10)).bad)
    assert (half.canary_events, half.stable_events) == (6, 20)


def test_more_metrics_raise_the_threshold_of_rollback() -> None:
    test = RatioTest(alpha=0.01)
    evidence = next(
        e for n in range(1, 20) if log_rollback(e := gathered(test, Increments(100, n, 900, 0))) >= math.log(100)
    )
    assert rolls_back(test, evidence)
    assert not rolls_back(test, evidence, metrics=100)


def test_a_smaller_margin_bets_on_ratios_below_it_only() -> None:
    assert RatioTest().good.values == GOOD.values
    assert RatioTest(margin=1.5).good.values == (0.25, 0.5, 0.75, 1.0, 1.25)
    assert math.fsum(RatioTest(margin=1.5).good.weights) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"margin": 1.0},
        {"margin": math.nan},
        {"floor": -0.1},
        {"floor": 1.0},
        {"alpha": 0.0},
        {"beta": 1.0},
        {"dispersion": 0.9},
        {"dispersion": math.nan},
    ],
)
def test_a_test_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RatioTest(**wrong)


@pytest.mark.parametrize("of", [((1.0,), (0.5,)), ((1.0, 2.0), (1.0,)), ((0.0,), (1.0,)), ((1.0, 2.0), (0.0, 1.0))])
def test_a_prior_is_a_distribution_over_ratios(of: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="prior"):
        Prior(*of)


def test_evidence_of_another_test_is_refused() -> None:
    with pytest.raises(ValueError, match="another"):
        update(RatioTest(margin=1.5), start(RatioTest()), Increments(1, 0, 9, 0))


@given(TESTS, ticks())
def test_requests_without_events_may_be_cut_in_any_way(test: RatioTest, tick: Increments) -> None:
    quiet = Increments(tick.canary_requests, 0, tick.stable_requests, 0)
    half = Increments(quiet.canary_requests / 2, 0, quiet.stable_requests / 2, 0)
    whole, cut = gathered(test, tick, quiet), gathered(test, half, tick, half)
    assert (whole.bad, whole.good) == (cut.bad, cut.good)
    assert whole.floor == pytest.approx(cut.floor)
    assert whole.canary_requests == cut.canary_requests


@given(TESTS, st.lists(ticks(), max_size=6), st.randoms())
def test_the_order_of_ticks_does_not_matter(test: RatioTest, increments: list[Increments], random: Random) -> None:
    shuffled = list(increments)
    random.shuffle(shuffled)
    assert logs(gathered(test, *increments)) == pytest.approx(logs(gathered(test, *shuffled)), rel=1e-9, abs=1e-8)


@given(TESTS, st.lists(ticks(), max_size=4), st.lists(ticks(), max_size=4))
def test_going_on_from_what_was_written_is_never_having_stopped(
    test: RatioTest, before: list[Increments], after: list[Increments]
) -> None:
    evidence = gathered(test, *before)
    resumed = msgspec.json.decode(msgspec.json.encode(evidence), type=RatioEvidence)
    assert resumed == evidence
    assert gathered(test, *after, onto=resumed) == gathered(test, *before, *after)


@given(TESTS, st.lists(ticks(), min_size=1, max_size=4))
def test_more_errors_of_the_canary_never_help_it(test: RatioTest, increments: list[Increments]) -> None:
    first = increments[0]
    if first.canary_events == first.canary_requests:
        return
    worse = Increments(first.canary_requests, first.canary_events + 1, first.stable_requests, first.stable_events)
    as_is, with_one_more = gathered(test, *increments), gathered(test, worse, *increments[1:])
    assert log_rollback(with_one_more) >= log_rollback(as_is) - 1e-9
    assert log_promotion(test, with_one_more) <= log_promotion(test, as_is) + 1e-9


@given(TESTS)
def test_zero_evidence_decides_nothing(test: RatioTest) -> None:
    for evidence in (
        start(test),
        gathered(test, Increments(0, 0, 0, 0)),
        gathered(test, Increments(0, 0, 10**6, 10**3)),
    ):
        assert not promotes(test, evidence)
        assert not rolls_back(test, evidence)


@given(TESTS, st.lists(ticks(), min_size=1, max_size=3))
def test_many_runs_at_once_are_as_one_by_one(test: RatioTest, increments: list[Increments]) -> None:
    columns = [
        [getattr(tick, name) for tick in increments]
        for name in ("canary_requests", "canary_events", "stable_requests", "stable_events")
    ]
    at_once = ratio_increments(*columns, BAD, 1.0).sum(axis=0) / test.dispersion
    assert np.allclose(at_once, gathered(test, *increments).bad)
