"""What the world must look like for a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tandem_rollout.engine.inputs import RevisionState
from tandem_rollout.engine.run import Pods, Run
from tandem_rollout.engine.schedule import Schedule

WHOLE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Weights and pods.

    Attributes:
        weights: Percentage of the requests by revision; a revision without any is left out. Empty where they stay as
            the spec has them.
        min_pods: Fewest pods by revision.
        retained: Whether both revisions must stay, with or without weight.
    """

    weights: dict[str, int]
    min_pods: dict[str, Pods]
    retained: bool


def derive_desired(schedule: Schedule, run: Run, stable: RevisionState, canary: RevisionState) -> Desired:
    """What the world must look like.

    Args:
        schedule: What was planned.
        run: The run.
        stable: Its stable, as it is.
        canary: Its canary, as it is.
    """
    if run.state in ("Observing", "Completed"):
        return Desired(weights={}, min_pods={}, retained=not run.ended)
    weights = {run.stable: WHOLE - run.weight, run.canary: run.weight}
    weights = {name: weight for name, weight in weights.items() if weight}
    if run.ended:
        return Desired(weights=weights, min_pods={}, retained=False)
    return Desired(
        weights=weights,
        min_pods={
            run.stable: run.min_pods,
            run.canary: pods_for(size(schedule, run), run, stable, canary),
        },
        retained=True,
    )


def target(schedule: Schedule, run: Run) -> int:
    """The weight that the run is on its way to. One that was adopted does not fall at the next step."""
    if run.state in ("Preparing", "Scaling"):
        return max(run.weight, weight_of(schedule, run.step))
    return 0 if run.returns else run.weight


def size(schedule: Schedule, run: Run) -> int:
    """The weight that the canary must have the pods for.

    Past the last step that is all, though stable keeps a part while it bakes: when the bake time is over nobody waits.
    """
    if not run.returns and run.step >= len(schedule.steps):
        return WHOLE
    return max(run.weight, target(schedule, run))


def weight_of(schedule: Schedule, step: int) -> int:
    """Weight of a step; past the last one all but what is held back while it bakes."""
    if step < len(schedule.steps):
        return schedule.steps[step].weight
    return WHOLE - schedule.holdback if schedule.bake else WHOLE


def pods_for(weight: int, run: Run, stable: RevisionState, canary: RevisionState) -> Pods:
    """Pods that the canary needs for a weight: its part of what stable has, or had before the run."""
    needed = [
        max(min(math.ceil(max(now, before) * weight / WHOLE), most), 1)
        for now, before, most in zip(stable.pods, run.min_pods, canary.most, strict=True)
    ]
    return needed[0], needed[1]
