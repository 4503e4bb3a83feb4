"""Series over the time of a run, out of the samples of its evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tandem_rollout.analysis import ratio
from tandem_rollout.analysis.counts import Increments
from tandem_rollout.analysis.ratio import GRID, Likelihood
from tandem_rollout.analysis.record import MetricEvidence, Record, Sample
from tandem_rollout.api.analysis import Metric

Points = tuple[tuple[float, float], ...]
"""Seconds since the epoch, and a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """A ratio of rates.

    Attributes:
        name: Name of the metric.
        margin: What the ratio is held against.
        stable: Stable's rate, of all that was counted until then.
        canary: The canary's.
        ratio: The canary's over stable's.
        low: Lower end of its interval.
        high: Upper end; infinite where nothing bounds it.
    """

    name: str
    margin: float
    stable: Points
    canary: Points
    ratio: Points
    low: Points
    high: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """Drift.

    Attributes:
        name: Name of the metric.
        limit: Distance from which it is large.
        distance: The distance so far.
    """

    name: str
    limit: float
    distance: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The canary's part of the requests.

    Attributes:
        set: Percentage that it was to have.
        measured: Percentage that it had in each tick.
    """

    set: Points
    measured: Points


def weights(record: Record) -> Weights:
    """The canary's part of the requests: as it was set at each decision and tick, and as it was counted."""
    # a tick that ended in the second of a decision was counted before it
    points = [(sample.at, float(sample.weight)) for sample in record.samples]
    points += [(note.at, float(note.weight)) for note in record.notes]
    return Weights(
        set=tuple(sorted(points, key=lambda point: point[0])),
        measured=tuple((sample.at, share) for sample in record.samples if (share := _share(sample)) is not None),
    )


def tracks(metrics: Sequence[Metric], record: Record) -> list[Rates | Distance]:
    """Series of each metric that has any."""
    series: list[Rates | Distance] = []
    for metric in metrics:
        ticks = [(sample.at, counts) for sample in record.samples if (counts := sample.counts.get(metric.full_name))]
        gathered = record.metrics.get(metric.full_name)
        if not ticks or gathered is None or metric.type == "assignment":
            continue
        if metric.type == "drift":
            distance = tuple((at, counts[1]) for at, counts in ticks)
            series.append(Distance(name=metric.full_name, limit=metric.limit, distance=distance))
        elif rates := _rates(metric, gathered, [(at, Increments(*counts)) for at, counts in ticks if counts[2] > 0]):
            series.append(rates)
    return series


def _rates(metric: Metric, gathered: MetricEvidence, ticks: Sequence[tuple[float, Increments]]) -> Rates | None:
    if not ticks or gathered.ratio is None:
        return None
    likelihood = _before(gathered, [tick for _, tick in ticks])
    evidence = gathered.ratio
    totals = [
        max(total - math.fsum(counts), 0.0)
        for total, counts in (
            (evidence.canary_requests, (tick.canary_requests for _, tick in ticks)),
            (evidence.canary_events, (tick.canary_events for _, tick in ticks)),
            (evidence.stable_requests, (tick.stable_requests for _, tick in ticks)),
            (evidence.stable_events, (tick.stable_events for _, tick in ticks)),
        )
    ]
    stable, canary, point, low, high = [], [], [], [], []
    for at, tick in ticks:
        likelihood = ratio.update_likelihood(likelihood, tick, dispersion=gathered.phi)
        added = (tick.canary_requests, tick.canary_events, tick.stable_requests, tick.stable_events)
        totals = [total + more for total, more in zip(totals, added, strict=True)]
        if totals[0] and totals[2]:
            canary.append((at, totals[1] / totals[0]))
            stable.append((at, totals[3] / totals[2]))
        interval = ratio.interval(likelihood)
        low.append((at, interval.low))
        high.append((at, interval.high))
        if interval.estimate is not None:
            point.append((at, interval.estimate))
    return Rates(
        name=metric.full_name,
        margin=metric.margin,
        stable=tuple(stable),
        canary=tuple(canary),
        ratio=tuple(point),
        low=tuple(low),
        high=tuple(high),
    )


def _before(gathered: MetricEvidence, ticks: Sequence[Increments]) -> Likelihood:
    """The likelihood of the ticks that are not among the samples any more: that of all, without these."""
    if gathered.likelihood is None:
        return Likelihood()
    later = Likelihood()
    for tick in ticks:
        later = ratio.update_likelihood(later, tick, dispersion=gathered.phi)
    events = max(gathered.likelihood.events - later.events, 0.0)
    if events < 0.5 or len(gathered.likelihood.logs) != len(GRID.values):
        return Likelihood()
    logs = tuple(total - own for total, own in zip(gathered.likelihood.logs, later.logs, strict=True))
    return Likelihood(logs, events)


def _share(sample: Sample) -> float | None:
    """As the first metric counts that counts some."""
    for canary, _, stable, _ in sample.counts.values():
        if canary + stable > 0:
            return 100.0 * canary / (canary + stable)
    return None
