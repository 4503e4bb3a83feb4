"""Gathering evidence: one sample of all metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from tandem_rollout.analysis import drift, ratio
from tandem_rollout.analysis.counts import NOTHING, NoData, Values, missing_in_arm, totals
from tandem_rollout.analysis.gather_rates import gather_latency, gather_rates
from tandem_rollout.analysis.reading import CounterReading, Readings
from tandem_rollout.analysis.record import (
    MAX_SAMPLES,
    MAX_TRANSITIONS,
    Counts,
    MetricEvidence,
    Record,
    Sample,
)
from tandem_rollout.analysis.sequential import Shares
from tandem_rollout.analysis.terms import SampleOutcome, SampleTerms, without_data
from tandem_rollout.analysis.window import CountWindow, close_window, possible_shares
from tandem_rollout.api.analysis import Metric
from tandem_rollout.api.cause import Reason

_NO_ROWS = NoData("NoPredictions", "one of the two versions made no predictions")

QUIET: Final[frozenset[Reason]] = frozenset({"NoPredictions", "CachesCold", "NoRequests"})
"""Reasons for missing data that resolve themselves: one arm has no new counts yet."""


def gather(
    metrics: Sequence[Metric],
    record: Record,
    windows: Mapping[str, CountWindow],
    *,
    now: float,
    weight: int,
    earlier: Mapping[int, float] | None = None,
    share: float | None = None,
    baking: bool = False,
    cold: bool = False,
) -> tuple[Record, dict[str, CountWindow]]:
    """The record with one more sample, and the windows for the next one.

    If the weight changed within a window, rates are judged with bounds of the canary's share: see :mod:`.sequential`.
    Predictions and units are then only reported, as their tests need a known share. Latency is only reported while the
    canary's caches are cold.

    Args:
        metrics: The metrics.
        record: The record of the previous samples.
        windows: Counts of each metric since evidence was last taken.
        now: Seconds since the epoch.
        weight: The canary's percentage.
        earlier: Other percentages that it had, and until when, in seconds since the epoch.
        share: Configured share of the canary's units; by default that of the weight.
        baking: Whether the canary is promoted and is compared with the holdback.
        cold: Whether the canary's caches are cold, so that its latency is not judged.
    """
    gathered: dict[str, MetricEvidence] = {}
    counts: dict[str, Counts] = {}
    reported: dict[str, Counts] = {}
    after = dict(windows)
    low = high = weight / 100.0
    for metric in metrics:
        name = metric.full_name
        window = windows.get(name, CountWindow(trouble=NOTHING))
        shares = possible_shares(window, weight, earlier or {})
        terms = SampleTerms(
            shares if share is None else Shares(share, share), alone=weight >= 100, baking=baking, cold=cold
        )
        gathered[name], judged, unjudged = _one(metric, record.metrics.get(name, MetricEvidence()), window, terms)
        if judged is not None:
            counts[name] = judged
        if unjudged is not None:
            reported[name] = unjudged
        # other windows stay open: their counts are part of the next sample
        if judged is not None or unjudged is not None:
            gathered[name] = _unplaced(gathered[name], window)
            after[name] = close_window(window)
            # windows of different sources begin at different times: the sample has the widest bounds
            low, high = min(low, terms.shares.low), max(high, terms.shares.high)
    sample = Sample(now, weight, counts, reported, *((low, high) if low < high else (None, None)))
    return _with_sample(msgspec.structs.replace(record, metrics=gathered), sample), after


def _with_sample(record: Record, sample: Sample) -> Record:
    """The record with one more sample."""
    changed, counted = sample.low is not None, bool(sample.counts)
    same = sample.weight == record.weight
    transitions = (*record.transitions, sample)[-MAX_TRANSITIONS:]
    return msgspec.structs.replace(
        record,
        # a sample across a change has requests of two weights, and a step needs samples of its own
        samples_at_weight=(record.samples_at_weight if same else 0) + (counted and not changed),
        sample_count=record.sample_count + counted,
        weight=sample.weight,
        samples=(*record.samples, sample)[-MAX_SAMPLES:],
        # kept apart, as the report lists them after the other samples of that time are gone
        transitions=transitions if changed or sample.reported else record.transitions,
    )


def with_client_shares(record: Record, readings: Readings) -> Record:
    """The record with the share of the canary's failures that came from one client, if the last reading has it.

    The share is only used for the metrics of the gateway: see :mod:`.judge`.

    Args:
        record: The record.
        readings: The last readings.
    """
    shares = {
        name: msgspec.structs.replace(record.metrics.get(name, MetricEvidence()), client_share=reading.client_share)
        for name, reading in readings.items()
        if isinstance(reading, CounterReading) and reading.client_share is not None
    }
    return msgspec.structs.replace(record, metrics={**record.metrics, **shares}) if shares else record


def _one(metric: Metric, gathered: MetricEvidence, window: CountWindow, terms: SampleTerms) -> SampleOutcome:
    """The evidence of one metric after a sample."""
    if terms.alone and metric.type in ("drift", "assignment"):
        return gathered, None, None  # there is nothing to compare with
    missing = window.missing
    if terms.alone and window.trouble is None:  # stable is not needed
        missing = missing_in_arm("canary", window.canary.trouble) if window.canary.trouble is not None else None
    if missing is not None:
        return without_data(gathered, missing), None, None
    if metric.type == "drift":
        return _drifted(gathered, window, terms)
    if metric.type == "assignment":
        return _assigned(gathered, window, terms)
    # latency without buckets is already counted as events, and needs no limit
    if metric.type == "latency" and window.binned:
        return gather_latency(metric, gathered, window, terms)
    return gather_rates(metric, gathered, window.increments, terms)


def _unplaced(gathered: MetricEvidence, window: CountWindow) -> MetricEvidence:
    """The evidence with the counts of targets that restarted in part, which are reported but not judged."""
    more = [
        value
        for arm in (window.canary, window.stable)
        for value in (_buckets(arm.unplaced) if window.binned else totals([arm.unplaced]))
    ]
    if not any(more):
        return gathered
    before = gathered.unplaced
    return msgspec.structs.replace(
        gathered,
        unplaced=(before[0] + more[0], before[1] + more[1], before[2] + more[2], before[3] + more[3]),
    )


def _buckets(values: Values) -> tuple[float, float]:
    """Requests of a histogram. Its events are not counted."""
    return values.get(math.inf, 0.0), 0.0


def _drifted(gathered: MetricEvidence, window: CountWindow, terms: SampleTerms) -> SampleOutcome:
    rows = drift.rows(window.canary, window.stable)
    if isinstance(rows, NoData):
        return without_data(gathered, rows), None, None
    ours, theirs = rows
    evidence = gathered.drift or drift.start(len(ours))
    # evidence by bin cannot continue in other bins
    if len(evidence.canary) != len(ours):
        changed = NoData("DifferentBins", "the histogram of predictions has other bins than before")
        return without_data(gathered, changed), None, None
    total = math.fsum(ours), math.fsum(theirs)
    if not terms.shares.known:
        return gathered, None, (total[0], 0.0, total[1], 0.0)
    if not (total[0] and total[1]):
        return without_data(gathered, _NO_ROWS), None, None
    evidence = drift.update(evidence, ours, theirs)
    counts = (total[0], drift.estimate(evidence, gathered.phi), total[1], 0.0)
    return msgspec.structs.replace(gathered, drift=evidence, trouble=None, missing=""), counts, None


def _assigned(gathered: MetricEvidence, window: CountWindow, terms: SampleTerms) -> SampleOutcome:
    sample = window.increments
    counts = (sample.canary_requests, 0.0, sample.stable_requests, 0.0)
    if not terms.shares.known:
        return gathered, None, counts
    assigned = ratio.update_assignment(
        gathered.assignment or ratio.Assignment(),
        canary=sample.canary_requests,
        stable=sample.stable_requests,
        share=terms.shares.low,
    )
    return msgspec.structs.replace(gathered, assignment=assigned, trouble=None, missing=""), counts, None
