"""The result of one metric, from its evidence."""

from __future__ import annotations

import math
from typing import Final, cast

from tandem_rollout.analysis import distance_evidence, drift, eta, ratio, sequential
from tandem_rollout.analysis.absolute import is_above_floor
from tandem_rollout.analysis.counts import NOTHING, NoData
from tandem_rollout.analysis.distance import DistanceEstimate
from tandem_rollout.analysis.gather_rates import ratio_test
from tandem_rollout.analysis.record import Failure, MetricEvidence, to_failure
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.analysis.verdict import (
    ProviderError,
    Trouble,
    Verdict,
    judge_drift,
    judge_ratio,
    unknown,
)
from tandem_rollout.api.analysis import Metric
from tandem_rollout.api.cause import Cause, Reason

_SILENT: Final = Failure("", "")


def judge_metric(metric: Metric, gathered: MetricEvidence, gates: int) -> MetricResult:
    """The result of a metric.

    Args:
        metric: The metric.
        gathered: Its evidence.
        gates: Number of metrics that can each roll back.
    """
    if metric.type == "drift":
        return _drift(metric, gathered, gates)
    if metric.type == "assignment":
        return _assignment(metric, gathered)
    test = ratio_test(metric, gathered.phi)
    evidence = gathered.ratio or sequential.start(test)
    trouble = _trouble(gathered)
    verdict = judge_ratio(
        test,
        evidence,
        baking=gathered.baking,
        chosen=gathered.chosen if metric.type == "latency" else None,
        metrics=gates,
        min_requests=metric.min_requests,
        trouble=trouble,
    )
    high = is_above_floor(gathered.absolute, alpha=metric.alpha, metrics=gates)
    if metric.type != "latency":
        # without stable the fixed bound is the only comparison, and fails a canary alone
        verdict = Verdict.FAIL if high else verdict
    # stable's idle pods are fast: the canary must also be slower than stable was under the load
    elif verdict is Verdict.FAIL and gathered.baking and not high:
        verdict = unknown(trouble) if trouble else Verdict.INCONCLUSIVE
    verdict = _standing(verdict, gathered)
    why = gathered.trouble or _unmeasured(metric, gathered) or _client_share(gathered) or _SILENT
    interval = ratio.interval(gathered.likelihood or ratio.Likelihood())
    limit = f"x{metric.margin:g}"
    if gathered.limit is not None:
        edges = dict.fromkeys((gathered.limit.seconds, gathered.limit.canary_seconds))  # one edge if both are equal
        limit += f" > {'/'.join(f'{edge * 1000:g}' for edge in edges)} ms"
    return MetricResult(
        name=metric.full_name,
        type=metric.type,
        verdict=verdict,
        gate=metric.gate,
        stable=_rate(evidence.stable_events, evidence.stable_requests),
        canary=_rate(evidence.canary_events, evidence.canary_requests),
        stable_requests=evidence.stable_requests,
        canary_requests=evidence.canary_requests,
        ratio=_finite(interval.estimate),
        low=interval.low,
        high=_finite(interval.high),
        limit=limit,
        bound=metric.margin,
        needed=0 if verdict is Verdict.PASS else _needed(metric, gathered, evidence),
        reason=why.reason,
        message=why.message,
    )


def _standing(verdict: Verdict, gathered: MetricEvidence) -> Verdict:
    """The verdict. A metric that passed at the promotion stays passed unless it fails."""
    return Verdict.PASS if verdict is Verdict.INCONCLUSIVE and gathered.passed else verdict


def _drift(metric: Metric, gathered: MetricEvidence, gates: int) -> MetricResult:
    evidence = gathered.drift or drift.start(0)
    least = metric.min_rows
    verdict = judge_drift(
        evidence,
        limit=metric.limit,
        alpha=metric.alpha,
        beta=metric.beta,
        metrics=gates,
        min_rows=least,
        dispersion=gathered.phi,
        trouble=_trouble(gathered),
    )
    verdict = _standing(verdict, gathered)
    measured = drift.measure(evidence, gathered.phi) if evidence.samples else None
    enough = measured is not None and bool(measured.rows >= least)
    why = gathered.trouble or _SILENT
    return MetricResult(
        name=metric.full_name,
        type=metric.type,
        verdict=verdict,
        gate=metric.gate,
        canary=drift.estimate(evidence, gathered.phi) if measured else None,
        stable_requests=math.fsum(evidence.stable),
        canary_requests=math.fsum(evidence.canary),
        limit=f"PSI {metric.limit:g}",
        bound=metric.limit,
        passing=distance_evidence.passing_limit(measured, metric.beta) if measured and enough else None,
        needed=0 if verdict is Verdict.PASS else _rows_needed(metric, measured, least),
        reason=why.reason,
        message=why.message,
    )


def _rows_needed(metric: Metric, measured: DistanceEstimate | None, least: float) -> int | None:
    """Further rows of the canary until it passes at its estimated distance; None if that is above the limit."""
    if measured is None:
        return math.ceil(least)
    apart = max(float(measured.distance), 0.0)
    if apart >= metric.limit:
        return None
    information = distance_evidence.information_to_decide(
        apart, limit=metric.limit, error=metric.beta, freedom=float(measured.freedom)
    )
    total = max(information * float(measured.rows / measured.information), least)
    # these are independent rows; dependent ones count less, so that more of them are needed
    remaining = (total - float(measured.rows)) * float(measured.dispersion)
    # 0 is only for metrics that have passed
    return max(1, math.ceil(remaining)) if math.isfinite(remaining) else None


def _assignment(metric: Metric, gathered: MetricEvidence) -> MetricResult:
    assignment = gathered.assignment or ratio.Assignment()
    units = assignment.canary + assignment.stable
    verdict = unknown(trouble) if (trouble := _trouble(gathered)) or not units else Verdict.PASS
    verdict = Verdict.FAIL if ratio.mismatched(assignment) else verdict
    why = gathered.trouble or _SILENT
    return MetricResult(
        name=metric.full_name,
        type=metric.type,
        verdict=verdict,
        gate=False,
        canary=_rate(assignment.canary, units),
        stable_requests=assignment.stable,
        canary_requests=assignment.canary,
        limit=f"share {_rate(assignment.expected, units) or 0.0:.1%}",
        reason=why.reason,
        message=why.message,
    )


def _needed(metric: Metric, gathered: MetricEvidence, evidence: sequential.RatioEvidence) -> int | None:
    """Further requests of the canary until it passes if it is as good as stable."""
    requests = evidence.canary_requests + evidence.stable_requests
    if not evidence.canary_requests or not evidence.stable_requests:
        return None
    # half an event, as a rate of 0 would never pass without a floor
    rate = (evidence.stable_events + 0.5) / (evidence.stable_requests + 1.0)
    share = evidence.canary_requests / requests
    total = eta.to_promotion(ratio_test(metric, gathered.phi), rate=min(rate, 0.999), share=share)
    remaining = max(total, metric.min_requests) - evidence.canary_requests
    return max(1, math.ceil(remaining)) if math.isfinite(remaining) else None


def _unmeasured(metric: Metric, gathered: MetricEvidence) -> Cause | None:
    """What was not measured before the run because the source could not be read; None if nothing is missing."""
    if gathered.unmeasured is None:
        return None
    subject = "limit and dispersion were" if metric.type == "latency" else "dispersion was"
    return Cause("NotMeasured", f"{subject} not measured before the run: {gathered.unmeasured.message}")


def _client_share(gathered: MetricEvidence) -> Cause | None:
    """The share of the canary's failures that came from one client; None if it is not known."""
    share = gathered.client_share
    return None if share is None else Cause("OneClient", f"{share:.0%} of the canary's failures came from one client")


def _trouble(gathered: MetricEvidence) -> Trouble | None:
    if not gathered.missing:
        return None
    failure = gathered.trouble or to_failure(NOTHING)
    kind = ProviderError if gathered.missing == "provider-error" else NoData
    return kind(cast(Reason, failure.reason), failure.message)


def _rate(events: float, requests: float) -> float | None:
    return events / requests if requests else None


def _finite(value: float | None) -> float | None:
    # the status is JSON, which has no infinity
    return value if value is not None and math.isfinite(value) else None
