"""The status of a local stack's InferenceRollout, in the form that the controller writes on a cluster. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.conditions import set_condition
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import Condition, Phase, RolloutStatus, RunStatus, VariantStatus
from tandem_rollout.api.times import stamp
from tandem_rollout.engine import serialization
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.runner import progress
from tandem_rollout.runner.analyst import Judgement


@dataclass(frozen=True)
class VariantState:
    """One variant of a stack.

    Attributes:
        name: Its name.
        version: Version of its bundle.
        digest: Digest of its bundle.
        weight: Its part of the traffic.
        verified: Whether its pair has replayed the golden rows with success.
        problem: Why it cannot serve; None if it can.
    """

    name: str
    version: str
    digest: str
    weight: int
    verified: bool
    problem: Cause | None


def build_status(
    previous: RolloutStatus,
    run: Run | None,
    judgement: Judgement,
    variants: Sequence[VariantState],
    *,
    rollout: Rollout,
    schedule: Schedule,
    url: str,
    problem: Cause | None,
    now: float,
) -> RolloutStatus:
    """The status of a rollout.

    Args:
        previous: The status that was written last.
        run: The run; None before the first.
        judgement: What the metrics of the run say.
        variants: The variants of the stack.
        rollout: The spec.
        schedule: The schedule of the spec.
        url: Where clients send requests.
        problem: What does not work, besides variants; None if all works.
        now: Seconds since the epoch.
    """
    statuses = [_variant_status(variant, previous, now) for variant in variants]
    ready = sum(status.phase == "Ready" for status in statuses)
    complete = ready == len(statuses)
    cause = problem or next((variant.problem for variant in variants if variant.problem), None)
    versions = {variant.name: variant.version for variant in variants}
    generation = rollout.generation
    return RolloutStatus(
        observed_generation=generation,
        ready=f"{ready}/{len(statuses)}",
        weights=" ".join(f"{variant.name}={variant.weight}" for variant in variants if variant.weight),
        url=url,
        reason=cause.reason if cause else "",
        message=cause.message if cause else "",
        variants=statuses,
        progress=progress.describe_progress(run, schedule),
        run=_run_status(run, schedule, judgement) if run is not None else None,
        metrics=[progress.metric_status(line) for line in judgement.results],
        history=progress.history(
            previous.history, run, versions.get(run.canary, "") if run else "", limit=rollout.spec.history_limit
        ),
        conditions=_conditions(previous, cause, complete=complete, generation=generation, now=now),
    )


def _run_status(run: Run, schedule: Schedule, judgement: Judgement) -> RunStatus:
    verdict = judgement.decision.verdict.value if judgement.decision else ""
    return serialization.to_status(run, steps=len(schedule.steps), measured=judgement.measured, verdict=verdict)


def _conditions(
    previous: RolloutStatus, cause: Cause | None, *, complete: bool, generation: int, now: float
) -> list[Condition]:
    ready = set_condition(
        previous,
        "Ready",
        complete,
        reason="Complete" if complete else "Rejected",
        message=cause.message if cause else "all variants serve",
        generation=generation,
        now=now,
    )
    valid = set_condition(
        previous, "Valid", True, reason="Valid", message="the spec is valid", generation=generation, now=now
    )
    return [ready, valid]


def _variant_status(variant: VariantState, previous: RolloutStatus, now: float) -> VariantStatus:
    phase: Phase = "Rejected" if variant.problem else "Ready"
    cause = variant.problem or Cause("Verified" if variant.verified else "AwaitingVerification", "")
    earlier = next((status for status in previous.variants if status.name == variant.name), None)
    return VariantStatus(
        name=variant.name,
        inference_service=variant.name,
        phase=phase,
        weight=variant.weight,
        version=variant.version,
        digest=variant.digest,
        reason=cause.reason,
        message=cause.message,
        since=earlier.since if earlier and earlier.phase == phase else stamp(now),
    )
