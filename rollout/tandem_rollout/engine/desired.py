"""The desired state of a run: weights and pods."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tandem_rollout.engine.inputs import RevisionState
from tandem_rollout.engine.run import Pods, Run
from tandem_rollout.engine.schedule import Schedule

WHOLE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The desired state.

    Attributes:
        weights: Percentage of the requests by revision, without revisions that have none. Empty if the weights of the
            spec apply.
        min_pods: Minimum numbers of pods by revision.
        retained: Whether both revisions must exist, with or without weight.
    """

    weights: dict[str, int]
    min_pods: dict[str, Pods]
    retained: bool


def derive_desired(schedule: Schedule, run: Run, stable: RevisionState, canary: RevisionState) -> Desired:
    """The desired state of a run.

    Args:
        schedule: The schedule of the run.
        run: The run.
        stable: The observed state of its stable.
        canary: The observed state of its canary.
    """
    if run.state in ("Observing", "Completed"):
        return Desired(weights={}, min_pods={}, retained=not run.ended)
    weights = {run.stable: WHOLE - run.weight, run.canary: run.weight}
    # a backend with weight 0 would keep the sessions that stick to it
    weights = {name: weight for name, weight in weights.items() if weight}
    # pods are only pinned while an abort may return the requests
    if run.ended:
        return Desired(weights=weights, min_pods={}, retained=False)
    # pinned, as the autoscaler would remove pods of stable that an abort needs
    min_pods = {run.stable: run.min_pods, run.canary: pods_for(size(schedule, run), run, stable, canary)}
    return Desired(weights=weights, min_pods=min_pods, retained=True)


def target(schedule: Schedule, run: Run) -> int:
    """The next weight of the canary. An adopted weight is not lowered by the next step."""
    if run.state in ("Preparing", "Scaling"):
        return max(run.weight, weight_of(schedule, run.step))
    return 0 if run.returns else run.weight


def size(schedule: Schedule, run: Run) -> int:
    """The weight for which the canary must have the pods.

    After the last step that is 100, although stable keeps the holdback during the bake time: the canary gets the rest
    at the end of the bake time without waiting for more pods.
    """
    if not run.returns and run.step >= len(schedule.steps):
        return WHOLE
    return max(run.weight, target(schedule, run))


def weight_of(schedule: Schedule, step: int) -> int:
    """The weight of a step. After the last step it is 100 less the holdback."""
    if step < len(schedule.steps):
        return schedule.steps[step].weight
    return WHOLE - schedule.holdback if schedule.bake else WHOLE


def pods_for(weight: int, run: Run, stable: RevisionState, canary: RevisionState) -> Pods:
    """Pods that the canary needs for a weight: that share of the pods that stable has, or had before the run."""
    needed = [
        # more pods than its autoscaling allows would never come; one pod even at 0 %, for the preview host
        max(min(math.ceil(max(now, before) * weight / WHOLE), most), 1)
        for now, before, most in zip(stable.pods, run.min_pods, canary.most, strict=True)
    ]
    return needed[0], needed[1]
