"""The status of a local stack's InferenceRollout, in the form that the controller writes on a cluster. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import Phase, RegistryStatus, RolloutStatus, VariantStatus
from tandem_rollout.engine.run import RETURNS, Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.serialization import from_status, to_status
from tandem_rollout.engine.transitions import change_state, continue_state
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
    registry: RegistryStatus | None = None,
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
        registry: The alias that the stack follows; None if it follows none.
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
        registry=registry,
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


def serving_variant(status: RolloutStatus) -> str:
    """Name of the variant that serves, or that served before a run that has not ended; empty if there is none.

    Args:
        status: The status of a stack.
    """
    if status.run is not None:
        return status.run.canary if status.run.state == "Promoted" else status.run.stable
    heaviest = max(status.variants, key=lambda variant: variant.weight, default=None)
    return heaviest.name if heaviest is not None else ""


def interrupt(status: RolloutStatus, now: float) -> RolloutStatus:
    """The status of a stack that was stopped, for the next one that goes on from there: its run has ended.

    Args:
        status: The status that was written last.
        now: Seconds since the epoch.
    """
    run = from_status(status.run)
    if run is None or status.run is None or run.ended:
        return status
    if run.returns:
        # it was decided already, and its reason stays
        ended = continue_state(run, RETURNS[run.state], now)
    else:
        ended = change_state(run, "Aborted", now, Cause("StackStopped", "the stack was stopped during the run"))
    ended = replace(ended, weight=0)
    past = history(status.history, ended, status.version_of(run.canary), limit=len(status.history) + 1)
    return msgspec.structs.replace(status, run=to_status(ended, steps=status.run.steps), history=past)


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
