"""Judging a record: a result for each metric, and one decision."""

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

# the same share as in the pods, which count at most half from one client
_MAX_CLIENT_SHARE = 0.5
"""Maximum share of one client in the failures of the canary."""


UNCONFIRMED: Final[Reason] = "NotConfirmed"
"""Reason of a failure at the gateway that is mostly due to one client and that the pods do not confirm."""


def judge(metrics: Sequence[Metric], record: Record) -> tuple[list[MetricResult], MetricsDecision]:
    """The results of all metrics, and the decision.

    Args:
        metrics: The metrics.
        record: The evidence.
    """
    # metrics that cannot roll back must not raise the threshold of the others
    gates = max(sum(metric.gate and metric.type != "assignment" for metric in metrics), 1)
    results = [
        judge_metric(metric, record.metrics.get(metric.full_name, MetricEvidence()), gates) for metric in metrics
    ]
    results = _of_many_clients(metrics, record, results)
    judged, mismatched = {}, False
    for metric, result in zip(metrics, results, strict=True):
        gathered = record.metrics.get(metric.full_name, MetricEvidence())
        if metric.type == "assignment":
            # wrong shares make the arms incomparable, but are no evidence against the canary
            mismatched |= result.verdict is Verdict.FAIL
        else:
            # data that only needs time is not missing
            quiet = metric.no_data == "fail" and gathered.trouble is not None and gathered.trouble.reason in QUIET
            no_data = "hold" if quiet else metric.no_data
            policy = Policy(no_data, metric.provider_error, metric.inconclusive, metric.gate)
            judged[metric.full_name] = GatedVerdict(result.verdict, policy)
    return results, combine(judged, mismatched=mismatched)


def mark_promoted(metrics: Sequence[Metric], record: Record) -> Record:
    """The record of a run that is promoted: metrics that pass are marked as passed.

    A sequential test ends with its decision. Without the mark, a later event could make the metric undecided again.

    Args:
        metrics: The metrics.
        record: The evidence of the decision.
    """
    results, _ = judge(metrics, record)
    passed = {result.name for result in results if result.verdict is Verdict.PASS}
    gathered = {
        name: msgspec.structs.replace(evidence, passed=name in passed) for name, evidence in record.metrics.items()
    }
    return msgspec.structs.replace(record, metrics=gathered)


def _of_many_clients(metrics: Sequence[Metric], record: Record, results: list[MetricResult]) -> list[MetricResult]:
    """The results, without failures at the gateway that are due to one client.

    The gateway does not distinguish clients. If most failures came from one client, and the metrics of the pods, which
    limit the share of one client, do not fail, a failure at the gateway does not decide.
    """
    pods = [
        (result, record.metrics.get(metric.full_name, MetricEvidence()).client_share)
        for metric, result in zip(metrics, results, strict=True)
        if metric.type == "errors" and not _at_gateway(metric)
    ]
    share = max((share for _, share in pods if share is not None), default=0.0)
    # pods limit each client: if they fail too, the failures are not those of one client
    if share <= _MAX_CLIENT_SHARE or any(result.verdict is Verdict.FAIL for result, _ in pods):
        return results
    message = f"{share:.0%} of the canary's failures came from one client, and the pods do not confirm them"
    return [
        # the failures did happen, so that the metric does not pass either
        msgspec.structs.replace(result, verdict=Verdict.INCONCLUSIVE, reason=UNCONFIRMED, message=message)
        if _at_gateway(metric) and result.verdict is Verdict.FAIL
        else result
        for metric, result in zip(metrics, results, strict=True)
    ]


def _at_gateway(metric: Metric) -> bool:
    return metric.type == "errors" and metric.where == "gateway"
