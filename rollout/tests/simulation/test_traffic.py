"""Simulated traffic has the rates that it was asked for, and incidents where they belong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tandem_rollout.api.analysis import Metric
from tandem_rollout.simulation.stream import TrafficStream
from tandem_rollout.simulation.traffic import DAY, Bins, EventRates, Incidents, Traffic

ROLLOUTS = 4000


def stream(traffic: Traffic, rollouts: int = ROLLOUTS) -> TrafficStream:
    return TrafficStream(traffic, np.random.default_rng(1), rollouts, 10.0)


def test_requests_and_events_have_their_rates() -> None:
    traffic = Traffic(requests_per_second=20.0, rates={"errors": EventRates(0.01, 0.03)})
    counts = stream(traffic).draw(10.0, np.full(ROLLOUTS, 0.1))
    ours, theirs = counts.events["errors"]
    assert counts.canary.mean() == pytest.approx(20.0, rel=0.02)
    assert counts.stable.mean() == pytest.approx(180.0, rel=0.02)
    assert ours.sum() / counts.canary.sum() == pytest.approx(0.03, rel=0.1)
    assert theirs.sum() / counts.stable.sum() == pytest.approx(0.01, rel=0.1)


def test_metrics_of_one_type_count_the_same_events_unless_one_has_rates_of_its_own() -> None:
    gateway, pods = Metric(type="errors"), Metric(type="errors", where="pods")
    traffic = Traffic(rates={"errors": EventRates(0.01, 0.01)})
    assert traffic.key(gateway) == traffic.key(pods) == "errors"
    own = Traffic(rates={"errors": EventRates(0.01, 0.01), "errors-in-pods": EventRates(0.0, 0.0)})
    assert own.key(pods) == "errors-in-pods"


def test_predictions_fall_into_bins() -> None:
    traffic = Traffic(bins=Bins((0.5, 0.5), (0.9, 0.1)))
    counts = stream(traffic).draw(10.0, np.full(ROLLOUTS, 0.1))
    assert counts.rows is not None
    ours, theirs = counts.rows
    assert (ours.sum(axis=1) == counts.canary).all()
    assert ours[:, 0].sum() / ours.sum() == pytest.approx(0.9, rel=0.02)
    assert theirs[:, 0].sum() / theirs.sum() == pytest.approx(0.5, rel=0.02)


def test_a_canary_that_does_not_bear_the_load_fails_when_it_has_it() -> None:
    share = np.where(np.arange(ROLLOUTS) % 2, 0.1, 0.95)
    for correlation in (0.0, 0.001):
        rates = {"errors": EventRates(0.01, 0.01)}
        counts = stream(Traffic(rates=rates, burden=5.0, correlation=correlation)).draw(10.0, share)
        ours, theirs = counts.events["errors"]
        for at, rate in ((0, 0.05), (1, 0.01)):
            assert ours[at::2].sum() / counts.canary[at::2].sum() == pytest.approx(rate, rel=0.1)
        assert theirs.sum() / counts.stable.sum() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("arms", ["both", "one"])
def test_incidents_hit_both_arms_or_one(arms: Any) -> None:
    incidents = Incidents(factor=50.0, every=200.0, lasting=50.0, arms=arms)
    traffic_stream = stream(
        Traffic(requests_per_second=1000.0, rates={"errors": EventRates(0.01, 0.01)}, incidents=incidents), 500
    )
    burning = np.zeros((0, 2), np.bool_)
    for tick in range(40):
        counts = traffic_stream.draw(10.0 * (tick + 1), np.full(500, 0.5))
        rates = [
            arm / requests
            for arm, requests in zip(counts.events["errors"], (counts.canary, counts.stable), strict=True)
        ]
        burning = np.concatenate([burning, np.stack(rates, axis=1) > 0.1])
    together = (burning[:, 0] & burning[:, 1]).sum()
    assert burning.any(axis=1).mean() == pytest.approx(0.2, abs=0.05)
    assert together == (burning.any(axis=1).sum() if arms == "both" else 0)


def test_one_more_draw_of_the_same_tick_is_in_the_same_incident() -> None:
    incidents = Incidents(factor=90.0, every=20.0, lasting=20.0)
    traffic_stream = stream(
        Traffic(requests_per_second=1000.0, rates={"errors": EventRates(0.01, 0.01)}, incidents=incidents), 300
    )
    rest = np.arange(0, 300, 2)
    for tick in range(5):
        counts = traffic_stream.draw(10.0 * (tick + 1), np.full(300, 0.1))
        again = traffic_stream.draw(10.0 * (tick + 1), np.full(150, 0.9), at=rest)
        burning = counts.events["errors"][0][rest] / counts.canary[rest] > 0.3
        assert ((again.events["errors"][0] / again.canary > 0.3) == burning).all()
        both = counts.replaced(rest, again)
        assert (both.canary[rest] == again.canary).all()
        assert (both.canary[1::2] == counts.canary[1::2]).all()


def test_correlation_makes_events_come_in_bursts_and_leaves_their_rate() -> None:
    def events(correlation: float) -> np.ndarray:
        traffic = Traffic(rates={"errors": EventRates(0.01, 0.01)}, correlation=correlation)
        return stream(traffic, 40_000).draw(10.0, np.full(40_000, 0.1)).events["errors"][1]

    plain, bursty = events(0.0), events(0.02)
    assert bursty.mean() == pytest.approx(plain.mean(), rel=0.05)
    assert plain.var() == pytest.approx(plain.mean(), rel=0.05)
    assert bursty.var() == pytest.approx(plain.mean() * (1.0 + 179.0 * 0.02), rel=0.15)


def test_days_have_a_noon_and_a_midnight() -> None:
    traffic_stream = stream(Traffic(rates={"errors": EventRates(0.02, 0.02)}, day=0.5))
    share = np.full(ROLLOUTS, 0.1)
    noon, midnight = traffic_stream.draw(DAY / 4.0, share), traffic_stream.draw(DAY * 3.0 / 4.0, share)
    assert noon.stable.mean() / midnight.stable.mean() == pytest.approx(3.0, rel=0.05)
    rates = [counts.events["errors"][1].sum() / counts.stable.sum() for counts in (noon, midnight)]
    assert rates[0] / rates[1] == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("rates", [(-0.1, 0.1), (0.1, 1.0)])
def test_rates_are_shares(rates: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="shares of requests"):
        EventRates(*rates)
