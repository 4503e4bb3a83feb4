"""The status of a local stack's InferenceRollout, in the form that the controller writes on a cluster. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem_rollout import progress
from tandem_rollout.analyst import Judgement
from tandem_rollout.conditions import condition
from tandem_rollout.engine import written
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.spec import Rollout
from tandem_rollout.status import Condition, Phase, RolloutStatus, RunStatus, VariantStatus
from tandem_rollout.times import stamp


@dataclass(frozen=True)
class VariantState:
    """One variant of a stack.

    Attributes:
        name: Its name.
        version: Version of its bundle.
        digest: Digest of its bundle.
        weight: Its part of the traffic.
        problem: Why it cannot serve; empty if it can.
    """

    name: str
    version: str
    digest: str
    weight: int
    problem: str


def build_status(
    previous: RolloutStatus,
    run: Run | None,
    judgement: Judgement,
    variants: Sequence[VariantState],
    *,
    rollout: Rollout,
    schedule: Schedule,
    url: str,
    problem: str,
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
        problem: What does not work, besides variants; empty if all works.
        now: Seconds since the epoch.
    """
    statuses = [_variant_status(variant, previous, now) for variant in variants]
    ready = sum(status.phase == "Ready" for status in statuses)
    complete = ready == len(statuses)
    message = problem or next((status.message for status in statuses if status.message), "")
    versions = {variant.name: variant.version for variant in variants}
    generation = rollout.generation
    return RolloutStatus(
        observed_generation=generation,
        ready=f"{ready}/{len(statuses)}",
        weights=" ".join(f"{variant.name}={variant.weight}" for variant in variants if variant.weight),
        url=url,
        message=message,
        variants=statuses,
        progress=progress.progress(run, schedule),
        run=_run_status(run, schedule, judgement) if run is not None else None,
        metrics=[progress.metric_status(line) for line in judgement.lines],
        history=progress.history(
            previous.history, run, versions.get(run.canary, "") if run else "", limit=rollout.spec.history_limit
        ),
        conditions=_conditions(previous, complete=complete, message=message, generation=generation, now=now),
    )


def _run_status(run: Run, schedule: Schedule, judgement: Judgement) -> RunStatus:
    verdict = judgement.decision.verdict.value if judgement.decision else ""
    return written.write(run, steps=len(schedule.steps), measured=judgement.measured, verdict=verdict)


def _conditions(
    previous: RolloutStatus, *, complete: bool, message: str, generation: int, now: float
) -> list[Condition]:
    ready = condition(
        previous,
        "Ready",
        complete,
        reason="Complete" if complete else "Refused",
        message=message or "all variants serve",
        generation=generation,
        now=now,
    )
    valid = condition(
        previous, "Valid", True, reason="Valid", message="the spec is valid", generation=generation, now=now
    )
    return [ready, valid]


def _variant_status(variant: VariantState, previous: RolloutStatus, now: float) -> VariantStatus:
    phase: Phase = "Refused" if variant.problem else "Ready"
    earlier = next((status for status in previous.variants if status.name == variant.name), None)
    return VariantStatus(
        name=variant.name,
        inference_service=variant.name,
        phase=phase,
        weight=variant.weight,
        version=variant.version,
        digest=variant.digest,
        message=variant.problem,
        since=earlier.since if earlier and earlier.phase == phase else stamp(now),
    )
