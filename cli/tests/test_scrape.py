from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from tandem_cli.local import scrape

EDGES = (0.001, 0.005, 0.01, 0.1, 1.0)
seconds = st.lists(st.floats(0, 2, allow_nan=False), max_size=50)


def exposition(observed: list[float], codes: dict[str, int] | None = None, degraded: int = 0) -> str:
    registry = CollectorRegistry()
    stages = Histogram("tandem_stage_seconds", "", ("model", "stage"), buckets=EDGES, registry=registry)
    total = Histogram("tandem_request_seconds", "", ("model",), buckets=EDGES, registry=registry)
    requests = Counter("tandem_requests", "", ("model", "code"), registry=registry)
    reasons = Counter("tandem_degraded", "", ("model", "reason", "source"), registry=registry)
    for value in observed:
        stages.labels("m", "lookup").observe(value)
        total.labels("m").observe(value)
    for code, count in (codes or {}).items():
        requests.labels("m", code).inc(count)
    reasons.labels("m", "stale", "default").inc(degraded - degraded // 2)
    reasons.labels("m", "stale", "last_known").inc(degraded // 2)
    return generate_latest(registry).decode()


def bucket_of(value: float) -> tuple[float, float]:
    """Edges of the bucket that a value falls into; everything beyond the last edge counts as that edge."""
    upper = next((edge for edge in EDGES if value <= edge), EDGES[-1])
    lower = max((edge for edge in (0.0, *EDGES) if edge < upper), default=0.0)
    return (upper, upper) if value > EDGES[-1] else (lower, upper)


@given(seconds.filter(bool), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_observation_at_its_rank(observed: list[float], q: float) -> None:
    histogram = scrape.parse(exposition(observed)).seconds["lookup"]
    at_rank = sorted(observed)[max(0, math.ceil(q * len(observed) - 1e-9) - 1)]
    lower, upper = bucket_of(at_rank)
    assert lower - 1e-12 <= histogram.quantile(q) <= upper + 1e-12


@given(seconds.filter(bool), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_ascend(observed: list[float], level: float, other_level: float) -> None:
    histogram = scrape.parse(exposition(observed)).seconds["lookup"]
    assert histogram.quantile(min(level, other_level)) <= histogram.quantile(max(level, other_level))


@given(seconds, seconds)
def test_scrapes_of_several_processes_add_up(first: list[float], second: list[float]) -> None:
    together = scrape.parse(exposition(first, {"200": 3})) + scrape.parse(exposition(second, {"200": 2, "503": 1}))
    assert together.seconds.get("lookup", scrape.StageHistogram()).count == len(first) + len(second)
    assert dict(together.codes) == {"200": 5, "503": 1}
    assert together.errors == 1


@given(seconds, seconds)
def test_the_difference_of_two_scrapes_is_what_came_in_between(before: list[float], after: list[float]) -> None:
    earlier = scrape.parse(exposition(before, {"200": len(before)}, degraded=1))
    later = scrape.parse(exposition(before + after, {"200": len(before + after)}, degraded=3))
    between = later - earlier
    alone = scrape.parse(exposition(after))
    assert between.requests == len(after)
    assert between.degraded == {"stale": 2}
    for stage, histogram in alone.seconds.items():
        assert dict(between.seconds[stage].buckets) == dict(histogram.buckets)


def test_no_observation_has_no_quantile() -> None:
    assert math.isnan(scrape.StageHistogram().quantile(0.5))
    assert math.isnan(scrape.StageHistogram({1.0: 0.0, math.inf: 0.0}).quantile(0.99))


def test_beyond_the_last_edge_the_edge_is_given() -> None:
    assert scrape.StageHistogram({0.1: 0.0, math.inf: 4.0}).quantile(0.5) == 0.1


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 1000), min_size=1))
def test_shares_sum_to_one(counts: dict[str, int]) -> None:
    shares = scrape.split(counts)
    assert set(shares) == set(counts)
    if any(counts.values()):
        assert sum(shares.values()) == pytest.approx(1)
    else:
        assert all(math.isnan(share) for share in shares.values())
