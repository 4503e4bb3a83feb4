"""What a run probably takes: requests and minutes until its metrics say something."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tandem_cli.rollout.forms import PlannedMetric
from tandem_cli.rollout.training import Expected
from tandem_rollout.analysis import eta
from tandem_rollout.analysis.distance_evidence import information_to_decide
from tandem_rollout.analysis.gather_rates import ratio_test
from tandem_rollout.analysis.record import MetricEvidence, Record
from tandem_rollout.api.analysis import MIN_ROWS, Analysis, Metric
from tandem_rollout.api.fields import seconds
from tandem_rollout.engine.schedule import Schedule

ASSUMED_RATE: Final = 0.001
"""Of events, where nothing was given or measured."""

_ASSUMED_SHARE: Final = 0.5
_BINS: Final = 10
"""Of predictions, where nothing is known of them."""
_FAR: Final = 2.0
"""A version that is so many times the limit apart is certainly to be found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the numbers of a plan are for.

    Attributes:
        requests_per_second: Of both arms, where it was given.
        error_rate: Rate of stable's errors, where it was given.
        record: Evidence of an earlier run, to take what was not given from.
        expected: How far apart predictions will probably be.
    """

    requests_per_second: float | None = None
    error_rate: float | None = None
    record: Record | None = None
    expected: Expected | None = None

    @property
    def rps(self) -> float | None:
        """Requests per second, as given or as measured."""
        return self.requests_per_second if self.requests_per_second is not None else self.measured

    @property
    def measured(self) -> float | None:
        """Requests per second in the earlier run."""
        samples = self.record.samples if self.record else ()
        totals = [
            (before.at, now.at, counted)
            for before, now in itertools.pairwise(samples)
            if (counted := _requests(now.counts, self.record)) is not None and now.at > before.at
        ]
        spent = math.fsum(now - before for before, now, _ in totals)
        return math.fsum(counted for _, _, counted in totals) / spent if spent > 0 else None

    def rate(self, metric: Metric) -> tuple[float, str] | None:
        """Stable's rate of a metric, and where it comes from; None for metrics without rates."""
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
        """How bursty the events of a metric are."""
        return analysis.dispersion if analysis.dispersion is not None else self._gathered(metric).phi

    def _gathered(self, metric: Metric) -> MetricEvidence:
        found = self.record.metrics.get(metric.full_name) if self.record else None
        return found or MetricEvidence()


def course(schedule: Schedule, analysis: Analysis, traffic: Traffic) -> tuple[list[PlannedMetric], float | None]:
    """What the metrics need, and about how many minutes that takes a good version; None where that is not known.

    Args:
        schedule: What is planned.
        analysis: What is looked at.
        traffic: What the numbers are for.
    """
    rps = traffic.rps
    weight = schedule.steps[-1].weight if schedule.steps else 0
    metrics = _metrics(analysis, traffic, rps, weight / 100.0 if weight else _ASSUMED_SHARE)
    return metrics, _minutes(schedule, analysis, metrics, rps) if weight else None


def _metrics(analysis: Analysis, traffic: Traffic, rps: float | None, share: float) -> list[PlannedMetric]:
    gates = max(sum(metric.gate and metric.type != "assignment" for metric in analysis.all_metrics), 1)
    return [_metric(metric, analysis, traffic, rps, share, gates) for metric in analysis.all_metrics]


def _metric(
    metric: Metric, analysis: Analysis, traffic: Traffic, rps: float | None, share: float, gates: int
) -> PlannedMetric:
    known = traffic.rate(metric)
    to_pass, to_fail = math.inf, math.inf
    if metric.type == "drift":
        to_pass, to_fail = _rows(metric, traffic, share, gates)
    if known is not None:
        test = ratio_test(metric, traffic.dispersion(metric, analysis))
        rate = known[0]
        to_pass = max(eta.to_promotion(test, rate=rate, share=share), metric.min_requests)
        to_fail = eta.to_rollback(test, rate=rate, share=share, ratio=metric.margin, metrics=gates)
    return PlannedMetric(
        name=metric.full_name,
        type=metric.type,
        gate=metric.gate and metric.type != "assignment",
        margin=metric.margin if known is not None else None,
        floor=metric.effective_floor if known is not None else None,
        limit=metric.limit if metric.type == "drift" else None,
        distance=traffic.expected.distance if metric.type == "drift" and traffic.expected else None,
        alpha=metric.alpha,
        beta=metric.beta,
        rate=known[0] if known else None,
        rate_from=known[1] if known else None,
        to_pass=_whole(to_pass),
        to_pass_minutes=_time(to_pass, rps, share),
        to_fail=_whole(to_fail),
        to_fail_minutes=_time(to_fail, rps, share),
    )


def _rows(metric: Metric, traffic: Traffic, share: float, gates: int) -> tuple[float, float]:
    """Rows of the canary until drift passes, and until it fails; of them one at the distance that is to be expected."""
    known = traffic.expected
    freedom = float(max((known.bins if known else _BINS) - 1, 1))
    least = float(metric.min_requests or MIN_ROWS)

    def rows(distance: float, error: float) -> float:
        information = information_to_decide(distance, limit=metric.limit, error=error, freedom=freedom)
        return max(information / (1.0 - share), least)

    if known is None:
        return rows(0.0, metric.beta), rows(_FAR * metric.limit, metric.alpha / gates)
    if known.distance < metric.limit:
        return rows(known.distance, metric.beta), math.inf
    return math.inf, rows(known.distance, metric.alpha / gates)


def _minutes(
    schedule: Schedule, analysis: Analysis, metrics: Sequence[PlannedMetric], rps: float | None
) -> float | None:
    """About how long a good version takes. Evidence of earlier steps counts in the last one."""
    needed = [each.to_pass for each in metrics if each.gate]
    if rps is None or rps <= 0 or not schedule.steps or None in needed:
        return None
    most = max((each for each in needed if each is not None), default=0)
    spent, gathered = seconds(analysis.warmup), 0.0
    for index, step in enumerate(schedule.steps):
        per_second = rps * step.weight / 100.0
        stay = max(step.min_duration, seconds(analysis.interval))
        if index == len(schedule.steps) - 1 and per_second > 0:
            stay = max(stay, (most - gathered) / per_second)
        spent, gathered = spent + stay, gathered + stay * per_second
    return spent / 60.0


def _requests(counts: Mapping[str, tuple[float, float, float, float]], record: Record | None) -> float | None:
    """Requests of a tick, by the metric that counts most of them."""
    drifts = {name for name, each in record.metrics.items() if each.drift or each.assignment} if record else set()
    totals = [canary + stable for name, (canary, _, stable, _) in counts.items() if name not in drifts]
    return max(totals, default=None)


def _whole(value: float) -> int | None:
    return math.ceil(value) if math.isfinite(value) else None


def _time(requests: float, rps: float | None, share: float) -> float | None:
    if rps is None:
        return None
    found = eta.minutes(requests, requests_per_second=rps, share=share)
    return found if math.isfinite(found) else None
