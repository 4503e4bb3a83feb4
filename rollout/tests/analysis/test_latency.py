"""Limits of latency, and counting what is slower."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import Increments, NoData, count_increments
from tandem_rollout.analysis.latency import (
    Limit,
    Recent,
    choose,
    counters,
    freeze,
    longest,
    max_recent,
    min_recent,
    remember,
)

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


@pytest.mark.parametrize(("quantile", "least"), [(0.9, 30), (0.95, 60), (0.99, 300)])
def test_the_rarer_slow_requests_are_the_more_of_them_a_choice_takes(quantile: float, least: int) -> None:
    assert round(min_recent(quantile)) == least
    few, enough = (remember(Recent(), {0.1: 0.0, 1.0: 0.95 * n, math.inf: n}, quantile) for n in (least - 1, least))
    assert choose(few, quantile, 1.0) == NoData(
        "TooFewRequests", f"a limit of latency needs {least} requests of stable, there are {least - 1}"
    )
    assert isinstance(choose(enough, quantile, 1.0), Limit)


@given(
    st.lists(st.lists(st.integers(0, 5000), min_size=4, max_size=4), max_size=30), st.sampled_from([0.9, 0.95, 0.999])
)
def test_what_is_remembered_is_bounded_and_the_latest_weighs_most(ticks: list[list[int]], quantile: float) -> None:
    recent, edges = Recent(), (0.1, 0.2, 0.4, math.inf)
    for rows in ticks:
        buckets = {edge: float(sum(rows[: at + 1])) for at, edge in enumerate(edges)}
        before, recent = recent, remember(recent, buckets, quantile)
        assert 0.0 <= recent.requests <= max_recent(quantile) * (1 + 1e-9)
        assert sorted(recent.slower, reverse=True) == list(recent.slower)
        assert all(0.0 <= count <= recent.requests * (1 + 1e-9) for count in recent.slower)
        if total := sum(rows):
            share = recent.requests / (before.requests + total)
            old = before.slower or (0.0,) * 3
            expected = [share * (old[at] + sum(rows[at + 1 :])) for at in range(3)]
            assert recent.slower == pytest.approx(expected)


def test_another_ladder_of_buckets_begins_anew() -> None:
    recent = remember(Recent(), BUCKETS, 0.95)
    assert remember(recent, {0.2: 90.0, math.inf: 100.0}, 0.95) == Recent((0.2,), (10.0,), 100.0)
    assert remember(recent, {}, 0.95) == recent


def test_the_longest_of_two_limits() -> None:
    short, long = Limit(0.1, 0.1, 0.05, 1.0), Limit(0.2, 0.25, 0.05, 1.0)
    assert longest(short, long) == longest(long, short) == longest(None, long) == long
    assert longest(None, None) is None


def test_slow_requests_are_the_events_of_a_tick() -> None:
    limit = 0.05
    later = {edge: count + (100 if edge > 0.05 else 80) for edge, count in BUCKETS.items()}
    earlier_scrape, later_scrape = ({"pod": counters({"": buckets}, limit)} for buckets in (BUCKETS, later))
    stable = earlier_scrape, {"pod": counters({"": {edge: 2 * count for edge, count in BUCKETS.items()}}, limit)}
    assert count_increments(canary=(earlier_scrape, later_scrape), stable=stable) == Increments(100, 20, 10_000, 400)


def test_a_histogram_without_the_frozen_edge_is_no_data() -> None:
    scrape = {"pod": counters({"": {0.2: 5.0, math.inf: 9.0}}, 0.05)}
    assert isinstance(count_increments(canary=(scrape, scrape), stable=(scrape, scrape)), NoData)
