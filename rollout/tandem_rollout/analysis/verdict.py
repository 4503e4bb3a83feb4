"""A verdict for each metric, and one decision for all of them.

- Evidence against a canary remains valid if the source of the metrics fails afterwards.
- A source that cannot be read is never evidence against a canary. Zero evidence is never a pass, for one metric or for
  all.
- One failing metric rolls back, with a threshold that rises with the number of metrics. Promotion needs all metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from tandem_rollout.analysis import distance_evidence, drift, sequential
from tandem_rollout.analysis.counts import NoData
from tandem_rollout.analysis.sequential import RatioTest
from tandem_rollout.api.analysis import MIN_ROWS
from tandem_rollout.api.cause import Cause


class Verdict(StrEnum):
    """The verdict of one metric, or of all metrics."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no-data"
    PROVIDER_ERROR = "provider-error"


@dataclass(frozen=True, slots=True)
class ProviderError(Cause):
    """The source of a metric could not be read."""


Trouble = NoData | ProviderError
"""Why the last sample has no data."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the verdicts of a metric mean for the rollout.

    Attributes:
        no_data: ``hold``, ``fail``, or ``ignore``, which decides without the metric.
        provider_error: ``hold`` or ``ignore``. An outage of the source is no evidence about the canary.
        inconclusive: ``hold`` or ``ignore``.
        gate: Whether the metric takes part in the decision. Otherwise it is only reported.
    """

    no_data: Literal["hold", "fail", "ignore"] = "hold"
    provider_error: Literal["hold", "ignore"] = "hold"
    inconclusive: Literal["hold", "ignore"] = "hold"
    gate: bool = True


@dataclass(frozen=True, slots=True)
class GatedVerdict:
    """A verdict and the policy of its metric.

    Attributes:
        verdict: The verdict.
        policy: The policy.
    """

    verdict: Verdict
    policy: Policy = Policy()


@dataclass(frozen=True, slots=True)
class MetricsDecision:
    """The decision of all metrics.

    Attributes:
        verdict: ``pass`` to promote, ``fail`` to roll back; any other verdict holds the run.
        metrics: Names of the metrics that determine the verdict.
        ignored: Names of gating metrics that their policies ignore.
    """

    verdict: Verdict
    metrics: tuple[str, ...]
    ignored: tuple[str, ...] = ()


def judge_ratio(
    test: RatioTest,
    evidence: sequential.RatioEvidence,
    *,
    baking: tuple[float, ...] = (),
    chosen: tuple[float, ...] | None = None,
    metrics: int = 1,
    min_requests: float = 0.0,
    trouble: Trouble | None = None,
) -> Verdict:
    """The verdict of a ratio of rates.

    Args:
        test: The parameters of the test.
        evidence: The evidence.
        baking: Evidence since promotion, by components; empty before.
        chosen: For latency, evidence at limits that were chosen in the run, by components.
        metrics: Number of metrics that can each roll back.
        min_requests: Minimum number of canary requests for a pass.
        trouble: Why the last sample has no data; None if it has.
    """
    # before any trouble: evidence against a canary outlasts an outage of the source
    if sequential.rolls_back(test, evidence, baking=baking, chosen=chosen, metrics=metrics):
        return Verdict.FAIL
    # a metric that cannot be read now does not pass, whatever it showed before
    if trouble is not None or not evidence.canary_requests:
        return unknown(trouble)
    if evidence.canary_requests >= min_requests and sequential.promotes(test, evidence):
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def judge_drift(
    evidence: drift.DriftEvidence,
    *,
    limit: float = 0.1,
    alpha: float = 0.01,
    beta: float = 0.01,
    metrics: int = 1,
    min_rows: float = MIN_ROWS,
    dispersion: float = 1.0,
    trouble: Trouble | None = None,
) -> Verdict:
    """The verdict of the distance of predictions.

    It fails if the distance is above the limit, and passes if it is below it, at any sample, with the given error
    probabilities. It needs a minimum number of rows, so that the normal approximation of the evidence is accurate.

    Args:
        evidence: The evidence.
        limit: Maximum population stability index.
        alpha: Maximum probability of failing a canary whose distance is not above the limit.
        beta: Maximum probability of passing a canary whose distance is not below it.
        metrics: Number of metrics that can each roll back.
        min_rows: Minimum number of independent rows of the canary for a verdict.
        dispersion: Minimum dispersion of the rows.
        trouble: Why the last sample has no data; None if it has.
    """
    if not evidence.samples:
        return unknown(trouble)
    measured = drift.measure(evidence, dispersion)
    enough = bool(measured.rows >= min_rows)
    # before any trouble, as in judge_ratio
    if enough and distance_evidence.log_above(measured, limit) >= math.log(metrics / alpha):
        return Verdict.FAIL
    if trouble is not None:
        return unknown(trouble)
    return (
        Verdict.PASS
        if enough and distance_evidence.log_below(measured, limit) >= -math.log(beta)
        else Verdict.INCONCLUSIVE
    )


def combine(judged: Mapping[str, GatedVerdict], *, mismatched: bool = False) -> MetricsDecision:
    """Combine the verdicts of all metrics into one decision.

    Args:
        judged: Verdict and policy by metric.
        mismatched: Whether units are not assigned as configured. Then no canary is promoted, as the arms are not
            comparable. A failing canary is still rolled back.
    """
    gates = {name: judgement for name, judgement in judged.items() if judgement.policy.gate}
    ignored = tuple(name for name, judgement in gates.items() if _means(judgement) == "ignore")
    # the gravest first, as it is the reason that users see
    for verdict in (Verdict.FAIL, Verdict.PROVIDER_ERROR, Verdict.NO_DATA, Verdict.INCONCLUSIVE):
        due = tuple(name for name, judgement in gates.items() if name not in ignored and _read(judgement) is verdict)
        if due:
            return MetricsDecision(verdict, due, ignored)
    passed = tuple(name for name in gates if name not in ignored)
    # policies may ignore all metrics: without evidence nothing is promoted
    if not passed:
        return MetricsDecision(Verdict.NO_DATA, (), ignored)
    return MetricsDecision(Verdict.INCONCLUSIVE if mismatched else Verdict.PASS, passed, ignored)


def unknown(trouble: Trouble | None) -> Verdict:
    """The verdict without data."""
    return Verdict.PROVIDER_ERROR if isinstance(trouble, ProviderError) else Verdict.NO_DATA


def _means(judged: GatedVerdict) -> str:
    policy = judged.policy
    by_verdict = {
        Verdict.NO_DATA: policy.no_data,
        Verdict.PROVIDER_ERROR: policy.provider_error,
        Verdict.INCONCLUSIVE: policy.inconclusive,
    }
    # policies are about missing evidence only: a failure is never ignored
    return by_verdict.get(judged.verdict, "hold")


def _read(judged: GatedVerdict) -> Verdict:
    return Verdict.FAIL if _means(judged) == "fail" else judged.verdict
