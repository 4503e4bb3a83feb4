"""The steps of advancing a run: observe, sample, decide, record and apply.

The controller uses them in the stages of its pass. :func:`advance` runs all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from tandem_rollout.api.analysis import Analysis
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.desired import Desired, derive_desired
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.runner.analyst import Analyst, Judgement
from tandem_rollout.sources import Arms


class Backend(Protocol):
    """The environment of a run: a cluster, or the processes of one machine."""

    def inputs(self, run: Run | None) -> RunInputs:
        """The inputs of a decision, without metrics."""
        ...

    async def arms(self, run: Run) -> Arms:
        """Where the two revisions of a run are counted."""
        ...

    async def write(self, run: Run, judgement: Judgement) -> None:
        """Record a run, before it is applied."""
        ...

    async def make(self, run: Run, desired: Desired) -> None:
        """Apply the desired state."""
        ...


Locate = Callable[[Run], Awaitable[Arms]]
"""Locates the counters of the two revisions of a run."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """The inputs of a decision, with a sample of the metrics.

    Attributes:
        inputs: The inputs, with the decision of the metrics.
        judgement: The judgement of the metrics.
        sampled: Whether the metrics were sampled.
    """

    inputs: RunInputs
    judgement: Judgement = field(default_factory=Judgement)
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class RunTransition:
    """A transition of a run.

    Attributes:
        before: The run before; None before the first run.
        run: The run after; the same object if it does not move.
        desired: The desired state.
        judgement: The judgement of the metrics.
        sampled: Whether the metrics were sampled.
    """

    before: Run | None
    run: Run
    desired: Desired
    judgement: Judgement
    sampled: bool

    @property
    def moves(self) -> bool:
        """Whether the run changes."""
        return self.run is not self.before


async def sample(
    analyst: Analyst, analysis: Analysis, run: Run | None, snapshot: RunInputs, locate: Locate, now: float
) -> Sampled:
    """Sample the metrics of a run, if it is active.

    Args:
        analyst: Takes samples of the metrics.
        analysis: The analysis of the spec.
        run: The run.
        snapshot: The inputs of the decision.
        locate: Locates the counters of the two revisions.
        now: Seconds since the epoch.
    """
    if run is None or run.ended or run.returns:
        return Sampled(snapshot)
    judgement = Judgement()
    # a canary with weight and without pods is decided without metrics
    sampled = not run.weight or snapshot.canary.running
    if sampled:
        judgement = await analyst.take_sample(analysis, run, await locate(run), now, routed=snapshot.routed)
    return Sampled(
        replace(snapshot, decision=judgement.decision, samples_at_weight=judgement.samples_at_weight),
        judgement,
        sampled,
    )


def move(schedule: Schedule, run: Run | None, sampled: Sampled, now: float) -> RunTransition | None:
    """Decide how a run continues. Pure. None if there is no run, and none begins.

    Args:
        schedule: The schedule of the spec.
        run: The run.
        sampled: The inputs of the decision.
        now: Seconds since the epoch.
    """
    snapshot = sampled.inputs
    after = decide(schedule, run, snapshot, now)
    if after is None:
        return None
    return RunTransition(
        run,
        after,
        derive_desired(schedule, after, snapshot.stable, snapshot.canary),
        sampled.judgement,
        sampled.sampled,
    )


async def secure(
    analyst: Analyst, schedule: Schedule, analysis: Analysis, transition: RunTransition, locate: Locate, now: float
) -> None:
    """Complete the evidence before a transition is recorded.

    Args:
        analyst: Takes samples of the metrics.
        schedule: The schedule of the spec.
        analysis: The analysis of the spec.
        transition: The transition.
        locate: Locates the counters of the two revisions.
        now: Seconds since the epoch.
    """
    run, after = transition.before, transition.run
    if run is None or not transition.sampled:
        return
    # the step after the last one is the promotion
    if run.step < len(schedule.steps) <= after.step:
        await analyst.promote(analysis, run)
    if after.weight != run.weight and not (after.returns or after.ended):
        # so that the requests before the change of the weight are part of a sample of their own
        await analyst.read(analysis, run, await locate(run), now)


async def note(analyst: Analyst, transition: RunTransition, now: float) -> None:
    """Add notes about a transition, after it was recorded.

    The previous state is noted, too, as another process may have recorded it without a note.

    Args:
        analyst: Stores the evidence.
        transition: The transition.
        now: Seconds since the epoch.
    """
    if transition.before is not None:
        await analyst.note(transition.before, transition.before.since)
        await analyst.keep()
    await analyst.note(transition.run, now)
    await analyst.keep()


async def advance(
    backend: Backend, analyst: Analyst, schedule: Schedule, analysis: Analysis, run: Run | None, now: float
) -> tuple[Run | None, Judgement]:
    """Advance a run.

    Args:
        backend: The environment of the run.
        analyst: Takes samples of the metrics.
        schedule: The schedule of the spec.
        analysis: The analysis of the spec.
        run: The recorded run.
        now: Seconds since the epoch.

    Returns:
        The run from now on, and the judgement of the metrics.
    """
    sampled = await sample(analyst, analysis, run, backend.inputs(run), backend.arms, now)
    transition = move(schedule, run, sampled, now)
    if transition is None:
        return None, sampled.judgement
    # before the weight changes: afterwards the requests of both weights are mixed
    await secure(analyst, schedule, analysis, transition, backend.arms, now)
    # before it is applied: a process that dies in between leaves a run that the next one can continue
    if transition.moves:
        await backend.write(transition.run, transition.judgement)
    # also without a move, as the process that recorded the run may have died before it applied it
    await backend.make(transition.run, transition.desired)
    # last, as a record that the API server rejects must leave no note
    if transition.moves:
        await note(analyst, transition, now)
    return transition.run, transition.judgement
