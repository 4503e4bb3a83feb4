"""What a run is decided by, beside its own record."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_rollout.analysis.verdict import MetricsDecision
from tandem_rollout.api.cause import Cause
from tandem_rollout.engine.run import Command, Pods


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionState:
    """One of the two revisions of a run.

    Attributes:
        pods: Pods of transformer and predictor that are ready.
        most: Most pods that it may have.
        fit: Whether it has proved itself and may have weight.
        rejected: Why it never will as it is; None where it may.
        problem: What is wrong with it now; None where nothing is.
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
        """Whether it has so many pods of both components."""
        return self.pods[0] >= pods[0] and self.pods[1] >= pods[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """What a decision takes, beside the run itself.

    Attributes:
        wanted: The revision that the spec asks for.
        plan: Hash of what the spec plans for it.
        serving: The revision that clients meet, where no run is on its way; empty if there is none.
        stable: The run's stable, or what serves.
        canary: The run's canary, or what is wanted.
        decision: What the metrics say together; None before anything was counted.
        samples_at_weight: Samples that were counted at the present weight.
        routed: Percentage that the route gives the canary; None where it is not known.
        edited: Whether somebody else has changed the route since it was written.
        command: The last thing that a person asked for.
        deleted: Whether the rollout is being deleted.
    """

    wanted: str
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
