"""From readings to evidence and verdicts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Reading
from tandem_rollout.analysis.record import MAX_SAMPLES
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.analysis.verdict import MetricsDecision, ProviderError, Verdict
from tandem_rollout.api.analysis import DEFAULT_METRICS, Metric

from .evidence import (
    EMPTY,
    Sampling,
    binned,
    counted,
    counters,
    every,
    gathered,
    histogram,
    rising,
    stored,
    take_samples,
)

ERRORS = Metric(type="errors")
LATENCY = Metric(type="latency", slowdown=1.0)
DRIFT = Metric(type="drift")
UNITS = Metric(type="assignment", requests="units_total")
RATIO = Metric(type="ratio", requests="all_total", events="bad_total")
OUTAGE = ProviderError("PrometheusUnreachable", "connection refused")
MISSING = NoData("NoSeries", "there is no such series")
PASS, FAIL, INCONCLUSIVE, NO_DATA, PROVIDER_ERROR = Verdict


def sampling(*metrics: Metric, **fields: Any) -> Sampling:
    return Sampling(metrics, **fields)


# good and bad


def test_a_canary_that_is_as_good_passes() -> None:
    lines, decision = take_samples(sampling(ERRORS), "errors", rising(30, (1000, 5), (9000, 45)))
    assert decision == MetricsDecision(PASS, ("errors",))
    assert (lines["errors"].canary, lines["errors"].stable) == (0.005, 0.005)
    assert (lines["errors"].canary_requests, lines["errors"].stable_requests) == (30_000, 270_000)
    assert lines["errors"].needed == 0
    assert lines["errors"].low < 1.0 < (lines["errors"].high or math.inf)


def test_a_canary_that_is_worse_fails() -> None:
    lines, decision = take_samples(sampling(ERRORS), "errors", rising(5, (1000, 50), (9000, 45)))
    assert decision == MetricsDecision(FAIL, ("errors",))
    assert lines["errors"].ratio == pytest.approx(10.0, rel=0.2)


def test_in_between_it_says_how_many_requests_are_needed() -> None:
    lines, decision = take_samples(sampling(ERRORS), "errors", rising(2, (100, 1), (900, 9)))
    assert decision.verdict is INCONCLUSIVE
    needed = lines["errors"].needed
    assert needed is not None
    assert needed > 500
    assert (take_samples(sampling(ERRORS), "errors", rising(4, (100, 1), (900, 9)))[0]["errors"].needed or 0) < needed


# nothing is no evidence


def test_without_any_look_nothing_passes() -> None:
    for metric in (ERRORS, LATENCY, DRIFT, UNITS, RATIO):
        lines, decision = sampling(metric).judged()
        assert decision.verdict is NO_DATA
        assert lines[metric.full_name].verdict is NO_DATA


@pytest.mark.parametrize("trouble", [OUTAGE, MISSING])
@pytest.mark.parametrize("metric", [ERRORS, LATENCY, DRIFT, RATIO])
def test_trouble_neither_passes_nor_fails(metric: Metric, trouble: Any) -> None:
    verdict = PROVIDER_ERROR if trouble is OUTAGE else NO_DATA
    lines, decision = take_samples(sampling(metric), metric.full_name, [trouble] * 1000)
    assert decision.verdict is verdict
    assert lines[metric.full_name].message == trouble.message


@pytest.mark.parametrize("trouble", [OUTAGE, MISSING])
def test_trouble_takes_a_pass_away_as_long_as_it_lasts(trouble: Any) -> None:
    sampler = sampling(ERRORS)
    readings = rising(32, (1000, 5), (9000, 45))
    assert take_samples(sampler, "errors", readings[:31])[1].verdict is PASS
    assert take_samples(sampler, "errors", [trouble])[1].verdict is not PASS
    # counters that are read again after an outage say what was counted in it
    lines, decision = take_samples(sampler, "errors", readings[31:32])
    assert decision.verdict is PASS
    assert lines["errors"].canary_requests == 31_000


@pytest.mark.parametrize("trouble", [OUTAGE, MISSING])
def test_trouble_takes_no_failure_away(trouble: Any) -> None:
    sampler = sampling(ERRORS)
    assert take_samples(sampler, "errors", rising(5, (1000, 50), (9000, 45)))[1].verdict is FAIL
    assert take_samples(sampler, "errors", [trouble] * 10)[1].verdict is FAIL


def test_a_metric_that_the_source_says_nothing_of_is_missing() -> None:
    sampler = sampling(ERRORS)
    sampler.take_sample({})
    lines, decision = sampler.take_sample({})
    assert decision.verdict is NO_DATA
    assert lines["errors"].message


@pytest.mark.parametrize(
    ("canary", "stable", "arm"), [((0, 0), (9000, 45), "the canary"), ((1000, 5), (0, 0), "stable")]
)
def test_an_arm_that_nobody_asks_is_no_evidence(
    canary: tuple[float, float], stable: tuple[float, float], arm: str
) -> None:
    lines, decision = take_samples(sampling(ERRORS), "errors", rising(100, canary, stable))
    assert decision.verdict is NO_DATA
    assert lines["errors"].message == f"{arm} had no requests"


def test_counters_that_do_not_exist_are_missing_where_they_are_not_born_with_the_first_event() -> None:
    sampler = sampling(RATIO)
    readings = [counted((at * 1000.0, None), (at * 9000.0, None), born=False) for at in range(50)]
    assert take_samples(sampler, "ratio", readings)[1].verdict is NO_DATA
    born = [replace(reading, born=True) for reading in readings]
    assert take_samples(sampling(RATIO), "ratio", born)[1].verdict is PASS


# what counters do


def test_a_restart_loses_nothing_but_what_was_not_seen() -> None:
    sampler = sampling(ERRORS)
    take_samples(sampler, "errors", [counted((1000, 10), (9000, 90)), counted((50, 1), (18000, 180))])
    line = sampler.judged()[0]["errors"]
    assert (line.canary_requests, line.stable_requests) == (50, 9000)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1e300])
def test_values_that_cannot_be_are_no_data(value: float) -> None:
    sampler = sampling(ERRORS)
    lines, decision = take_samples(sampler, "errors", [counted((0, 0), (0, 0)), counted((value, 0), (9000, 90))])
    assert decision.verdict is NO_DATA
    assert lines["errors"].canary_requests == 0


def test_a_pod_that_is_new_counts_from_its_second_look_on() -> None:
    sampler = sampling(ERRORS)
    old = {"c-0": counters(100, 1)}
    both = {"c-0": counters(200, 2), "c-1": counters(500, 400)}
    later = {"c-0": counters(300, 3), "c-1": counters(600, 401)}
    for at, canary in enumerate((old, both, later)):
        sampler.sees(errors=CounterReading({"s-0": counters(9000 * at, 90 * at)}, canary))
    line = sampler.judged()[0]["errors"]
    assert line.canary_requests == 100 + 200


def test_a_tick_after_a_change_of_weights_begins_the_looks_anew_and_keeps_the_evidence() -> None:
    sampler = sampling(ERRORS)
    readings = rising(10, (1000, 5), (9000, 45))
    take_samples(sampler, "errors", readings[:6])
    assert (sampler.record.samples_at_weight, sampler.record.sample_count) == (5, 5)
    sampler.weight = 25
    take_samples(sampler, "errors", readings[6:])
    assert (sampler.record.samples_at_weight, sampler.record.sample_count) == (5, 10)
    assert sampler.judged()[0]["errors"].canary_requests == 10_000


# latency


def latencies(count: int, slow: float, start: int = 0) -> list[HistogramReading]:
    """Ticks of 1000 and 9000 requests, of which 5 % take over 0.1 s with stable and ``slow`` with the canary."""
    return [
        binned(
            [0, 1000 * at * (1 - slow), 1000 * at * slow, 0],
            [0, (10_000 + 9000 * at) * 0.95, (10_000 + 9000 * at) * 0.05, 0],
        )
        for at in range(start, start + count + 1)
    ]


def test_the_limit_of_latency_is_frozen_from_the_time_before() -> None:
    sampler = sampling(LATENCY)
    early = [binned([0] * 4, [0, 950 * at, 50 * at, 0]) for at in (100, 105)]
    sampler.prepare(*({"latency": reading} for reading in early))
    limit = sampler.record.metrics["latency"].limit
    assert limit is not None
    assert (limit.seconds, limit.share, limit.requests) == (0.1, pytest.approx(0.05), 5000)
    assert take_samples(sampler, "latency", latencies(30, 0.05))[1].verdict is PASS
    assert sampler.record.metrics["latency"].limit == limit
    assert sampler.judged()[0]["latency"].limit == "x2 > 100 ms"


@pytest.mark.parametrize(("slowdown", "verdict"), [(1.0, FAIL), (1.25, PASS)])
def test_a_version_may_be_so_much_slower(slowdown: float, verdict: Verdict) -> None:
    metric = Metric(type="latency", slowdown=slowdown)
    sampler = sampling(metric)
    early = [binned([0] * 4, [0, 950 * at, 50 * at, 0]) for at in (100, 200)]
    sampler.prepare(*({"latency": reading} for reading in early))
    lines, decision = take_samples(sampler, "latency", latencies(30, 0.15))  # none of them longer than 0.5 s
    assert decision.verdict is verdict
    assert lines["latency"].limit == ("x2 > 100 ms" if slowdown == 1.0 else "x2 > 100/500 ms")


def test_the_limit_is_of_the_time_before_and_not_of_all_time() -> None:
    sampler = sampling(LATENCY)
    slow, fast = [0, 0, 50_000, 50_000], [0, 57_000, 53_000, 50_000]
    sampler.prepare({"latency": binned([0] * 4, slow)}, {"latency": binned([0] * 4, fast)})
    limit = sampler.record.metrics["latency"].limit
    assert limit is not None
    assert limit.requests == 60_000


def test_without_memory_the_limit_is_of_all_that_the_pods_have_counted() -> None:
    sampler = sampling(LATENCY)
    sampler.prepare({"latency": binned([0] * 4, [0, 9500, 500, 0])})
    limit = sampler.record.metrics["latency"].limit
    assert limit is not None
    assert limit.requests == 10_000


def test_with_too_few_requests_before_the_run_the_limit_is_chosen_in_it() -> None:
    sampler = sampling(LATENCY)
    few = binned([0] * 4, [0, 950, 50, 0])
    sampler.prepare({"latency": few})
    assert sampler.record.metrics["latency"].limit is None
    lines, decision = take_samples(sampler, "latency", [few, binned([0, 10, 0, 0], [0, 997, 53, 0])])
    assert decision.verdict is NO_DATA
    assert "needs 60 requests of stable, there are 50" in lines["latency"].message
    lines, decision = take_samples(sampler, "latency", [binned([0, 100, 0, 0], [0, 1900, 100, 0])])
    assert decision.verdict is NO_DATA
    assert "was just chosen" in lines["latency"].message
    assert take_samples(sampler, "latency", latencies(30, 0.05))[1].verdict is PASS


def test_a_canary_that_is_slower_fails() -> None:
    sampler = sampling(LATENCY)
    sampler.prepare({"latency": latencies(0, 0.0)[0]})
    assert take_samples(sampler, "latency", latencies(10, 0.3))[1].verdict is FAIL


def test_a_load_that_makes_both_slower_is_nobodys_fault() -> None:
    sampler = sampling(LATENCY)
    sampler.prepare({"latency": latencies(0, 0.0)[0]})
    burdened = [binned([0, 700 * at, 300 * at, 0], [0, 9500 + 6300 * at, 500 + 2700 * at, 0]) for at in range(31)]
    assert take_samples(sampler, "latency", burdened)[1].verdict is PASS


def test_histograms_without_the_frozen_edge_are_no_data() -> None:
    sampler = sampling(LATENCY)
    sampler.prepare({"latency": latencies(0, 0.0)[0]})
    edges = (0.02, 0.2, 0.5, math.inf)
    readings = [binned([0, 1000 * at, 0, 0], [0, 9000 * at, 0, 0], edges) for at in range(30)]
    assert take_samples(sampler, "latency", readings)[1].verdict is NO_DATA


def test_a_frozen_limit_stays_through_a_restart() -> None:
    sampler = sampling(LATENCY, restarting=True)
    sampler.prepare({"latency": latencies(0, 0.0)[0]})
    limit = sampler.record.metrics["latency"].limit
    take_samples(sampler, "latency", latencies(3, 0.05))
    gathered = sampler.record.metrics["latency"]
    assert gathered.frozen == limit
    assert gathered.limit is not None and limit is not None
    assert gathered.limit.seconds == limit.seconds
    assert gathered.limit.share == pytest.approx(limit.share)


LADDER = (0.05, 0.1, 0.2, 0.4, 0.8, math.inf)
TRUE = (0.6, 0.25, 0.1, 0.05, 0.0, 0.0)
"""Of stable in the run; the quantile 0.95 is 0.2 s."""
TWICE = (0.5, 0.25, 0.15, 0.1, 0.0, 0.0)


def loaded(sampler: Sampling, before: Sequence[float], canary: Sequence[float], count: int) -> tuple[MetricResult, int]:
    """A run after another load, in ticks of 100 and 900 requests; what is said, and after how many ticks."""
    past = [10_000.0 * part for part in before]
    sampler.prepare({"latency": binned([0] * 6, past, LADDER)})
    for at in range(count + 1):
        stable = [old + 900 * at * part for old, part in zip(past, TRUE, strict=True)]
        line = sampler.sees(latency=binned([100 * at * part for part in canary], stable, LADDER))[0]["latency"]
        if line.verdict in (PASS, FAIL):
            return line, at
    return sampler.judged()[0]["latency"], count


BEFORE = {
    "right": TRUE,
    "too long": (0.1, 0.2, 0.3, 0.35, 0.05, 0.0),
    "too short": (0.96, 0.02, 0.01, 0.01, 0.0, 0.0),
}


@pytest.mark.parametrize(("canary", "verdict"), [(TRUE, PASS), (TWICE, FAIL)])
@pytest.mark.parametrize("load", BEFORE)
def test_a_limit_of_another_load_delays_no_decision(load: str, canary: Sequence[float], verdict: Verdict) -> None:
    sampler = sampling(LATENCY)
    line, spent = loaded(sampler, BEFORE[load], canary, 60)
    baseline = loaded(sampling(LATENCY), TRUE, canary, 60)[1]
    assert line.verdict is verdict
    assert line.limit == "x2 > 200 ms"
    assert spent <= 2 * baseline
    frozen = sampler.record.metrics["latency"].frozen
    assert frozen is not None
    assert frozen.seconds == {"right": 0.2, "too long": 0.4, "too short": 0.05}[load]


def test_what_is_counted_at_a_limit_from_before_the_run_only_speaks_against_a_canary() -> None:
    """At a limit that is far too short a canary that is twice as slow looks good."""
    sampler = sampling(LATENCY)
    line, _ = loaded(sampler, BEFORE["too short"], TWICE, 1)
    assert line.limit == "x2 > 50 ms"
    ratio = sampler.record.metrics["latency"].ratio
    assert ratio is not None
    assert ratio.samples == 1
    assert set(ratio.good) == {0.0}
    assert any(ratio.bad)


def test_while_it_bakes_the_limit_stays() -> None:
    sampler = sampling(LATENCY)
    loaded(sampler, BEFORE["too short"], TRUE, 3)
    before = sampler.record
    idle = [50_000.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    for at in range(4):
        readings = {"latency": binned([9000.0 * at * part for part in TRUE], [count * at for count in idle], LADDER)}
        sampler.weight = 95
        if at:
            sampler.take_sample(readings, baking=True)
        else:
            sampler.windows = {}
            sampler.read(readings)
    evidence = sampler.record.metrics["latency"]
    assert evidence.limit is not None
    assert (evidence.limit.seconds, evidence.recent) == (0.2, before.metrics["latency"].recent)


ROWS = st.lists(st.integers(0, 500), min_size=6, max_size=6)


@given(st.sampled_from(sorted(BEFORE)), st.lists(st.tuples(ROWS, ROWS), min_size=1, max_size=6), ROWS, ROWS)
@settings(max_examples=100, deadline=None)
def test_the_limit_of_a_tick_is_known_before_the_tick_and_knows_nothing_of_the_canary(
    load: str, rows: list[tuple[list[int], list[int]]], canary: list[int], stable: list[int]
) -> None:
    """What the chances of error rest on: whatever a tick brings, the limit that it is counted at is the same."""

    def limits(ticks: list[tuple[list[int], list[int]]]) -> list[float | None]:
        sampler, seconds = sampling(LATENCY), []
        ours, theirs = [0.0] * 6, [10_000.0 * part for part in BEFORE[load]]
        sampler.prepare({"latency": binned(ours, theirs, LADDER)})
        sampler.sees(latency=binned(ours, theirs, LADDER))
        for mine, stable_rows in ticks:
            ours = [total + more for total, more in zip(ours, mine, strict=True)]
            theirs = [total + more for total, more in zip(theirs, stable_rows, strict=True)]
            sampler.sees(latency=binned(ours, theirs, LADDER))
            limit = sampler.record.metrics["latency"].limit
            seconds.append(limit.seconds if limit else None)
        return seconds

    busy = [([1 + count for count in mine], [1 + count for count in stable_rows]) for mine, stable_rows in rows]
    other_canary = [([1 + count for count in canary], theirs) for _, theirs in busy]
    assert limits(busy) == limits(other_canary)
    last = (busy[-1][0], [1 + count for count in stable])
    assert limits(busy) == limits([*busy[:-1], last])


# dispersion


def bursts(pods: int, ticks_: int) -> list[dict[str, Reading]]:
    """A history in which errors come in bursts, one pod after the other."""
    history: list[dict[str, Reading]] = []
    for at in range(ticks_ + 1):
        events = [sum(20.0 for tick in range(at) if tick % pods == pod) for pod in range(pods)]
        history.append(
            {"errors": CounterReading({f"s-{pod}": counters(1000.0 * at, events[pod]) for pod in range(pods)}, {})}
        )
    return history


def test_bursts_of_single_pods_are_measured_where_there_are_two() -> None:
    sampler = sampling(ERRORS)
    sampler.prepare(*bursts(2, 60))
    assert sampler.record.metrics["errors"].phi == pytest.approx(20.0)
    sampler = sampling(ERRORS)
    sampler.prepare(*bursts(1, 60))
    assert sampler.record.metrics["errors"].phi == 1.0


def test_a_dispersion_that_is_given_is_not_measured() -> None:
    sampler = sampling(ERRORS)
    sampler.prepare(*bursts(2, 60), dispersion=3.0)
    assert sampler.record.metrics["errors"].phi == 3.0


def test_a_short_history_measures_nothing() -> None:
    sampler = sampling(ERRORS)
    sampler.prepare(*bursts(2, 20))
    assert sampler.record.metrics["errors"].phi == 1.0


def test_bursts_take_more_evidence() -> None:
    readings = rising(30, (1000, 5), (9000, 45))
    calm, bursty = sampling(ERRORS), sampling(ERRORS)
    calm.prepare(dispersion=1.0)
    bursty.prepare(dispersion=20.0)
    assert take_samples(calm, "errors", readings)[1].verdict is PASS
    assert take_samples(bursty, "errors", readings)[1].verdict is INCONCLUSIVE


@pytest.mark.parametrize("trouble", [OUTAGE, MISSING])
def test_a_history_that_cannot_be_read_prepares_nothing(trouble: Any) -> None:
    sampler = sampling(*DEFAULT_METRICS)
    sampler.prepare(*[every(DEFAULT_METRICS, trouble)] * 50)
    assert sampler.record.prepared is (trouble is MISSING)
    assert all(evidence.phi == 1.0 and evidence.limit is None for evidence in sampler.record.metrics.values())
    lines, _ = sampler.judged()
    prepared = [line for line in lines.values() if line.type != "drift"]  # of it nothing is measured before
    assert [OUTAGE.message in line.message for line in prepared] == [trouble is OUTAGE] * len(prepared)


def test_what_was_measured_at_last_is_missed_no_more() -> None:
    sampler = sampling(ERRORS)
    sampler.prepare({"errors": OUTAGE}, bursts(2, 0)[0])
    assert not sampler.record.prepared
    assert sampler.judged()[0]["errors"].message == "dispersion was not measured before the run: connection refused"
    sampler.prepare(*bursts(2, 60))
    assert sampler.record.prepared
    assert sampler.record.metrics["errors"].phi == pytest.approx(20.0)
    assert not sampler.judged()[0]["errors"].message


def test_what_is_given_need_not_be_read() -> None:
    sampler = sampling(ERRORS)
    sampler.prepare({"errors": OUTAGE}, dispersion=2.0)
    assert sampler.record.prepared
    latency = sampling(LATENCY)
    latency.prepare({"latency": OUTAGE}, dispersion=2.0)
    assert not latency.record.prepared


# drift


def rows(count: int, canary: list[float], stable: list[float]) -> list[HistogramReading]:
    return [binned([at * row for row in canary], [at * row for row in stable]) for at in range(count + 1)]


def test_predictions_that_drift_fail_and_others_pass() -> None:
    alike = rows(20, [10, 20, 40, 30], [90, 180, 360, 270])
    apart = rows(20, [40, 30, 20, 10], [90, 180, 360, 270])
    lines, decision = take_samples(sampling(DRIFT), "drift", alike)
    assert decision.verdict is PASS
    assert lines["drift"].canary_requests == 2000
    lines, decision = take_samples(sampling(DRIFT), "drift", apart)
    assert decision.verdict is FAIL
    assert (lines["drift"].canary or 0.0) > 0.1


def test_other_bins_than_before_are_no_evidence() -> None:
    sampler = sampling(DRIFT)
    take_samples(sampler, "drift", rows(20, [10, 20, 40, 30], [90, 180, 360, 270]))
    evidence = sampler.record.metrics["drift"].drift
    edges = (0.5, 1.0, math.inf)
    readings = [binned([0, at * 100, 0], [at * 900, 0, 0], edges) for at in range(1, 20)]
    lines, decision = take_samples(sampler, "drift", readings)
    assert decision.verdict is NO_DATA
    assert "other bins" in lines["drift"].message
    assert sampler.record.metrics["drift"].drift == evidence


def test_a_pod_whose_bins_change_between_two_looks_is_left_out() -> None:
    sampler = sampling(DRIFT)
    sampler.sees(drift=HistogramReading({"s-0": {"": histogram([1] * 4)}}, {"c-0": {"": histogram([1] * 4)}}))
    edges = (0.07, 0.2, 0.6, math.inf)
    sampler.sees(
        drift=HistogramReading({"s-0": {"": histogram([9] * 4, edges)}}, {"c-0": {"": histogram([9] * 4, edges)}})
    )
    assert sampler.record.metrics["drift"].drift is None


def test_arms_with_different_bins_are_not_compared() -> None:
    sampler = sampling(DRIFT)
    for at in (1, 2):
        sampler.sees(
            drift=HistogramReading(
                {"s-0": {"": histogram([at] * 3, (1.0, 2.0, math.inf))}}, {"c-0": {"": histogram([at] * 4)}}
            )
        )
    assert "different bins" in sampler.judged()[0]["drift"].message


# units


def test_units_that_fall_wrongly_keep_a_canary_from_passing_and_not_from_failing() -> None:
    def units(canary: float, at: int) -> CounterReading:
        return counted((canary * at, None), (900 * at, None))

    for rate, wrong, right in ((5, INCONCLUSIVE, PASS), (50, FAIL, FAIL)):
        for canary, verdict in ((300, wrong), (100, right)):
            sampler = sampling(ERRORS, UNITS)
            for at, reading in enumerate(rising(30, (1000, rate), (9000, 45))):
                lines, decision = sampler.sees(errors=reading, assignment=units(canary, at))
            assert decision.verdict is verdict
            assert lines["assignment"].verdict is (PASS if canary == 100 else FAIL)


def test_units_that_cannot_be_counted_keep_nobody() -> None:
    sampler = sampling(ERRORS, UNITS)
    for reading in rising(30, (1000, 5), (9000, 45)):
        decision = sampler.sees(errors=reading, assignment=OUTAGE)[1]
    assert decision.verdict is PASS


# alone


def baking(readings: list[Reading], *metrics: Metric) -> MetricsDecision:
    """What is known of a canary that has passed and then has everything."""
    sampler = sampling(*metrics)
    for reading in rising(30, (1000, 5), (9000, 45)):
        sampler.take_sample({metric.full_name: reading for metric in metrics})
    sampler.weight, sampler.before = 100, None
    for reading in readings:
        sampler.take_sample({metric.full_name: reading for metric in metrics})
    return sampler.judged()[1]


def alone(count: int, requests: float, events: float) -> list[Reading]:
    """Stable is not there any more."""
    return [CounterReading({}, {"c-0": counters(at * requests, at * events)}) for at in range(count + 1)]


def test_a_canary_that_is_alone_is_held_against_what_nobody_would_mind_and_what_stable_had() -> None:
    assert baking(alone(30, 10_000, 50), ERRORS).verdict is PASS
    assert baking(alone(30, 10_000, 90), ERRORS).verdict is PASS
    assert baking(alone(30, 10_000, 500), ERRORS).verdict is FAIL


def test_an_outage_while_it_is_alone_fails_nobody() -> None:
    assert baking([OUTAGE] * 100, ERRORS).verdict is PROVIDER_ERROR
    assert baking([MISSING] * 100, ERRORS).verdict is NO_DATA


def test_nobody_misses_predictions_of_a_stable_that_has_nothing_to_predict() -> None:
    """Even where a metric without data is to fail."""
    sampler = sampling(msgspec.structs.replace(DRIFT, no_data="fail"))
    assert take_samples(sampler, "drift", rows(20, [10, 20, 40, 30], [90, 180, 360, 270]))[1].verdict is PASS
    sampler.weight, sampler.before = 100, None
    for at in range(5):
        decision = sampler.sees(drift=HistogramReading({}, {"c-0": {"": histogram([at * 10] * 4)}}))[1]
    assert decision.verdict is PASS


# whatever is read

VALUES = st.one_of(
    st.integers(0, 10**6).map(float), st.sampled_from([math.nan, math.inf, -1.0, 1e300, 2.0**63, 0.5, 0.0])
)
SERIES = st.dictionaries(st.sampled_from(["", "a", "b"]), VALUES, max_size=2)
SCRAPES = st.dictionaries(st.sampled_from(["t-0", "t-1"]), st.builds(Counters, SERIES, SERIES), max_size=2)
BUCKETS = st.dictionaries(st.sampled_from([0.1, 0.5, 1.0, math.inf]), VALUES, max_size=4)
HISTOGRAMS = st.dictionaries(
    st.sampled_from(["t-0", "t-1"]), st.dictionaries(st.sampled_from(["", "a"]), BUCKETS, max_size=2), max_size=2
)
READINGS: st.SearchStrategy[Reading] = st.one_of(
    st.builds(CounterReading, SCRAPES, SCRAPES, st.booleans()),
    st.builds(HistogramReading, HISTOGRAMS, HISTOGRAMS),
    st.sampled_from([OUTAGE, MISSING]),
)
ALL = (
    ERRORS,
    LATENCY,
    Metric(type="latency", name="median", quantile=0.51, floor=0.3),
    DRIFT,
    UNITS,
    RATIO,
    Metric(type="ratio", name="none", requests="a", events="b", floor=0.0, margin=1.0001),
    Metric(type="errors", name="strict", where="pods", floor=0.999, margin=100.0, min_requests=10**9),
)
WORLDS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 10, 99, 100]),
        st.dictionaries(st.sampled_from([metric.full_name for metric in ALL]), READINGS, max_size=len(ALL)),
    ),
    max_size=6,
)


@given(WORLDS, st.lists(st.dictionaries(st.sampled_from([metric.full_name for metric in ALL]), READINGS), max_size=4))
@settings(max_examples=200, deadline=None)
def test_whatever_is_read_is_judged_and_kept(
    worlds: list[tuple[int, dict[str, Reading]]], history: list[dict[str, Reading]]
) -> None:
    going, restarting = sampling(*ALL), sampling(*ALL, restarting=True)
    going.prepare(*history)
    restarting.prepare(*history)
    restarting.record = stored(restarting.record)
    for weight, readings in worlds:
        going.weight = restarting.weight = weight
        lines, decision = going.take_sample(readings)
        assert restarting.take_sample(readings) == (lines, decision)
        assert restarting.record == going.record == stored(going.record)
        shown = [value for line in lines.values() for value in (line.canary, line.stable, line.low, line.high)]
        assert all(value is None or math.isfinite(value) for value in shown)
        for name, line in lines.items():
            if line.verdict is PASS:
                assert line.canary_requests > 0, name
    if not any(sample.counts for sample in going.record.samples):
        assert going.judged()[1].verdict not in (PASS, FAIL)


COUNTS = st.tuples(st.integers(0, 10**5), st.floats(0, 1), st.integers(0, 10**5), st.floats(0, 1))


@given(st.lists(COUNTS | st.sampled_from([OUTAGE, MISSING]), min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_no_trouble_ever_makes_a_canary_fail(ticks: list[Any]) -> None:
    """What fails, fails by what was counted: without the troubled ticks it fails as well."""
    total = [0.0] * 4
    readings: list[tuple[Reading, Reading]] = []
    for tick in ticks:
        if isinstance(tick, ProviderError | NoData):
            readings.append((tick, tick))
            continue
        before = counted((total[0], total[1]), (total[2], total[3]))
        canary, bad, stable, worse = tick
        total = [total[0] + canary, total[1] + int(canary * bad), total[2] + stable, total[3] + int(stable * worse)]
        readings.append((before, counted((total[0], total[1]), (total[2], total[3]))))
    verdicts = []
    for pairs in (readings, [pair for pair in readings if isinstance(pair[1], CounterReading)]):
        record = EMPTY
        for before_, after in pairs:
            record = gathered((ERRORS,), record, {"errors": before_}, {"errors": after}, now=0.0, weight=10)
        sampler = sampling(ERRORS, record=record)
        verdicts.append(sampler.judged()[1].verdict)
    assert (verdicts[0] is FAIL) == (verdicts[1] is FAIL)


def test_a_record_keeps_its_last_samples() -> None:
    sampler = sampling(ERRORS)
    for reading in itertools.islice(itertools.cycle(rising(1, (1, 0), (1, 0))), MAX_SAMPLES + 10):
        sampler.take_sample({"errors": reading})
    assert len(sampler.record.samples) == MAX_SAMPLES
    assert sampler.record.samples[-1].at == sampler.now


@pytest.mark.parametrize(
    ("share", "pods", "verdict"),
    [
        (None, (9, 81), FAIL),  # nobody knows who asked
        (0.4, (9, 81), FAIL),
        (0.9, (9, 81), INCONCLUSIVE),  # the pods count at most half from one client, and then it is no failure
        (0.9, (200, 20), FAIL),
    ],
)
def test_one_client_alone_fails_no_canary_at_the_gateway(
    share: float | None, pods: tuple[float, float], verdict: Verdict
) -> None:
    in_pods = Metric(type="errors", where="pods")
    sampler = sampling(ERRORS, in_pods)
    for at in range(4):
        sampler.sees(
            errors=counted((1000 * at, 50 * at), (9000 * at, 45 * at)),
            errors_in_pods=counted((1000 * at, pods[0] * at), (9000 * at, pods[1] * at)),
        )
    evidence = msgspec.structs.replace(sampler.record.metrics["errors-in-pods"], client_share=share)
    sampler.record = msgspec.structs.replace(
        sampler.record, metrics={**sampler.record.metrics, "errors-in-pods": evidence}
    )
    assert sampler.judged()[1].verdict is verdict
