"""Measurements before the first weight: limits of latency, and dispersion of events."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tandem_rollout.analysis import latency
from tandem_rollout.analysis.counts import Counters, Increments, Scrape, count_increments, increase
from tandem_rollout.analysis.dispersion import Dispersion, estimate_dispersion
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Histograms, Reading, Readings
from tandem_rollout.analysis.record import MetricEvidence, Record, to_failure
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Metric


def prepare(
    metrics: Sequence[Metric], record: Record, history: Sequence[Readings], *, dispersion_given: float | None = None
) -> Record:
    """The record with the measurements before the first weight: limits of latency, and dispersion of events.

    Args:
        metrics: The metrics.
        record: The record.
        history: Readings of the time before, in order, the last one of now. For limits of latency one reading is
            enough: they are then taken from all requests that the pods have counted.
        dispersion_given: Dispersion of the spec; None to measure it.

    Returns:
        The record. It is not prepared if the history could not be read, so that this is repeated.
    """
    evidence = {}
    for metric in metrics:
        gathered = record.metrics.get(metric.full_name, MetricEvidence())
        readings_of = [readings.get(metric.full_name) for readings in history]
        troubles = [reading for reading in readings_of if isinstance(reading, ProviderError)]
        own = [reading for reading in readings_of if isinstance(reading, CounterReading | HistogramReading)]
        if metric.type == "latency" and gathered.limit is None:
            gathered = _with_first_limit(
                metric, gathered, [reading for reading in own if isinstance(reading, HistogramReading)]
            )
        if dispersion_given is not None:
            gathered = msgspec.structs.replace(gathered, phi=dispersion_given)
        elif metric.type != "drift":
            scrapes = [scrape for reading in own if (scrape := _stable(reading, gathered.limit)) is not None]
            measured = estimate_dispersion(against_itself(scrapes))
            if isinstance(measured, Dispersion):
                # some readings have failed, but the others were enough
                gathered, troubles = msgspec.structs.replace(gathered, phi=measured.phi), []
        # drift needs no measurement, and neither does a metric whose values are given or measured
        frozen = dispersion_given is not None and (metric.type != "latency" or gathered.limit is not None)
        unmeasured = None if metric.type == "drift" or frozen or not troubles else to_failure(troubles[0])
        evidence[metric.full_name] = msgspec.structs.replace(gathered, unmeasured=unmeasured)
    prepared = not any(gathered.unmeasured is not None for gathered in evidence.values())
    return msgspec.structs.replace(record, metrics=evidence, prepared=prepared)


def against_itself(scrapes: Sequence[Scrape]) -> list[Increments]:
    """Samples of stable compared with itself: its first target takes the canary's place. None if it has one target."""
    samples = []
    for earlier, later in itertools.pairwise(scrapes):
        targets = sorted(later)
        if len(targets) < 2:
            continue
        # one target, as φ is exact for a group with the canary's share, which is usually small
        first = {target: later[target] for target in targets[:1]}
        rest = {target: later[target] for target in targets[1:]}
        # the earlier scrape has both groups: a target that the later one lacks has no increase
        sample = count_increments(canary=(earlier, first), stable=(earlier, rest))
        if isinstance(sample, Increments):
            samples.append(sample)
    return samples


def with_limit(metric: Metric, gathered: MetricEvidence, histograms: Sequence[Mapping[float, float]]) -> MetricEvidence:
    """The evidence with the limit of latency of the first histogram that has a valid one.

    Args:
        metric: A metric of type latency.
        gathered: Its evidence.
        histograms: Requests of stable by upper edge in seconds, cumulative.
    """
    for buckets in histograms:
        limit = latency.freeze(buckets, metric.quantile, metric.slowdown)
        if isinstance(limit, latency.Limit):
            return msgspec.structs.replace(gathered, limit=limit, frozen=limit)
    return gathered


def _with_first_limit(metric: Metric, gathered: MetricEvidence, readings: Sequence[HistogramReading]) -> MetricEvidence:
    """The limit of latency: from the time between the first reading and the last, or from all counted requests."""
    tries = [_all(readings[-1].stable)] if readings else []
    if len(readings) > 1:
        # first choice, as the totals since the start of the pods include other loads
        tries.insert(0, _between(readings[0].stable, readings[-1].stable))
    return with_limit(metric, gathered, tries)


def _stable(reading: CounterReading | HistogramReading, limit: latency.Limit | None) -> Scrape | None:
    if isinstance(reading, HistogramReading) and limit is None:
        return None
    return _counted(reading, limit).stable


def _counted(reading: Reading, limit: latency.Limit | None) -> CounterReading:
    """Counters of a reading; those of histograms need a limit."""
    if isinstance(reading, CounterReading):
        return reading
    if isinstance(reading, HistogramReading) and limit is not None:
        return CounterReading(_slow(reading.stable, limit.seconds), _slow(reading.canary, limit.canary_seconds))
    raise TypeError("the reading must have counters, or histograms and a limit")


def _slow(histograms: Histograms, limit: float) -> dict[str, Counters]:
    return {target: latency.counters(series, limit) for target, series in histograms.items()}


def _all(histograms: Histograms) -> dict[float, float]:
    return _sum(buckets for series in histograms.values() for buckets in series.values())


def _between(earlier: Histograms, later: Histograms) -> dict[float, float]:
    """Requests between two readings, of the targets that are in both."""
    before, after = (
        {target: _sum(series.values()) for target, series in histograms.items()} for histograms in (earlier, later)
    )
    # the values of a target that is new may be older than the history
    increases = (increase(before[target], buckets) for target, buckets in after.items() if target in before)
    return _sum(buckets for buckets in increases if buckets is not None)


def _sum(histograms: Iterable[Mapping[float, float]]) -> dict[float, float]:
    total: dict[float, float] = {}
    for buckets in histograms:
        for edge, count in buckets.items():
            total[edge] = total.get(edge, 0.0) + count
    return total
