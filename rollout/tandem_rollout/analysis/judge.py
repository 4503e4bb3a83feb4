"""What a record says: a line for each metric, and one decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, cast

import msgspec

from tandem_rollout.analysis import distance, drift, eta, ratio, sequential
from tandem_rollout.analysis.absolute import is_above_floor
from tandem_rollout.analysis.counts import NOTHING, NoData
from tandem_rollout.analysis.distance import DistanceEstimate
from tandem_rollout.analysis.gather import QUIET, ratio_test
from tandem_rollout.analysis.record import Failure, MetricEvidence, Record, to_failure
from tandem_rollout.analysis.verdict import (
    GatedVerdict,
    MetricsDecision,
    Policy,
    ProviderError,
    Trouble,
    Verdict,
    combine,
    judge_drift,
    judge_ratio,
    unknown,
)
from tandem_rollout.api.analysis import Metric
from tandem_rollout.api.cause import Cause, Reason

_MAX_CLIENT_SHARE = 0.5
"""Part of the failures above which they are one client's."""

_SILENT: Final = Failure("", "")

UNCONFIRMED: Final[Reason] = "NotConfirmed"
"""Reason: what fails at the gateway is mostly one client's, and the pods do not confirm it."""


class MetricResult(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """One metric, to show.

    Attributes:
        name: Name of the metric.
        type: Its type.
        verdict: What it says.
        gate: Whether it decides.
        stable: Rate of stable's events; None before there were requests.
        canary: Rate of the canary's events; for drift the distance, for assignment its share of the units.
        stable_requests: Requests of stable.
        canary_requests: Requests of the canary.
        ratio: The canary's rate over stable's; None without events.
        low: Lower end of its interval.
        high: Upper end; None where nothing bounds it.
        limit: What it is held against: the margin, the distance, or the seconds of a slow request.
        bound: The margin or the distance as a number; None where nothing is held against one.
        passing: Of drift, the least limit that the canary would pass; None where too little is known.
        needed: Requests of the canary that it probably still takes to pass; None where that is not known.
        reason: Why it says nothing, or less than it could, machine-readable; empty where there is nothing to say.
        message: The same for people.
    """

    name: str
    type: str
    verdict: Verdict
    gate: bool = True
    stable: float | None = None
    canary: float | None = None
    stable_requests: float = 0.0
    canary_requests: float = 0.0
    ratio: float | None = None
    low: float = 0.0
    high: float | None = None
    limit: str = ""
    bound: float | None = None
    passing: float | None = None
    needed: int | None = None
    reason: str = ""
    message: str = ""


def judge(metrics: Sequence[Metric], record: Record) -> tuple[list[MetricResult], MetricsDecision]:
    """Verdicts of all metrics, and the one that follows.

    Args:
        metrics: The metrics.
        record: Evidence so far.
    """
    gates = max(sum(metric.gate and metric.type != "assignment" for metric in metrics), 1)
    lines = [_line(metric, record.metrics.get(metric.full_name, MetricEvidence()), gates) for metric in metrics]
    lines = _of_many_clients(metrics, record, lines)
    judged, mismatched = {}, False
    for metric, line in zip(metrics, lines, strict=True):
        gathered = record.metrics.get(metric.full_name, MetricEvidence())
        if metric.type == "assignment":
            mismatched |= line.verdict is Verdict.FAIL
        else:
            # nobody has asked yet, or was counted yet: that is no missing metric, and time will tell
            quiet = metric.no_data == "fail" and gathered.trouble is not None and gathered.trouble.reason in QUIET
            no_data = "hold" if quiet else metric.no_data
            policy = Policy(no_data, metric.provider_error, metric.inconclusive, metric.gate)
            judged[metric.full_name] = GatedVerdict(line.verdict, policy)
    return lines, combine(judged, mismatched=mismatched)


def mark_promoted(metrics: Sequence[Metric], record: Record) -> Record:
    """The record of a run that is promoted on it: metrics that pass have passed.

    A sequential test ends with its decision. Without this, one late event would show a promoted run as undecided.

    Args:
        metrics: The metrics.
        record: The evidence that the decision was taken on.
    """
    lines, _ = judge(metrics, record)
    passed = {line.name for line in lines if line.verdict is Verdict.PASS}
    gathered = {
        name: msgspec.structs.replace(evidence, passed=name in passed) for name, evidence in record.metrics.items()
    }
    return msgspec.structs.replace(record, metrics=gathered)


def _of_many_clients(metrics: Sequence[Metric], record: Record, lines: list[MetricResult]) -> list[MetricResult]:
    """The lines, where one client alone does not fail a canary at the gateway, which knows no clients.

    Pods count at most half of the evidence from one client. Where most failures came from one, and the pods do not say
    that the canary fails, what the gateway counts does not decide.
    """
    pods = [
        (line, record.metrics.get(metric.full_name, MetricEvidence()).client_share)
        for metric, line in zip(metrics, lines, strict=True)
        if metric.type == "errors" and not _at_gateway(metric)
    ]
    share = max((share for _, share in pods if share is not None), default=0.0)
    if share <= _MAX_CLIENT_SHARE or any(line.verdict is Verdict.FAIL for line, _ in pods):
        return lines
    message = f"{share:.0%} of the canary's failures came from one client, and the pods do not confirm them"
    return [
        msgspec.structs.replace(line, verdict=Verdict.INCONCLUSIVE, reason=UNCONFIRMED, message=message)
        if _at_gateway(metric) and line.verdict is Verdict.FAIL
        else line
        for metric, line in zip(metrics, lines, strict=True)
    ]


def _at_gateway(metric: Metric) -> bool:
    return metric.type == "errors" and metric.where == "gateway"


def _line(metric: Metric, gathered: MetricEvidence, gates: int) -> MetricResult:
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
        verdict = Verdict.FAIL if high else verdict
    elif verdict is Verdict.FAIL and gathered.baking and not high:
        verdict = unknown(trouble) if trouble else Verdict.INCONCLUSIVE
    verdict = _standing(verdict, gathered)
    why = gathered.trouble or _unmeasured(metric, gathered) or _client_share(gathered) or _SILENT
    interval = ratio.interval(gathered.likelihood or ratio.Likelihood())
    limit = f"x{metric.margin:g}"
    if gathered.limit is not None:
        edges = dict.fromkeys((gathered.limit.seconds, gathered.limit.canary_seconds))  # one, where both are the same
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
    """The verdict, where what has passed stays so unless it fails."""
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
        passing=distance.passing_limit(measured, metric.beta) if measured and enough else None,
        needed=0 if verdict is Verdict.PASS else _rows_needed(metric, measured, least),
        reason=why.reason,
        message=why.message,
    )


def _rows_needed(metric: Metric, measured: DistanceEstimate | None, least: float) -> int | None:
    """Rows of the canary until it passes at the distance that it seems to have; None where that is above the limit."""
    if measured is None:
        return math.ceil(least)
    apart = max(float(measured.distance), 0.0)
    if apart >= metric.limit:
        return None
    information = distance.information_to_decide(
        apart, limit=metric.limit, error=metric.beta, freedom=float(measured.freedom)
    )
    total = max(information * float(measured.rows / measured.information), least)
    remaining = (total - float(measured.rows)) * float(measured.dispersion)
    return max(1, math.ceil(remaining)) if math.isfinite(remaining) else None


def _assignment(metric: Metric, gathered: MetricEvidence) -> MetricResult:
    assignment = gathered.assignment or ratio.Assignment()
    units = assignment.canary + assignment.stable
    verdict = Verdict.NO_DATA
    if ratio.mismatched(assignment):
        verdict = Verdict.FAIL
    elif gathered.missing:
        verdict = Verdict.PROVIDER_ERROR if gathered.missing == "provider-error" else Verdict.NO_DATA
    elif units:
        verdict = Verdict.PASS
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
    """Requests of the canary until it passes if it is as good as stable."""
    requests = evidence.canary_requests + evidence.stable_requests
    if not evidence.canary_requests or not evidence.stable_requests:
        return None
    rate = (evidence.stable_events + 0.5) / (evidence.stable_requests + 1.0)
    share = evidence.canary_requests / requests
    total = eta.to_promotion(ratio_test(metric, gathered.phi), rate=min(rate, 0.999), share=share)
    remaining = max(total, metric.min_requests) - evidence.canary_requests
    return max(1, math.ceil(remaining)) if math.isfinite(remaining) else None


def _unmeasured(metric: Metric, gathered: MetricEvidence) -> Cause | None:
    """What was not measured before the run, as the source could not be read; None where nothing is missing."""
    if gathered.unmeasured is None:
        return None
    subject = "limit and dispersion were" if metric.type == "latency" else "dispersion was"
    return Cause("NotMeasured", f"{subject} not measured before the run: {gathered.unmeasured.message}")


def _client_share(gathered: MetricEvidence) -> Cause | None:
    """Which part of the canary's failures came from one client, in words; None where that is not known."""
    share = gathered.client_share
    return None if share is None else Cause("OneClient", f"{share:.0%} of the canary's failures came from one client")


def _trouble(gathered: MetricEvidence) -> Trouble | None:
    if not gathered.missing:
        return None
    kept = gathered.trouble or to_failure(NOTHING)
    kind = ProviderError if gathered.missing == "provider-error" else NoData
    return kind(cast(Reason, kept.reason), kept.message)


def _rate(events: float, requests: float) -> float | None:
    return events / requests if requests else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
