"""A verdict for each metric, and one decision for all of them.

- Evidence against a canary stands, whatever happens to the source of metrics afterwards.
- A source that cannot be read is never evidence against a canary, and no canary passes by what is not seen: zero
  evidence is never a pass, for one metric or for all.
- One metric that fails rolls back, at a threshold that is raised with the number of metrics; all have to pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from tandem_rollout.analysis import distance_test, drift, sequential
from tandem_rollout.analysis.counts import NoData
from tandem_rollout.analysis.sequential import RatioTest
from tandem_rollout.api.analysis import MIN_ROWS
from tandem_rollout.api.cause import Cause


class Verdict(StrEnum):
    """What is known by one metric, or by all."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no-data"
    PROVIDER_ERROR = "provider-error"


@dataclass(frozen=True, slots=True)
class ProviderError(Cause):
    """The source of a metric could not be read."""


Trouble = NoData | ProviderError
"""Why the present sample brought nothing."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a verdict of a metric means for the rollout.

    Attributes:
        no_data: ``hold``, ``fail``, or ``ignore``: decide without the metric, as long as it says so.
        provider_error: ``hold`` or ``ignore``; never ``fail``, as an outage of the source says nothing of the canary.
        inconclusive: ``hold`` or ``ignore``.
        gate: False for a metric that is only reported.
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
        policy: What it means.
    """

    verdict: Verdict
    policy: Policy = Policy()


@dataclass(frozen=True, slots=True)
class MetricsDecision:
    """The verdict over all metrics.

    Attributes:
        verdict: ``pass`` to promote, ``fail`` to roll back, anything else to hold.
        metrics: Those that it is due to.
        ignored: Gating metrics that it was taken without, by their policies.
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
    """Verdict by a ratio of rates.

    Args:
        test: What is tested.
        evidence: Evidence so far.
        baking: Evidence since promotion, by components; empty before.
        chosen: Of latency, evidence at limits that were chosen in the run, by components.
        metrics: Metrics that may each roll back.
        min_requests: Canary requests without which it does not pass.
        trouble: Why the present sample brought nothing.
    """
    if sequential.rolls_back(test, evidence, baking=baking, chosen=chosen, metrics=metrics):
        return Verdict.FAIL
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
    """Verdict by the distribution of predictions.

    It fails where the distance is above the limit, and passes where it is below it, at any sample, with the errors
    asked for. Neither comes before the least rows: what the evidence is made of is then near enough to normal.

    Args:
        evidence: Evidence so far.
        limit: PSI from which drift is large.
        alpha: Chance at most to fail a canary whose distance is not above the limit.
        beta: Chance at most to pass a canary whose distance is not below it.
        metrics: Metrics that may each roll back.
        min_rows: Independent rows of the canary without which nothing is said.
        dispersion: How much burstier than independent ones rows come, at least.
        trouble: Why the present sample brought nothing.
    """
    if not evidence.samples:
        return unknown(trouble)
    measured = drift.measure(evidence, dispersion)
    enough = bool(measured.rows >= min_rows)
    if enough and distance_test.log_above(measured, limit) >= math.log(metrics / alpha):
        return Verdict.FAIL
    if trouble is not None:
        return unknown(trouble)
    return (
        Verdict.PASS if enough and distance_test.log_below(measured, limit) >= -math.log(beta) else Verdict.INCONCLUSIVE
    )


def combine(judged: Mapping[str, GatedVerdict], *, mismatched: bool = False) -> MetricsDecision:
    """One decision for all metrics.

    Args:
        judged: Verdict and policy by metric.
        mismatched: Whether units do not fall to the arms as configured. Nothing passes then: the arms are not
            comparable, though a canary that fails may still be rolled back.
    """
    gates = {name: judgement for name, judgement in judged.items() if judgement.policy.gate}
    ignored = tuple(name for name, judgement in gates.items() if _means(judgement) == "ignore")
    for verdict in (Verdict.FAIL, Verdict.PROVIDER_ERROR, Verdict.NO_DATA, Verdict.INCONCLUSIVE):
        due = tuple(name for name, judgement in gates.items() if name not in ignored and _read(judgement) is verdict)
        if due:
            return MetricsDecision(verdict, due, ignored)
    passed = tuple(name for name in gates if name not in ignored)
    if not passed:
        return MetricsDecision(Verdict.NO_DATA, (), ignored)
    return MetricsDecision(Verdict.INCONCLUSIVE if mismatched else Verdict.PASS, passed, ignored)


def unknown(trouble: Trouble | None) -> Verdict:
    """What is said where nothing could be counted."""
    return Verdict.PROVIDER_ERROR if isinstance(trouble, ProviderError) else Verdict.NO_DATA


def _means(judged: GatedVerdict) -> str:
    policy = judged.policy
    by_verdict = {
        Verdict.NO_DATA: policy.no_data,
        Verdict.PROVIDER_ERROR: policy.provider_error,
        Verdict.INCONCLUSIVE: policy.inconclusive,
    }
    return by_verdict.get(judged.verdict, "hold")


def _read(judged: GatedVerdict) -> Verdict:
    return Verdict.FAIL if _means(judged) == "fail" else judged.verdict
