"""The inputs of a decision, besides the run itself."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_rollout.analysis.verdict import MetricsDecision
from tandem_rollout.api.cause import Cause
from tandem_rollout.engine.run import Command, Pods


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionState:
    """The observed state of one of the two revisions of a run.

    Attributes:
        pods: Numbers of ready transformer and predictor pods.
        most: Maximum numbers of pods.
        fit: Whether the revision is verified and may have weight.
        rejected: Why it can never have weight; None if it is not rejected.
        problem: Its present problem; None if there is none.
    """

    pods: Pods = (0, 0)
    most: Pods = (1000, 1000)
    fit: bool = False
    rejected: Cause | None = None
    problem: Cause | None = None

    @property
    def running(self) -> bool:
        """Whether both components have a ready pod."""
        return min(self.pods) > 0

    def has(self, pods: Pods) -> bool:
        """Whether it has these numbers of ready pods."""
        return self.pods[0] >= pods[0] and self.pods[1] >= pods[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """The inputs of a decision.

    Attributes:
        specified: The revision that the spec specifies.
        plan: Hash of the plan of the spec.
        serving: The revision that serves while no run is active; empty if there is none.
        stable: State of the run's stable, or of the serving revision.
        canary: State of the run's canary, or of the specified revision.
        decision: The decision of the metrics; None before the first sample.
        samples_at_weight: Number of samples at the present weight.
        routed: The canary's percentage in the route; None if it is not known.
        edited: Whether another client of the API server has changed the route since it was written.
        command: The last command.
        deleted: Whether the rollout is being deleted.
    """

    specified: str
    plan: str
    serving: str = ""
    stable: RevisionState = RevisionState()
    canary: RevisionState = RevisionState()
    decision: MetricsDecision | None = None
    samples_at_weight: int = 0
    routed: int | None = None
    edited: bool = False
    command: Command | None = None
    deleted: bool = False
