"""From readings to evidence: one sample of all metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from tandem_rollout.analysis import drift, latency, ratio, sequential
from tandem_rollout.analysis.absolute import update_absolute
from tandem_rollout.analysis.counts import NOTHING, Increments, NoData, Values, missing_in_arm, totals
from tandem_rollout.analysis.prepare import with_limit
from tandem_rollout.analysis.reading import CounterReading, Readings
from tandem_rollout.analysis.record import (
    MAX_SAMPLES,
    MAX_TRANSITIONS,
    Counts,
    MetricEvidence,
    Record,
    Sample,
    to_failure,
)
from tandem_rollout.analysis.sequential import RatioTest, Shares
from tandem_rollout.analysis.verdict import ProviderError, Trouble
from tandem_rollout.analysis.window import CountWindow, close_window, possible_shares
from tandem_rollout.api.analysis import Metric
from tandem_rollout.api.cause import Reason

_COLD = NoData("CachesCold", "caches of the canary are cold")
_CHOSEN = NoData(
    "LimitChosen", "its limit has just been chosen from stable's requests: what is slow is counted from now on"
)
_NO_ROWS = NoData("NoPredictions", "one of the two made no predictions")
_QUIET = {arm: NoData("NoRequests", f"{arm} answered no request") for arm in ("the canary", "stable")}

QUIET: Final[frozenset[Reason]] = frozenset({"NoPredictions", "CachesCold", "NoRequests"})
"""Troubles that time alone ends: where counters are read more often than they are scraped, only one arm has moved."""


def ratio_test(metric: Metric, phi: float = 1.0) -> RatioTest:
    """The test of a metric."""
    return RatioTest(metric.margin, metric.effective_floor, metric.alpha, metric.beta, phi)


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
    """The record with one more sample, and the windows that go on.

    Where the weight changed within a window, errors and other rates are counted with the bounds of the canary's share:
    see :mod:`.sequential`. Predictions and units are reported and not judged, as that takes shares that are known. So
    are latencies while the canary's caches are cold.

    Args:
        metrics: The metrics.
        record: The record so far.
        windows: What was counted of each since evidence was last taken.
        now: Seconds since the epoch.
        weight: The canary's percentage.
        earlier: Other percentages that it had, and until when, in seconds since the epoch.
        share: Share of the units that should have fallen on the canary; by default as the weight says.
        baking: Whether the canary is promoted, and what it is compared with is held back.
        cold: Whether caches of the canary are cold, so that its latencies are not judged.
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
        terms = _Terms(shares if share is None else Shares(share, share), alone=weight >= 100, baking=baking, cold=cold)
        gathered[name], judged, unjudged = _one(metric, record.metrics.get(name, MetricEvidence()), window, terms)
        if judged is not None:
            counts[name] = judged
        if unjudged is not None:
            reported[name] = unjudged
        if judged is not None or unjudged is not None:
            gathered[name] = _unplaced(gathered[name], window)
            after[name] = close_window(window)
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
        samples_at_weight=(record.samples_at_weight if same else 0) + (counted and not changed),
        sample_count=record.sample_count + counted,
        weight=sample.weight,
        samples=(*record.samples, sample)[-MAX_SAMPLES:],
        transitions=transitions if changed or sample.reported else record.transitions,
    )


def with_client_shares(record: Record, readings: Readings) -> Record:
    """The record with the part of the canary's failures that came from one client, where the last reading has it.

    The gateway knows clients; their part decides nothing.

    Args:
        record: The record.
        readings: What was read last.
    """
    shares = {
        name: msgspec.structs.replace(record.metrics.get(name, MetricEvidence()), client_share=reading.client_share)
        for name, reading in readings.items()
        if isinstance(reading, CounterReading) and reading.client_share is not None
    }
    return msgspec.structs.replace(record, metrics={**record.metrics, **shares}) if shares else record


class _Terms(NamedTuple):
    """What a sample is judged by, beside its counts."""

    shares: Shares
    alone: bool
    baking: bool
    cold: bool

    @property
    def bounds(self) -> Shares | None:
        """Bounds of the canary's share where it is not known."""
        return None if self.shares.known else self.shares


_Judged = tuple[MetricEvidence, Counts | None, Counts | None]
"""Evidence after a sample, what was judged in it, and what was only reported."""


def _one(metric: Metric, gathered: MetricEvidence, window: CountWindow, terms: _Terms) -> _Judged:
    """Evidence of one metric after a sample."""
    if terms.alone and metric.type in ("drift", "assignment"):
        return gathered, None, None  # there is nobody to compare with
    missing = window.missing
    if terms.alone and window.trouble is None:  # whether stable answers does not matter
        missing = missing_in_arm("canary", window.canary.trouble) if window.canary.trouble is not None else None
    if missing is not None:
        return _troubled(gathered, missing), None, None
    if metric.type == "drift":
        return _drifted(gathered, window, terms)
    if metric.type == "assignment":
        return _assigned(gathered, window, terms)
    if metric.type == "latency" and window.binned:
        return _timed(metric, gathered, window, terms)
    return _rated(metric, gathered, window.increments, terms)


def _unplaced(gathered: MetricEvidence, window: CountWindow) -> MetricEvidence:
    """Evidence with what restarted in part: it is reported, and not judged."""
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
    """Requests of a histogram; which of them are events is not asked."""
    return values.get(math.inf, 0.0), 0.0


def _timed(metric: Metric, gathered: MetricEvidence, window: CountWindow, terms: _Terms) -> _Judged:
    """Evidence of a sample of latencies: at the limit that the samples before it say."""
    if gathered.frozen is None:
        gathered = with_limit(metric, gathered, [latency.earlier_buckets(window.stable)])
    is_fixed, own = terms.alone or terms.baking, latency.choose(gathered.recent, metric.quantile, metric.slowdown)
    chosen = own if isinstance(own, latency.Limit) else None
    limit = latency.longest(gathered.frozen, gathered.limit) if is_fixed else chosen or gathered.limit
    recent = latency.remember(gathered.recent, latency.buckets(window.stable), metric.quantile)
    if limit is None:
        missing = latency.choose(recent, metric.quantile, metric.slowdown)
        missing = missing if isinstance(missing, NoData) else _CHOSEN
        ours, theirs = (latency.buckets(arm).get(math.inf, 0.0) for arm in (window.canary, window.stable))
        return _troubled(msgspec.structs.replace(gathered, recent=recent), missing), None, (ours, 0.0, theirs, 0.0)
    gathered = msgspec.structs.replace(gathered, limit=limit)
    sample = latency.count_slow(window.canary, window.stable, limit)
    if isinstance(sample, NoData):
        return _troubled(gathered, sample), None, None
    if terms.cold and not is_fixed:
        return _troubled(msgspec.structs.replace(gathered, recent=recent), _COLD), None, _four(sample)
    # where no edge is near the quantile, what was frozen is the best there is
    recently = gathered.recent.requests
    after, counts, _ = _rated(
        metric,
        gathered,
        sample,
        terms,
        speaks_for=is_fixed or recently >= latency.min_recent(metric.quantile, latency.SURE),
        chosen=is_fixed or recently >= latency.min_recent(metric.quantile),
    )
    if counts is None or is_fixed:  # what was not counted is part of the next sample
        return after, counts, None
    return msgspec.structs.replace(after, recent=recent), counts, None


def _rated(
    metric: Metric,
    gathered: MetricEvidence,
    sample: Increments,
    terms: _Terms,
    *,
    speaks_for: bool = True,
    chosen: bool = False,
) -> _Judged:
    """Evidence of a sample of counters.

    Args:
        metric: The metric.
        gathered: Evidence so far.
        sample: The sample.
        terms: What it is judged by.
        speaks_for: Whether the sample may speak for the canary, and not only against it.
        chosen: Whether its limit was chosen in the run.
    """
    if terms.alone:
        return _alone(metric, gathered, sample)
    counts = _four(sample)
    # where the shares are bounded it does not matter whether both arms have requests
    if terms.shares.known and not (sample.canary_requests and sample.stable_requests):
        quiet = "the canary" if not sample.canary_requests else "stable"
        return _troubled(gathered, _QUIET[quiet]), None, None
    test = ratio_test(metric, gathered.phi)
    if terms.baking:
        gathered = _baked(metric, gathered, sample, terms.bounds)
    if chosen:
        gathered = msgspec.structs.replace(
            gathered, chosen=sequential.worse(test, gathered.chosen, sample, terms.bounds)
        )
    if terms.shares.known:  # an interval takes one share
        likelihood = ratio.update_likelihood(gathered.likelihood or ratio.Likelihood(), sample, dispersion=gathered.phi)
        gathered = msgspec.structs.replace(gathered, likelihood=likelihood)
    before = gathered.ratio or sequential.start(test)
    return (
        msgspec.structs.replace(
            gathered,
            ratio=sequential.update(test, before, sample, speaks_for=speaks_for, shares=terms.bounds),
            trouble=None,
            missing="",
        ),
        counts,
        None,
    )


def _alone(metric: Metric, gathered: MetricEvidence, sample: Increments) -> _Judged:
    """A sample in which the canary has all requests: there is only the floor to hold it against."""
    evidence = msgspec.structs.replace(gathered, trouble=None, missing="")
    counts = (sample.canary_requests, sample.canary_events, 0.0, 0.0)
    # of latency nothing is said then: load changes it, and there is nobody who has any of it
    return (evidence if metric.type == "latency" else _held(metric, evidence, sample)), counts, None


def _baked(metric: Metric, gathered: MetricEvidence, sample: Increments, bounds: Shares | None) -> MetricEvidence:
    """Evidence of a sample since promotion, beside that of all samples.

    Stable is made for all requests and has a few: its pods are idle, and by comparison alone a canary that bears the
    load would look slow. It must also be slower than stable was when it bore it.
    """
    worse = sequential.worse(ratio_test(metric, gathered.phi), gathered.baking, sample, bounds)
    gathered = msgspec.structs.replace(gathered, baking=worse)
    return _held(metric, gathered, sample) if metric.type == "latency" else gathered


def _held(metric: Metric, gathered: MetricEvidence, sample: Increments) -> MetricEvidence:
    """Evidence of a sample against the bound, where there is one."""
    bound = _bound(metric, gathered)
    if not bound:
        return gathered
    evidence = update_absolute(gathered.absolute, sample.canary_requests, sample.canary_events, bound, gathered.phi)
    return msgspec.structs.replace(gathered, absolute=evidence)


def _bound(metric: Metric, gathered: MetricEvidence) -> float:
    """The rate that the canary must not pass: the floor, or so many times what stable had; 0 for none."""
    before = gathered.ratio
    if before is None or not before.stable_requests:
        return 0.0
    rate = before.stable_events / before.stable_requests
    if gathered.limit is not None:  # what stable had before the run, when it bore all
        rate = max(rate, gathered.limit.share)
    return min(max(metric.effective_floor, metric.margin * rate), 1.0)


def _drifted(gathered: MetricEvidence, window: CountWindow, terms: _Terms) -> _Judged:
    rows = drift.rows(window.canary, window.stable)
    if isinstance(rows, NoData):
        return _troubled(gathered, rows), None, None
    ours, theirs = rows
    evidence = gathered.drift or drift.start(len(ours))
    if len(evidence.canary) != len(ours):
        other = NoData("DifferentBins", "the histogram of predictions has other bins than before")
        return _troubled(gathered, other), None, None
    total = math.fsum(ours), math.fsum(theirs)
    if not terms.shares.known:
        return gathered, None, (total[0], 0.0, total[1], 0.0)
    if not (total[0] and total[1]):
        return _troubled(gathered, _NO_ROWS), None, None
    evidence = drift.update(evidence, ours, theirs)
    counts = (total[0], drift.estimate(evidence, gathered.phi), total[1], 0.0)
    return msgspec.structs.replace(gathered, drift=evidence, trouble=None, missing=""), counts, None


def _assigned(gathered: MetricEvidence, window: CountWindow, terms: _Terms) -> _Judged:
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


def _four(sample: Increments) -> Counts:
    return sample.canary_requests, sample.canary_events, sample.stable_requests, sample.stable_events


def _troubled(gathered: MetricEvidence, trouble: Trouble) -> MetricEvidence:
    missing = "provider-error" if isinstance(trouble, ProviderError) else "no-data"
    return msgspec.structs.replace(gathered, trouble=to_failure(trouble), missing=missing)
