"""On which side of a limit a distance is: how often that is wrong, what it takes, and the arithmetic."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln, ive

from tandem_rollout.analysis.distance import DistanceEstimate, SampleSums, measure, sum_sample
from tandem_rollout.analysis.distance_evidence import information_to_decide, log_above, log_below, passing_limit
from tandem_rollout.analysis.hypergeometric import log_0f1
from tandem_rollout.simulation.traffic import tilted

from .traffic import plausible

EVEN = (0.1,) * 10
RARE = tuple(weight / 5.05 for weight in (1.0,) * 5 + (0.01,) * 5)
ERROR, LEAST = 0.05, 1000.0


def ends(
    stable: tuple[float, ...],
    distance: float,
    limit: float,
    *,
    runs: int,
    ticks: int,
    share: float = 0.1,
    together: int = 1,
) -> tuple[int, int]:
    """How many runs ever pass, and how many ever fail, at an error of 5 %."""
    random, bins = np.random.default_rng(7), tilted(stable, distance)
    nothing = np.zeros((runs, len(stable)))
    sums = sum_sample(nothing, nothing)
    passed, failed = np.zeros(runs, np.bool_), np.zeros(runs, np.bool_)
    for _ in range(ticks):
        rows = random.poisson(400 * share, runs), random.poisson(400 * (1 - share), runs)
        arms = (random.multinomial(n, p) for n, p in zip(rows, (bins.canary, bins.stable), strict=True))
        more = sum_sample(*(together * counts.astype(np.float64) for counts in arms))
        sums = SampleSums(*(getattr(sums, field.name) + getattr(more, field.name) for field in fields(SampleSums)))
        measured = measure(sums)
        enough = measured.rows >= LEAST
        passed |= enough & (log_below(measured, limit) >= -math.log(ERROR))
        failed |= enough & (log_above(measured, limit) >= -math.log(ERROR))
    return int(passed.sum()), int(failed.sum())


@pytest.mark.parametrize(
    ("stable", "share", "together"), [(EVEN, 0.1, 1), (RARE, 0.1, 1), (EVEN, 0.9, 1), (EVEN, 0.1, 8)]
)
@pytest.mark.parametrize("limit", [0.1, 0.25])
def test_at_the_limit_either_error_is_as_rare_as_was_asked_for(
    stable: tuple[float, ...], share: float, together: int, limit: float
) -> None:
    passed, failed = ends(stable, limit, limit, runs=300, ticks=120, share=share, together=together)
    assert plausible(passed, 300, ERROR)
    assert plausible(failed, 300, ERROR)


@pytest.mark.parametrize("limit", [0.1, 0.2, 0.25])
def test_a_good_distance_is_no_failure_and_a_bad_one_no_pass(limit: float) -> None:
    assert ends(EVEN, 0.6 * limit, limit, runs=200, ticks=200)[1] <= 1
    passed, failed = ends(EVEN, 2.0 * limit, limit, runs=200, ticks=120)
    assert (passed, failed) == (0, 200)


def test_what_is_expected_to_be_needed_is_what_is_needed() -> None:
    information = information_to_decide(0.06, limit=0.1, error=ERROR, freedom=9.0)
    ticks = round(information / 0.9 / 40)
    passed, _ = ends(EVEN, 0.06, 0.1, runs=200, ticks=ticks)
    assert 0.4 < passed / 200 < 0.75
    assert information_to_decide(0.1, limit=0.1, error=ERROR, freedom=9.0) == math.inf


@given(st.floats(0.001, 2.0), st.floats(0.0, 3.0), st.floats(10.0, 1e6), st.floats(1.0, 40.0))
def test_evidence_grows_with_what_was_counted_and_falls_with_the_limit(
    limit: float, raw: float, information: float, freedom: float
) -> None:
    def at(raw: float) -> DistanceEstimate:
        unit = np.ones(())
        return DistanceEstimate(unit * raw, unit, unit, unit, unit * raw, unit * information, unit * freedom)

    near, far = at(raw), at(raw * 1.1 + 0.01)
    slack = 1e-4 * (1.0 + information)
    assert log_above(far, limit) >= log_above(near, limit) - slack
    assert log_below(far, limit) <= log_below(near, limit) + slack
    would = passing_limit(near, ERROR)
    if would < 100.0:
        assert float(log_below(near, would * 1.01)) >= -math.log(ERROR) - 1e-2


@given(st.floats(0.5, 30.0), st.floats(0.001, 1e7))
def test_the_hypergeometric_function_is_the_bessel_function(a: float, x: float) -> None:
    order, argument = a - 1.0, 2.0 * math.sqrt(x)
    bessel = float(ive(order, argument))
    if bessel > 1e-290:
        reference = float(gammaln(a)) - order * math.log(argument / 2.0) + math.log(bessel) + argument
        assert float(log_0f1(a, x)) == pytest.approx(reference, rel=1e-6, abs=2e-5)
