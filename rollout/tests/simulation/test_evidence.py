"""Many rollouts say at each tick what one says by the analysis that real ones are judged by."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.gather import gather
from tandem_rollout.analysis.judge import judge
from tandem_rollout.analysis.latency import Limit, freeze
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Reading, Readings
from tandem_rollout.analysis.record import MetricEvidence, Record
from tandem_rollout.analysis.verdict import ProviderError, Verdict
from tandem_rollout.analysis.window import ROUTE_DELAY_S, CountWindow, extend_window
from tandem_rollout.api.analysis import Metric
from tandem_rollout.simulation.drifts import Drifts
from tandem_rollout.simulation.evidence import VERDICTS, Ratios
from tandem_rollout.simulation.latencies import Latencies
from tandem_rollout.simulation.outage import ABSENT, SEEN
from tandem_rollout.simulation.traffic import Times

LIMIT = Limit(0.1, 0.1, 0.05, 5000.0)
ALL = np.array([True])


def reading(metric: Metric, totals: list[float], bins: list[list[float]], trouble: int) -> Reading:
    """What a source reads of counters with these totals: canary's requests and events, stable's."""
    if trouble != SEEN:
        return (
            NoData("NoSeries", "no series") if trouble == ABSENT else ProviderError("PrometheusUnreachable", "refused")
        )
    if metric.type == "drift":
        ours, theirs = ({"pod": {"": _cumulative(counts)}} for counts in bins)
        return HistogramReading(stable=theirs, canary=ours)
    if metric.type == "latency":
        canary, stable = (
            {"pod": {"": {0.1: totals[at] - totals[at + 1], math.inf: totals[at]}}} for at in (0, 2)
        )  # fmt: skip
        return HistogramReading(stable=stable, canary=canary)
    canary, stable = (Counters({"r": totals[at]}, {"e": totals[at + 1]}) for at in (0, 2))
    return CounterReading(stable={"pod": stable}, canary={"pod": canary})


def _cumulative(rows: list[float]) -> dict[float, float]:
    edges = [*map(float, range(len(rows) - 1)), math.inf]
    return dict(zip(edges, np.cumsum(rows).tolist(), strict=True))


INTERVAL = 10.0


class Pending:
    """What many rollouts are told in one look, as a fleet gathers it: with what earlier looks did not see.

    Attributes:
        counts: Counts of a tick, with what was not taken before.
        bounds: Least and greatest share of the canary in them.
    """

    def __init__(self, *counts: Any) -> None:
        self.counts = [np.zeros_like(np.asarray(part, np.float64)) for part in counts]
        self.bounds = (0.0, 0.0)
        self._taken = True

    def tick(self, share: float, *more: Any) -> tuple[Any, Any]:
        """One more tick; least and greatest share."""
        low, high = self.bounds
        self.bounds = (min(low, share), max(high, share))
        if self._taken:
            self.counts = [np.zeros_like(part) for part in self.counts]
        self.counts = [total + np.asarray(part, np.float64) for total, part in zip(self.counts, more, strict=True)]
        self._taken = False
        return tuple(np.array([bound]) for bound in self.bounds)

    def seen(self, share: float, has_evidence: bool) -> None:
        """Whether evidence was taken from it."""
        if has_evidence:
            self._taken, self.bounds = True, (share, share)


class One:
    """One rollout by the analysis."""

    def __init__(self, metric: Metric, phi: float) -> None:
        self.metric = metric
        limit = LIMIT if metric.type == "latency" else None
        self.record = Record(
            run=1,
            plan="",
            prepared=True,
            metrics={metric.full_name: MetricEvidence(limit=limit, frozen=limit, phi=phi)},
        )
        self.totals, self.bins = [0.0] * 4, [[0.0] * 5, [0.0] * 5]
        self.now, self.weight, self.earlier = 0.0, 0, dict[int, float]()
        self.windows = {metric.full_name: extend_window(CountWindow(), self._read(SEEN)[metric.full_name], 0.0)}

    def tick(
        self, counts: list[float], rows: list[list[float]], trouble: int, weight: int, *, baking: bool = False
    ) -> Verdict:
        self.totals = [total + more for total, more in zip(self.totals, counts, strict=True)]
        self.bins = [[a + b for a, b in zip(arm, new, strict=True)] for arm, new in zip(self.bins, rows, strict=True)]
        after = self._read(trouble)
        if weight != self.weight:
            self.earlier[self.weight], self.weight = self.now + ROUTE_DELAY_S, weight
        self.now += INTERVAL
        self.windows = {name: extend_window(window, after[name], self.now) for name, window in self.windows.items()}
        self.record, self.windows = gather(
            [self.metric], self.record, self.windows, now=self.now, weight=weight, earlier=self.earlier, baking=baking
        )
        lines, _ = judge([self.metric], self.record)
        return lines[0].verdict

    def _read(self, trouble: int) -> Readings:
        return {self.metric.full_name: reading(self.metric, self.totals, self.bins, trouble)}


METRICS = [
    Metric(type="errors"),
    Metric(type="errors", margin=1.5, floor=0.0, min_requests=300, alpha=0.05, beta=0.05),
    Metric(type="latency", beta=0.05),
    Metric(type="degraded", floor=0.02),
]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(METRICS),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.3, 1.0, 1.7, 6.0]),
    st.sampled_from([0.0, 0.002, 0.05]),
    st.sampled_from([1.0, 1.7]),
    st.integers(20, 60),
    st.sampled_from([95, 100]),
)
@example(METRICS[2], 0, 1.7, 0.05, 1.0, 24, 95)  # slow and not slower than stable was, and then nothing to count
def test_ratios_of_rates_tick_by_tick(
    metric: Metric, seed: int, ratio: float, rate: float, phi: float, ticks: int, last: int
) -> None:
    random = np.random.default_rng(seed)
    reference, many = One(metric, phi), Ratios(metric, 1, gates=1, phi=np.array([phi]))
    pending = Pending(0.0, 0.0, 0.0, 0.0)
    for number in range(ticks):
        bakes = number >= ticks - 10
        weight = 10 if number < ticks // 2 else 50 if not bakes else last
        n_c = float(random.poisson(weight * 2 if random.random() < 0.9 else 0))
        n_s = float(random.poisson(200 - weight * 2))
        k_c, k_s = float(random.binomial(int(n_c), min(rate * ratio, 1))), float(random.binomial(int(n_s), rate))
        trouble = int(random.choice([0, 0, 0, 0, 0, 0, 1, 2]))
        verdict = reference.tick([n_c, k_c, n_s, k_s], reference.bins, trouble, weight, baking=bakes)
        code = np.array([trouble], np.int8)
        bounds = pending.tick(weight / 100, n_c, k_c, n_s, k_s)
        canary, events, stable, stable_events = (part.reshape(1) for part in pending.counts)
        if weight < 100:
            mask = many.add(ALL, code, canary, events, stable, stable_events, baking=np.array([bakes]), bounds=bounds)
        else:
            mask = many.add_alone(ALL, code, canary, events)
        pending.seen(weight / 100, bool(mask[0]))
        assert VERDICTS[int(many.codes()[0])] is verdict


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.2, 1.0, 2.0, 5.0]),
    st.sampled_from([1.0, 1.3, 3.0]),
    st.sampled_from([1.0, 1.25]),
    st.sampled_from([20, 200]),
    st.integers(5, 40),
)
@example(4, 0.2, 1.0, 1.0, 200, 6)  # nothing can be read in the tick before the bake
def test_latencies_tick_by_tick(
    seed: int, load: float, slower: float, slowdown: float, requests: int, ticks: int
) -> None:
    """Limits that are chosen in the run, from stable's requests, and what is counted at them."""
    random = np.random.default_rng(seed)
    metric = Metric(type="latency", slowdown=slowdown)
    edges = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)

    def buckets(median: float) -> tuple[float, ...]:
        below = [0.5 * (1.0 + math.erf(math.log(edge / median) / 0.7)) for edge in edges]
        return tuple(np.diff([0.0, *below, 1.0]).tolist())

    times = Times(edges, buckets(0.1), buckets(0.1 * slower), buckets(0.1 * load))
    frozen = freeze(_seconds(edges, [1e4 * part for part in times.before]), 0.95, slowdown)
    limit = frozen if isinstance(frozen, Limit) else None
    gathered = MetricEvidence(limit=limit, frozen=limit)
    record = Record(run=1, plan="", prepared=True, metrics={metric.full_name: gathered})
    many = Latencies(metric, 1, gates=1, times=times)
    totals = np.zeros((2, len(edges) + 1))
    windows = {
        metric.full_name: extend_window(CountWindow(), _timed(metric, edges, totals, SEEN)[metric.full_name], 0.0)
    }
    earlier, weight, pending = dict[int, float](), 0, Pending(totals[0], totals[1])
    for number in range(ticks):
        bakes = number >= ticks - 4
        share = 0.95 if bakes else 0.1 if number < ticks // 2 else 0.5
        sizes = random.poisson((requests * share, requests * (1.0 - share)))
        rows = [random.multinomial(n, part) * 1.0 for n, part in zip(sizes, (times.canary, times.stable), strict=True)]
        totals = totals + np.array(rows)
        trouble = int(random.choice([0, 0, 0, 0, 0, 0, 1, 2]))
        if round(100 * share) != weight:
            earlier[weight], weight = INTERVAL * number + ROUTE_DELAY_S, round(100 * share)
        now = INTERVAL * (number + 1)
        after = _timed(metric, edges, totals, trouble)[metric.full_name]
        windows = {metric.full_name: extend_window(windows[metric.full_name], after, now)}
        record, windows = gather([metric], record, windows, now=now, weight=weight, earlier=earlier, baking=bakes)
        bounds = pending.tick(share, *rows)
        ours, theirs = (part[None] for part in pending.counts)
        code = np.array([trouble], np.int8)
        many.add_times(ALL, code, ours, theirs, baking=np.array([bakes]), bounds=bounds)
        has_requests = ours.any() and theirs.any()
        pending.seen(share, trouble == SEEN and bool(has_requests or bounds[0] < bounds[1]))
        line = judge([metric], record)[0][0]
        assert VERDICTS[int(many.codes()[0])] is line.verdict


def _seconds(edges: tuple[float, ...], rows: list[float]) -> dict[float, float]:
    return dict(zip((*edges, math.inf), np.cumsum(rows).tolist(), strict=True))


def _timed(metric: Metric, edges: tuple[float, ...], totals: Any, trouble: int) -> Readings:
    if trouble != SEEN:
        return {
            metric.full_name: NoData("NoSeries", "no series")
            if trouble == ABSENT
            else ProviderError("PrometheusUnreachable", "refused")
        }
    ours, theirs = ({"pod": {"": _seconds(edges, rows.tolist())}} for rows in totals)
    return {metric.full_name: HistogramReading(stable=theirs, canary=ours)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.2, 0.8]), st.integers(10, 40))
def test_drift_tick_by_tick(seed: int, tilt: float, ticks: int) -> None:
    random = np.random.default_rng(seed)
    metric = Metric(type="drift", min_requests=300)
    reference, many = One(metric, 1.0), Drifts(metric, 1, gates=1, bins=5)
    weights = np.exp(tilt * np.arange(5))
    pending = Pending([0.0] * 5, [0.0] * 5)
    for number in range(ticks):
        share = 0.1 if number < ticks // 2 else 0.4
        ours = random.multinomial(random.poisson(200 * share), weights / weights.sum()) * 1.0
        theirs = random.multinomial(random.poisson(200 * (1 - share)), [0.2] * 5) * 1.0
        trouble = int(random.choice([0, 0, 0, 0, 0, 1, 2]))
        verdict = reference.tick([0.0] * 4, [ours.tolist(), theirs.tolist()], trouble, round(100 * share))
        low, high = pending.tick(share, ours, theirs)
        mask = (low < high) & (trouble == SEEN)
        many.add(~mask, np.array([trouble], np.int8), *(part[None] for part in pending.counts))
        pending.seen(share, trouble == SEEN)
        assert VERDICTS[int(many.codes()[0])] is verdict


def test_rollouts_do_not_touch_each_other() -> None:
    metric = Metric(type="errors")
    many = Ratios(metric, 3, gates=1)
    codes = np.zeros(3, np.int8)
    canary, stable, stable_events = np.full(3, 8000.0), np.full(3, 72_000.0), np.full(3, 360.0)
    many.add(np.array([True, True, False]), codes, canary, np.array([40.0, 180.0, 180.0]), stable, stable_events)
    verdicts = [VERDICTS[code] for code in many.codes()]
    assert verdicts == [Verdict.PASS, Verdict.FAIL, Verdict.NO_DATA]
    many.keep(np.array([False, True, True]))
    assert [VERDICTS[code] for code in many.codes()] == verdicts[1:]


@pytest.mark.parametrize(("gates", "verdict"), [(1, Verdict.FAIL), (100, Verdict.INCONCLUSIVE)])
def test_more_gates_raise_the_threshold_of_rollback(gates: int, verdict: Verdict) -> None:
    many = Ratios(Metric(type="errors"), 1, gates=gates)
    many.add(ALL, np.zeros(1, np.int8), *(np.array([count]) for count in (100.0, 8.0, 900.0, 9.0)))
    assert VERDICTS[int(many.codes()[0])] is verdict
