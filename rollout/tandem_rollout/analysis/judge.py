"""What a record says: a line for each metric, and one decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from tandem_rollout.analysis.gather import QUIET
from tandem_rollout.analysis.judge_metric import judge_metric
from tandem_rollout.analysis.record import MetricEvidence, Record
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.analysis.verdict import (
    GatedVerdict,
    MetricsDecision,
    Policy,
    Verdict,
    combine,
)
from tandem_rollout.api.analysis import Metric
from tandem_rollout.api.cause import Reason

_MAX_CLIENT_SHARE = 0.5
"""Part of the failures above which they are one client's."""


UNCONFIRMED: Final[Reason] = "NotConfirmed"
"""Reason: what fails at the gateway is mostly one client's, and the pods do not confirm it."""


def judge(metrics: Sequence[Metric], record: Record) -> tuple[list[MetricResult], MetricsDecision]:
    """Verdicts of all metrics, and the one that follows.

    Args:
        metrics: The metrics.
        record: Evidence so far.
    """
    gates = max(sum(metric.gate and metric.type != "assignment" for metric in metrics), 1)
    lines = [judge_metric(metric, record.metrics.get(metric.full_name, MetricEvidence()), gates) for metric in metrics]
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
