"""Evidence of one sample by rates of events: errors, latency, degraded answers and ratios."""

from __future__ import annotations

import math

import msgspec

from tandem_rollout.analysis import latency, ratio, sequential
from tandem_rollout.analysis.absolute import update_absolute
from tandem_rollout.analysis.counts import Increments, NoData
from tandem_rollout.analysis.prepare import with_limit
from tandem_rollout.analysis.record import (
    MetricEvidence,
)
from tandem_rollout.analysis.sequential import RatioTest, Shares
from tandem_rollout.analysis.terms import SampleOutcome, SampleTerms, four_counts, without_data
from tandem_rollout.analysis.window import CountWindow
from tandem_rollout.api.analysis import Metric

_COLD = NoData("CachesCold", "the canary's caches are cold")


_CHOSEN = NoData(
    "LimitChosen",
    "the limit was just chosen: slow requests are counted from the next sample on",
)


_QUIET = {arm: NoData("NoRequests", f"{arm} had no requests") for arm in ("the canary", "stable")}


def ratio_test(metric: Metric, phi: float = 1.0) -> RatioTest:
    """The test of a metric.

    Args:
        metric: The metric.
        phi: Dispersion of its events.
    """
    return RatioTest(metric.margin, metric.effective_floor, metric.alpha, metric.beta, phi)


def gather_latency(metric: Metric, gathered: MetricEvidence, window: CountWindow, terms: SampleTerms) -> SampleOutcome:
    """The evidence after a sample of latencies, with the limit that the previous samples determine.

    Args:
        metric: The metric.
        gathered: The evidence of the previous samples.
        window: The counts of the sample.
        terms: The terms on which the sample is judged.
    """
    if gathered.frozen is None:
        # from requests before the sample, as a limit must be known before what it judges
        gathered = with_limit(metric, gathered, [latency.earlier_buckets(window.stable)])
    # in the bake time stable's pods are idle, and its latencies say nothing about the load
    is_fixed, own = terms.alone or terms.baking, latency.choose(gathered.recent, metric.quantile, metric.slowdown)
    chosen = own if isinstance(own, latency.Limit) else None
    limit = latency.longest(gathered.frozen, gathered.limit) if is_fixed else chosen or gathered.limit
    # after the choice, as a limit that knew its own sample would void the error probabilities
    recent = latency.remember(gathered.recent, latency.buckets(window.stable), metric.quantile)
    if limit is None:
        missing = latency.choose(recent, metric.quantile, metric.slowdown)
        missing = missing if isinstance(missing, NoData) else _CHOSEN
        ours, theirs = (latency.buckets(arm).get(math.inf, 0.0) for arm in (window.canary, window.stable))
        return without_data(msgspec.structs.replace(gathered, recent=recent), missing), None, (ours, 0.0, theirs, 0.0)
    gathered = msgspec.structs.replace(gathered, limit=limit)
    sample = latency.count_slow(window.canary, window.stable, limit)
    if isinstance(sample, NoData):
        return without_data(gathered, sample), None, None
    # only the canary is cold: stable's latencies are valid, and are remembered
    if terms.cold and not is_fixed:
        return without_data(msgspec.structs.replace(gathered, recent=recent), _COLD), None, four_counts(sample)
    # the frozen limit is used if no bucket edge is near the quantile
    # without this sample: whether it may speak for the canary must be known before it is
    recently = gathered.recent.requests
    after, counts, _ = gather_rates(
        metric,
        gathered,
        sample,
        terms,
        speaks_for=is_fixed or recently >= latency.min_recent(metric.quantile, latency.SURE),
        chosen=is_fixed or recently >= latency.min_recent(metric.quantile),
    )
    if counts is None or is_fixed:  # requests that were not counted are part of the next sample
        return after, counts, None
    return msgspec.structs.replace(after, recent=recent), counts, None


def gather_rates(
    metric: Metric,
    gathered: MetricEvidence,
    sample: Increments,
    terms: SampleTerms,
    *,
    speaks_for: bool = True,
    chosen: bool = False,
) -> SampleOutcome:
    """The evidence after a sample of counters.

    Args:
        metric: The metric.
        gathered: The evidence of the previous samples.
        sample: The sample.
        terms: The terms on which it is judged.
        speaks_for: Whether the sample may be evidence for the canary, and not only against it.
        chosen: Whether its limit was chosen in the run.
    """
    if terms.alone:
        return _alone(metric, gathered, sample)
    counts = four_counts(sample)
    # with bounds of the share, an arm may have no requests
    if terms.shares.known and not (sample.canary_requests and sample.stable_requests):
        silent = "the canary" if not sample.canary_requests else "stable"
        return without_data(gathered, _QUIET[silent]), None, None
    test = ratio_test(metric, gathered.phi)
    # before the ratio is updated, as the fixed bound must be known before the sample
    if terms.baking:
        gathered = _baked(metric, gathered, sample, terms.bounds)
    if chosen:
        gathered = msgspec.structs.replace(
            gathered, chosen=sequential.worse(test, gathered.chosen, sample, terms.bounds)
        )
    if terms.shares.known:  # the interval needs a known share
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


def _alone(metric: Metric, gathered: MetricEvidence, sample: Increments) -> SampleOutcome:
    """The evidence after a sample in which the canary has all requests: it is compared with a fixed bound only."""
    evidence = msgspec.structs.replace(gathered, trouble=None, missing="")
    counts = (sample.canary_requests, sample.canary_events, 0.0, 0.0)
    # latency is not judged: it depends on the load, and stable has none
    return (evidence if metric.type == "latency" else _held(metric, evidence, sample)), counts, None


def _baked(metric: Metric, gathered: MetricEvidence, sample: Increments, bounds: Shares | None) -> MetricEvidence:
    """The evidence of the samples since promotion, besides that of all samples.

    Stable has the pods for all requests and gets only a few. Its pods are idle, so that the canary under the load looks
    slow in comparison. To fail, the canary must also be slower than stable was under the load.
    """
    worse = sequential.worse(ratio_test(metric, gathered.phi), gathered.baking, sample, bounds)
    gathered = msgspec.structs.replace(gathered, baking=worse)
    return _held(metric, gathered, sample) if metric.type == "latency" else gathered


def _held(metric: Metric, gathered: MetricEvidence, sample: Increments) -> MetricEvidence:
    """The evidence of a sample against the fixed bound, if there is one."""
    bound = _bound(metric, gathered)
    if not bound:
        return gathered
    evidence = update_absolute(gathered.absolute, sample.canary_requests, sample.canary_events, bound, gathered.phi)
    return msgspec.structs.replace(gathered, absolute=evidence)


def _bound(metric: Metric, gathered: MetricEvidence) -> float:
    """The fixed bound of the canary's rate: the floor, or the margin times stable's rate before; 0 for none."""
    before = gathered.ratio
    if before is None or not before.stable_requests:
        return 0.0
    rate = before.stable_events / before.stable_requests
    if gathered.limit is not None:  # stable's rate before the run, under the whole load
        rate = max(rate, gathered.limit.share)
    return min(max(metric.effective_floor, metric.margin * rate), 1.0)
