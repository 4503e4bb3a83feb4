"""The parts of a status that are the same for a rollout on a cluster and on one machine. Pure."""

from __future__ import annotations

import msgspec

from tandem_rollout.api.conditions import set_condition
from tandem_rollout.api.status import Condition, Phase, RolloutStatus, VariantStatus
from tandem_rollout.api.times import stamp
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.serialization import to_status
from tandem_rollout.runner.analyst import Judgement
from tandem_rollout.runner.progress import describe_progress, history, metric_status


def build_conditions(
    previous: RolloutStatus, *, complete: bool, reason: str, message: str, generation: int, now: float
) -> list[Condition]:
    """The conditions ``Ready`` and ``Valid`` of a rollout whose spec is valid.

    Args:
        previous: The status that was written last.
        complete: Whether all variants serve.
        reason: Why not, as a code; ``Complete`` if they do.
        message: The same in words; empty if all variants serve.
        generation: Generation of the spec.
        now: Seconds since the epoch.
    """
    ready = set_condition(
        previous,
        "Ready",
        complete,
        reason="Complete" if complete else reason,
        message=message or "all variants are ready",
        generation=generation,
        now=now,
    )
    valid = set_condition(
        previous, "Valid", True, reason="Valid", message="the spec is valid", generation=generation, now=now
    )
    return [ready, valid]


def add_run(
    status: RolloutStatus,
    previous: RolloutStatus,
    run: Run,
    schedule: Schedule,
    judgement: Judgement,
    *,
    history_limit: int,
) -> RolloutStatus:
    """A status with its run: progress, run, metrics and history.

    Args:
        status: The status without the run.
        previous: The status that was written last.
        run: The run.
        schedule: Its schedule.
        judgement: The results of its metrics. Without any, those of the previous status stay, unless the run is new.
        history_limit: Most runs in the history.
    """
    verdict = judgement.decision.verdict.value if judgement.decision else ""
    is_same_run = previous.run is not None and previous.run.number == run.number
    earlier_metrics = previous.metrics if is_same_run or run.ended else []
    return msgspec.structs.replace(
        status,
        progress=describe_progress(run, schedule),
        run=to_status(run, steps=len(schedule.steps), measured=judgement.measured, verdict=verdict),
        metrics=[metric_status(line) for line in judgement.results] if judgement.results else earlier_metrics,
        history=history(previous.history, run, status.version_of(run.canary), limit=history_limit),
    )


def phase_since(earlier: VariantStatus | None, phase: Phase, now: float) -> str:
    """When a variant entered its phase.

    Args:
        earlier: The variant in the status that was written last; None if it is new.
        phase: Its phase.
        now: Seconds since the epoch.
    """
    return earlier.since if earlier is not None and earlier.phase == phase else stamp(now)
