"""The status of a local stack's InferenceRollout, in the form that the controller writes on a cluster. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import Phase, RolloutStatus, VariantStatus
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.runner.analyst import Judgement
from tandem_rollout.runner.progress import history
from tandem_rollout.runner.status_parts import add_run, build_conditions, phase_since


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
    limit = rollout.spec.history_limit
    status = RolloutStatus(
        observed_generation=rollout.generation,
        ready=f"{ready}/{len(statuses)}",
        weights=" ".join(f"{variant.name}={variant.weight}" for variant in variants if variant.weight),
        url=url,
        reason=cause.reason if cause else "",
        message=cause.message if cause else "",
        variants=statuses,
        history=history(previous.history, None, "", limit=limit),
        conditions=build_conditions(
            previous,
            complete=complete,
            reason="Rejected",
            message=cause.message if cause else "",
            generation=rollout.generation,
            now=now,
        ),
    )
    return status if run is None else add_run(status, previous, run, schedule, judgement, history_limit=limit)


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
        since=phase_since(earlier, phase, now),
    )
