"""Estimates of a run: the requests and minutes until its metrics pass or fail."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tandem_cli.rollout.output.documents.plan import PlannedMetric
from tandem_cli.rollout.training_predictions import ExpectedDistance
from tandem_rollout.analysis import eta
from tandem_rollout.analysis.distance_evidence import information_to_decide
from tandem_rollout.analysis.gather_rates import ratio_test
from tandem_rollout.analysis.record import MetricEvidence, Record
from tandem_rollout.api.analysis import MIN_ROWS, Analysis, Metric
from tandem_rollout.api.fields import seconds
from tandem_rollout.engine.schedule import Schedule

ASSUMED_RATE: Final = 0.001
"""Rate of events, if it was neither given nor measured."""

_ASSUMED_SHARE: Final = 0.5
"""Share of the requests to the canary, if no step has a weight."""

_ASSUMED_BINS: Final = 10
"""Buckets with predictions, if they are not known."""

_FAR: Final = 2.0
"""A distance of this many times the limit is that of a version that must fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficAssumptions:
    """The traffic that the estimates assume.

    Attributes:
        requests_per_second: Requests per second to both versions together; None to take them from the record.
        error_rate: Rate of errors of stable; None to take it from the record.
        record: Evidence of an earlier run; None without one.
        distance: Expected distance of the predictions; None if it is not known.
    """

    requests_per_second: float | None = None
    error_rate: float | None = None
    record: Record | None = None
    distance: ExpectedDistance | None = None

    @property
    def rps(self) -> float | None:
        """Requests per second, given or measured; None if neither."""
        return self.requests_per_second if self.requests_per_second is not None else self.measured

    @property
    def measured(self) -> float | None:
        """Requests per second in the earlier run; None if they are not known."""
        samples = self.record.samples if self.record else ()
        totals = [
            (before.at, now.at, requests)
            for before, now in itertools.pairwise(samples)
            if (requests := _requests(now.counts, self.record)) is not None and now.at > before.at
        ]
        spent = math.fsum(now - before for before, now, _ in totals)
        return math.fsum(requests for _, _, requests in totals) / spent if spent > 0 else None

    def rate(self, metric: Metric) -> tuple[float, str] | None:
        """Rate of stable and where it comes from; None for metrics without rates."""
        if metric.type in ("drift", "assignment"):
            return None
        limit = self._gathered(metric).limit
        if metric.type == "latency":
            return (limit.share, "measured") if limit is not None else (1.0 - metric.quantile, "quantile")
        if metric.type == "errors" and self.error_rate is not None:
            return self.error_rate, "given"
        evidence = self._gathered(metric).ratio
        if evidence is not None and evidence.stable_requests:
            return min(evidence.stable_events / evidence.stable_requests, 0.999), "measured"
        return ASSUMED_RATE, "assumed"

    def dispersion(self, metric: Metric, analysis: Analysis) -> float:
        """Dispersion of the events of a metric."""
        return analysis.dispersion if analysis.dispersion is not None else self._gathered(metric).phi

    def _gathered(self, metric: Metric) -> MetricEvidence:
        return (self.record.metrics.get(metric.full_name) if self.record else None) or MetricEvidence()


def estimate_run(
    schedule: Schedule, analysis: Analysis, traffic: TrafficAssumptions
) -> tuple[list[PlannedMetric], float | None]:
    """Estimate what the metrics need, and how many minutes a good version takes; None if that is not known.

    Args:
        schedule: The schedule.
        analysis: The analysis.
        traffic: The assumed traffic.
    """
    rps = traffic.rps
    weight = schedule.steps[-1].weight if schedule.steps else 0
    metrics = _metrics(analysis, traffic, rps, weight / 100.0 if weight else _ASSUMED_SHARE)
    return metrics, _minutes(schedule, analysis, metrics, rps) if weight else None


def _metrics(analysis: Analysis, traffic: TrafficAssumptions, rps: float | None, share: float) -> list[PlannedMetric]:
    # the error of a rollback is divided among the metrics that can cause one
    gates = max(sum(metric.gate and metric.type != "assignment" for metric in analysis.all_metrics), 1)
    return [_metric(metric, analysis, traffic, rps, share, gates) for metric in analysis.all_metrics]


def _metric(
    metric: Metric, analysis: Analysis, traffic: TrafficAssumptions, rps: float | None, share: float, gates: int
) -> PlannedMetric:
    rate, rate_from = traffic.rate(metric) or (None, None)
    to_pass, to_fail = math.inf, math.inf
    if metric.type == "drift":
        to_pass, to_fail = _rows(metric, traffic, share, gates)
    if rate is not None:
        test = ratio_test(metric, traffic.dispersion(metric, analysis))
        to_pass = max(eta.to_promotion(test, rate=rate, share=share), metric.min_requests)
        to_fail = eta.to_rollback(test, rate=rate, share=share, ratio=metric.margin, metrics=gates)
    return PlannedMetric(
        name=metric.full_name,
        type=metric.type,
        gate=metric.gate and metric.type != "assignment",
        margin=metric.margin if rate is not None else None,
        floor=metric.effective_floor if rate is not None else None,
        limit=metric.limit if metric.type == "drift" else None,
        distance=traffic.distance.distance if metric.type == "drift" and traffic.distance else None,
        alpha=metric.alpha,
        beta=metric.beta,
        rate=rate,
        rate_from=rate_from,
        to_pass=_whole(to_pass),
        to_pass_minutes=_time(to_pass, rps, share),
        to_fail=_whole(to_fail),
        to_fail_minutes=_time(to_fail, rps, share),
    )


def _rows(metric: Metric, traffic: TrafficAssumptions, share: float, gates: int) -> tuple[float, float]:
    """Rows of the canary until drift passes, and until it fails.

    With an expected distance only one of them is finite; else they are those of a version at distance 0, and of one
    far beyond the limit.
    """
    expected = traffic.distance
    freedom = float(max((expected.bins if expected else _ASSUMED_BINS) - 1, 1))
    min_rows = float(metric.min_requests or MIN_ROWS)

    def rows(distance: float, error: float) -> float:
        information = information_to_decide(distance, limit=metric.limit, error=error, freedom=freedom)
        return max(information / (1.0 - share), min_rows)

    if expected is None:
        return rows(0.0, metric.beta), rows(_FAR * metric.limit, metric.alpha / gates)
    if expected.distance < metric.limit:
        return rows(expected.distance, metric.beta), math.inf
    return math.inf, rows(expected.distance, metric.alpha / gates)


def _minutes(
    schedule: Schedule, analysis: Analysis, metrics: Sequence[PlannedMetric], rps: float | None
) -> float | None:
    """Minutes that a good version takes. Evidence of earlier steps counts in the last step."""
    needed = [metric.to_pass for metric in metrics if metric.gate]
    if rps is None or rps <= 0 or not schedule.steps or None in needed:
        return None
    most = max((requests for requests in needed if requests is not None), default=0)
    spent, gathered = seconds(analysis.warmup), 0.0
    for index, step in enumerate(schedule.steps):
        per_second = rps * step.weight / 100.0
        duration = max(step.min_duration, seconds(analysis.interval))
        if index == len(schedule.steps) - 1 and per_second > 0:
            duration = max(duration, (most - gathered) / per_second)
        spent, gathered = spent + duration, gathered + duration * per_second
    return spent / 60.0


def _requests(counts: Mapping[str, tuple[float, float, float, float]], record: Record | None) -> float | None:
    """Requests of a sample, as the metric with the most requests counts them."""
    gathered = record.metrics if record else {}
    uncounted = {name for name, metric in gathered.items() if metric.drift or metric.assignment}
    totals = [canary + stable for name, (canary, _, stable, _) in counts.items() if name not in uncounted]
    return max(totals, default=None)


def _whole(value: float) -> int | None:
    return math.ceil(value) if math.isfinite(value) else None


def _time(requests: float, rps: float | None, share: float) -> float | None:
    if rps is None:
        return None
    minutes = eta.minutes(requests, requests_per_second=rps, share=share)
    return minutes if math.isfinite(minutes) else None
