"""Forecasts: what they say at the ends. Their size is compared with simulation beside the error levels."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis import eta
from tandem_rollout.analysis.sequential import RatioTest


def test_clean_traffic_promotes_by_the_floor_alone() -> None:
    assert eta.to_promotion(RatioTest(floor=0.002), rate=0.0, share=0.1) == pytest.approx(3360, rel=0.01)
    assert eta.to_promotion(RatioTest(), rate=0.0, share=0.1) == math.inf


def test_a_good_canary_is_not_rolled_back_and_a_bad_one_not_promoted() -> None:
    assert eta.to_rollback(RatioTest(), rate=0.01, share=0.1, ratio=1.0) == math.inf
    assert eta.to_promotion(RatioTest(), rate=0.01, share=0.1, ratio=2.5) == math.inf


def test_rare_errors_take_thousands_of_requests() -> None:
    assert 13_000 < eta.to_promotion(RatioTest(), rate=0.001, share=0.1) < 21_000


def test_one_metric_among_many_takes_longer() -> None:
    alone, among = (eta.to_rollback(RatioTest(), rate=0.01, share=0.1, ratio=2.0, metrics=k) for k in (1, 5))
    assert alone < among


def test_dispersion_multiplies_what_is_needed() -> None:
    plain, bursty = (eta.to_promotion(RatioTest(dispersion=phi), rate=0.01, share=0.1) for phi in (1.0, 1.8))
    assert bursty == pytest.approx(1.8 * plain)


def test_minutes_are_those_of_the_canarys_share() -> None:
    assert eta.minutes(3000, requests_per_second=100, share=0.1) == pytest.approx(5.0)
    assert eta.minutes(3000, requests_per_second=0, share=0.1) == math.inf


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_both_arms_there_is_no_forecast(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        eta.to_promotion(RatioTest(), rate=0.01, share=share)


@given(st.floats(1e-4, 0.2), st.floats(0.01, 0.5), st.floats(1.3, 20.0))
def test_a_worse_canary_is_found_sooner(rate: float, share: float, ratio: float) -> None:
    sooner = eta.to_rollback(RatioTest(), rate=rate, share=share, ratio=ratio * 1.5)
    assert sooner < eta.to_rollback(RatioTest(), rate=rate, share=share, ratio=ratio)
