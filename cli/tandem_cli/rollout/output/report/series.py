"""Series over time, from the samples of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tandem_rollout.analysis import ratio
from tandem_rollout.analysis.counts import Increments
from tandem_rollout.analysis.ratio import GRID, Interval, Likelihood
from tandem_rollout.analysis.record import MetricEvidence, Record, Sample
from tandem_rollout.analysis.sequential import RatioEvidence
from tandem_rollout.api.analysis import Metric

Points = tuple[tuple[float, float], ...]
"""Pairs of seconds since the epoch and a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSeries:
    """The rates of both versions, and their ratio.

    Attributes:
        name: Name of the metric.
        margin: Ratio from which on a version is bad.
        stable: Rate of stable, of all requests until then.
        canary: Rate of the canary.
        ratio: Rate of the canary divided by the rate of stable.
        low: Lower end of its interval.
        high: Upper end; infinite if it has none.
    """

    name: str
    margin: float
    stable: Points
    canary: Points
    ratio: Points
    low: Points
    high: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class DistanceSeries:
    """The distance of the predictions.

    Attributes:
        name: Name of the metric.
        limit: Distance from which on it is large.
        distance: The distance so far.
    """

    name: str
    limit: float
    distance: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSeries:
    """The canary's share of the requests.

    Attributes:
        set: Desired percentage.
        measured: Percentage in each sample.
    """

    set: Points
    measured: Points


def build_weight_series(record: Record) -> WeightSeries:
    """The canary's share of the requests: desired at each decision and sample, and measured in each sample."""
    # a sample that ended in the same second as a decision was counted before it
    points = [(sample.at, float(sample.weight)) for sample in record.samples]
    points += [(note.at, float(note.weight)) for note in record.notes]
    return WeightSeries(
        set=tuple(sorted(points, key=lambda point: point[0])),
        measured=tuple((sample.at, share) for sample in record.samples if (share := _share(sample)) is not None),
    )


def build_metric_series(metrics: Sequence[Metric], record: Record) -> list[RateSeries | DistanceSeries]:
    """The series of each metric that has one."""
    series: list[RateSeries | DistanceSeries] = []
    for metric in metrics:
        samples = [(sample.at, counts) for sample in record.samples if (counts := sample.counts.get(metric.full_name))]
        gathered = record.metrics.get(metric.full_name)
        if not samples or gathered is None or metric.type == "assignment":
            continue
        if metric.type == "drift":
            distance = tuple((at, counts[1]) for at, counts in samples)
            series.append(DistanceSeries(name=metric.full_name, limit=metric.limit, distance=distance))
        elif rates := _rates(metric, gathered, [(at, Increments(*counts)) for at, counts in samples if counts[2] > 0]):
            series.append(rates)
    return series


def _rates(metric: Metric, gathered: MetricEvidence, samples: Sequence[tuple[float, Increments]]) -> RateSeries | None:
    if not samples or gathered.ratio is None:
        return None
    stable, canary = _rates_so_far(gathered.ratio, samples)
    intervals = list(_intervals(gathered, samples))
    return RateSeries(
        name=metric.full_name,
        margin=metric.margin,
        stable=stable,
        canary=canary,
        ratio=tuple((at, interval.estimate) for at, interval in intervals if interval.estimate is not None),
        low=tuple((at, interval.low) for at, interval in intervals),
        high=tuple((at, interval.high) for at, interval in intervals),
    )


def _rates_so_far(evidence: RatioEvidence, samples: Sequence[tuple[float, Increments]]) -> tuple[Points, Points]:
    """The rates of stable and of the canary, of all requests until each tick."""
    counts = [_counts(tick) for _, tick in samples]
    totals = (
        evidence.canary_requests,
        evidence.canary_events,
        evidence.stable_requests,
        evidence.stable_events,
    )
    # the samples are the last ones: earlier counts are in the totals only
    so_far = [
        max(total - math.fsum(column), 0.0) for total, column in zip(totals, zip(*counts, strict=True), strict=True)
    ]
    stable, canary = [], []
    for (at, _), added in zip(samples, counts, strict=True):
        so_far = [total + more for total, more in zip(so_far, added, strict=True)]
        if so_far[0] and so_far[2]:
            canary.append((at, so_far[1] / so_far[0]))
            stable.append((at, so_far[3] / so_far[2]))
    return tuple(stable), tuple(canary)


def _counts(tick: Increments) -> tuple[float, float, float, float]:
    return tick.canary_requests, tick.canary_events, tick.stable_requests, tick.stable_events


def _intervals(
    gathered: MetricEvidence, samples: Sequence[tuple[float, Increments]]
) -> Iterator[tuple[float, Interval]]:
    """The ratio with its interval after each tick."""
    likelihood = _earlier_likelihood(gathered, [tick for _, tick in samples])
    for at, tick in samples:
        likelihood = ratio.update_likelihood(likelihood, tick, dispersion=gathered.phi)
        yield at, ratio.interval(likelihood)


def _earlier_likelihood(gathered: MetricEvidence, samples: Sequence[Increments]) -> Likelihood:
    """The likelihood of the samples before the samples: that of all samples without that of the samples."""
    if gathered.likelihood is None:
        return Likelihood()
    later = Likelihood()
    for tick in samples:
        later = ratio.update_likelihood(later, tick, dispersion=gathered.phi)
    events = max(gathered.likelihood.events - later.events, 0.0)
    # the difference of equal sums is not exactly 0
    if events < 0.5 or len(gathered.likelihood.logs) != len(GRID.values):
        return Likelihood()
    logs = tuple(total - own for total, own in zip(gathered.likelihood.logs, later.logs, strict=True))
    return Likelihood(logs, events)


def _share(sample: Sample) -> float | None:
    """The canary's percentage of the requests, as the first metric with requests counts them."""
    for canary, _, stable, _ in sample.counts.values():
        if canary + stable > 0:
            return 100.0 * canary / (canary + stable)
    return None
