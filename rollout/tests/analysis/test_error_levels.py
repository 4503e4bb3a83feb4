"""Wrong decisions and cost of the sequential test, simulated: what it promises, and what it was measured to do."""

from __future__ import annotations

import numpy as np
import pytest

from tandem_rollout.analysis import eta
from tandem_rollout.analysis.counts import Increments
from tandem_rollout.analysis.dispersion import Dispersion, estimate_dispersion
from tandem_rollout.analysis.priors import Floats
from tandem_rollout.analysis.sequential import RatioTest

from .traffic import PER_TICK, Ticks, decided, oracle, plausible, steady

RUNS = 3000


def ramping(*, ratio: float) -> Ticks:
    """Weight and rate rise together, and both arms share incidents."""

    def tick(random: np.random.Generator, number: int, runs: int) -> tuple[Floats, Floats, Floats, Floats]:
        canary = random.binomial(PER_TICK, min(0.5, 0.05 + 0.001 * number), runs)
        rate = min(0.05, 0.002 + 0.0001 * number) * np.where(random.random(runs) < 0.02, 5.0, 1.0)
        events = random.binomial(canary, rate * ratio), random.binomial(PER_TICK - canary, rate)
        return canary * 1.0, events[0] * 1.0, (PER_TICK - canary) * 1.0, events[1] * 1.0

    return tick


@pytest.mark.parametrize(
    "ticks", [steady(rate=0.01, ratio=1.0), steady(rate=0.01, ratio=0.7), ramping(ratio=1.0), ramping(ratio=0.7)]
)
def test_a_canary_that_is_no_worse_is_rarely_rolled_back_at_any_look(ticks: Ticks) -> None:
    ended = decided(RatioTest(alpha=0.05), ticks, runs=1000, horizon=400, seed=1, promote=False)
    assert plausible(ended.rolled_back, 1000, 0.05)


@pytest.mark.parametrize("floor", [0.0, 0.004])
@pytest.mark.parametrize("ratio", [2.0, 2.5])
def test_a_canary_at_the_margin_is_rarely_promoted(ratio: float, floor: float) -> None:
    """Here the floor lies below the canary's rate, so that neither the ratio nor the floor excuses it."""
    test = RatioTest(beta=0.05, alpha=1e-9, floor=floor)
    ended = decided(test, steady(rate=0.002, ratio=ratio), runs=1000, horizon=400, seed=2)
    assert plausible(ended.promoted, 1000, 0.05)


@pytest.mark.parametrize(
    ("margin", "threshold", "ratio", "wrong", "cost"),
    [
        (2.0, 125, 1.0, 0.0046, 1.30),
        (2.0, 125, 2.0, 0.0062, 1.33),
        (2.0, 125, 5.0, None, 1.46),
        (1.5, 100, 1.0, 0.0060, 3.87),
        (1.5, 100, 2.0, 0.0001, 1.29),
        (1.5, 100, 5.0, None, 1.40),
    ],
)
def test_wrong_decisions_and_cost_are_those_that_were_measured(
    margin: float, threshold: int, ratio: float, wrong: float | None, cost: float
) -> None:
    """0.5 % errors, 200 requests in a tick, one in ten to the canary; cost over a test that knows both rates.

    The costs are means of runs whose lengths spread as widely as they are long: 4 % of error for both together.
    """
    test = RatioTest(margin=margin, alpha=1 / threshold, beta=1 / threshold)
    ended = decided(test, steady(rate=0.005, ratio=ratio), runs=RUNS, horizon=5000, seed=3)
    baseline = oracle(rate=0.005, ratio=ratio, against=max(ratio, 2.0), runs=RUNS, seed=4)
    assert ended.undecided == 0
    assert ended.canary_requests / baseline.canary_requests == pytest.approx(cost, rel=0.06)
    errors = ended.rolled_back if ratio == 1.0 else ended.promoted
    assert plausible(errors, RUNS, 0.01)
    if wrong is not None:
        assert abs(errors / RUNS - wrong) < 4.5 * (wrong / RUNS) ** 0.5 + 1 / RUNS


@pytest.mark.parametrize("rate", [0.001, 0.005, 0.02])
@pytest.mark.parametrize(("ratio", "floor"), [(1.0, 0.0), (1.0, 0.004), (2.0, 0.0), (5.0, 0.0)])
def test_the_forecast_is_near_the_mean_of_simulated_rollouts(rate: float, ratio: float, floor: float) -> None:
    test = RatioTest(floor=floor)
    ended = decided(test, steady(rate=rate, ratio=ratio), runs=500, horizon=10_000, seed=5)
    forecast = eta.to_promotion if ratio == 1.0 else eta.to_rollback
    assert forecast(test, rate=rate, share=0.1, ratio=ratio) == pytest.approx(ended.canary_requests, rel=0.2)


def test_bursts_in_one_arm_are_answered_by_the_dispersion_of_stable_against_itself() -> None:
    def bursty(random: np.random.Generator, number: int, runs: int) -> tuple[Floats, Floats, Floats, Floats]:
        """Rates of each arm and tick from a beta distribution with an intraclass correlation of 0.02."""
        canary = random.binomial(PER_TICK, 0.1, runs)
        rates = random.beta(0.02 * 49, 0.98 * 49, (2, runs))
        events = random.binomial(canary, rates[0]), random.binomial(PER_TICK - canary, rates[1])
        return canary * 1.0, events[0] * 1.0, (PER_TICK - canary) * 1.0, events[1] * 1.0

    alike = zip(*bursty(np.random.default_rng(7), 0, 2000), strict=True)
    measured = estimate_dispersion(Increments(*map(float, tick)) for tick in alike)
    assert isinstance(measured, Dispersion)
    without, with_it = (
        decided(RatioTest(dispersion=phi), bursty, runs=2000, horizon=3000, seed=6).rolled_back
        for phi in (1.0, measured.phi)
    )
    assert not plausible(without, 2000, 0.01)
    assert plausible(with_it, 2000, 0.01)
