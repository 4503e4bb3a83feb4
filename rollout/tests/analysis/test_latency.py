"""Limits of latency, and counting what is slower."""

from __future__ import annotations

import math

import pytest

from tandem_rollout.analysis.counts import NoData, Tick, tick
from tandem_rollout.analysis.latency import Limit, counters, freeze

BUCKETS = {0.01: 5000.0, 0.025: 9000.0, 0.05: 9600.0, 0.1: 9990.0, math.inf: 10_000.0}


def test_the_limit_is_the_edge_next_to_the_quantile() -> None:
    assert freeze(BUCKETS, 0.95) == Limit(0.05, 0.05, pytest.approx(0.04), 10_000)
    assert freeze(BUCKETS, 0.90) == Limit(0.025, 0.025, pytest.approx(0.1), 10_000)


@pytest.mark.parametrize(("slowdown", "edge"), [(1.0, 0.025), (1.2, 0.05), (2.0, 0.05), (2.1, 0.1), (9.0, 0.1)])
def test_the_canary_may_be_slower_to_the_next_edge_and_the_last_one_at_most(slowdown: float, edge: float) -> None:
    limit = freeze(BUCKETS, 0.90, slowdown)
    assert isinstance(limit, Limit)
    assert (limit.seconds, limit.canary_seconds) == (0.025, edge)


def test_buckets_too_coarse_for_the_quantile_are_no_data() -> None:
    coarse = {0.01: 5000.0, 1.0: 10_000.0, math.inf: 10_000.0}
    assert isinstance(freeze(coarse, 0.95), NoData)
    assert isinstance(freeze({math.inf: 10_000.0}, 0.95), NoData)


@pytest.mark.parametrize("buckets", [{}, {0.1: 10.0, math.inf: 4999.0}, {0.1: 10.0, math.inf: math.nan}])
def test_too_few_requests_freeze_nothing(buckets: dict[float, float]) -> None:
    assert isinstance(freeze(buckets, 0.95), NoData)


def test_slow_requests_are_the_events_of_a_tick() -> None:
    limit = 0.05
    later = {edge: count + (100 if edge > 0.05 else 80) for edge, count in BUCKETS.items()}
    earlier_scrape, later_scrape = ({"pod": counters({"": each}, limit)} for each in (BUCKETS, later))
    stable = earlier_scrape, {"pod": counters({"": {edge: 2 * count for edge, count in BUCKETS.items()}}, limit)}
    assert tick(canary=(earlier_scrape, later_scrape), stable=stable) == Tick(100, 20, 10_000, 400)


def test_a_histogram_without_the_frozen_edge_is_no_data() -> None:
    other = {"pod": counters({"": {0.2: 5.0, math.inf: 9.0}}, 0.05)}
    assert isinstance(tick(canary=(other, other), stable=(other, other)), NoData)
