"""One move of a run, on whatever it runs: observe, sample, decide, write down, make it so.

The parts stand alone, so that a controller can make them stages of its own; :func:`advance` is all of them in a row.
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
    """What a run happens on: a cluster, or the processes of one machine."""

    def inputs(self, run: Run | None) -> RunInputs:
        """What is there; of the metrics it says nothing."""
        ...

    async def arms(self, run: Run) -> Arms:
        """Where the two revisions of a run are counted."""
        ...

    async def write(self, run: Run, judgement: Judgement) -> None:
        """Write a run down, before anything is done about it."""
        ...

    async def make(self, run: Run, wanted: Desired) -> None:
        """Make weights and pods as they must be."""
        ...


Locate = Callable[[Run], Awaitable[Arms]]
"""Finds where the two revisions of a run are counted."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a run is decided by.

    Attributes:
        inputs: What there is, with the decision of the metrics.
        judgement: What the metrics say.
        sampled: Whether they were asked.
    """

    inputs: RunInputs
    judgement: Judgement = field(default_factory=Judgement)
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class RunTransition:
    """One move of a run.

    Attributes:
        before: The run until now; None before the first.
        run: The run from now on; the same object where it does not move.
        desired: What the world must look like.
        judgement: What the metrics say.
        sampled: Whether they were asked.
    """

    before: Run | None
    run: Run
    desired: Desired
    judgement: Judgement
    sampled: bool

    @property
    def moves(self) -> bool:
        """Whether there is anything to write down."""
        return self.run is not self.before


async def sample(
    analyst: Analyst, analysis: Analysis, run: Run | None, snapshot: RunInputs, locate: Locate, now: float
) -> Sampled:
    """Ask the metrics of a run, where there is anything to ask.

    Args:
        analyst: Takes samples of the metrics.
        analysis: What is looked at.
        run: The run so far.
        snapshot: What there is.
        locate: Finds where the two revisions of the run are counted.
        now: Seconds since the epoch.
    """
    if run is None or run.ended or run.returns:
        return Sampled(snapshot)
    judgement = Judgement()
    # where the canary has weight and no pods there is nothing to ask first
    sampled = not run.weight or snapshot.canary.running
    if sampled:
        judgement = await analyst.take_sample(analysis, run, await locate(run), now, routed=snapshot.routed)
    return Sampled(
        replace(snapshot, decision=judgement.decision, samples_at_weight=judgement.samples_at_weight),
        judgement,
        sampled,
    )


def move(schedule: Schedule, run: Run | None, sampled: Sampled, now: float) -> RunTransition | None:
    """Decide how a run goes on. Pure; None where there is no run, and none begins.

    Args:
        schedule: What is planned.
        run: The run so far.
        sampled: What it is decided by.
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
    """Secure the evidence that a transition would change, before it is written down.

    Args:
        analyst: Takes samples of the metrics.
        schedule: What is planned.
        analysis: What is looked at.
        transition: The move.
        locate: Finds where the two revisions of the run are counted.
        now: Seconds since the epoch.
    """
    run, after = transition.before, transition.run
    if run is None or not transition.sampled:
        return
    if run.step < len(schedule.steps) <= after.step:
        await analyst.promote(analysis, run)
    if after.weight != run.weight and not (after.returns or after.ended):
        # what comes before the change of the weight is told from what comes after it
        await analyst.read(analysis, run, await locate(run), now)


async def note(analyst: Analyst, transition: RunTransition, now: float) -> None:
    """Note what has become of a run, when that is written down and made: what is not taken did not happen.

    Whoever moved it before may have come no further than to write it down; then that is noted too.

    Args:
        analyst: Keeps the evidence.
        transition: The move.
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
    """One move.

    Args:
        backend: What the run happens on.
        analyst: Takes samples of the metrics.
        schedule: What is planned.
        analysis: What is looked at.
        run: The run so far, as it was written down.
        now: Seconds since the epoch.

    Returns:
        The run as it is from now on, and what the metrics say.
    """
    sampled = await sample(analyst, analysis, run, backend.inputs(run), backend.arms, now)
    transition = move(schedule, run, sampled, now)
    if transition is None:
        return None, sampled.judgement
    await secure(analyst, schedule, analysis, transition, backend.arms, now)
    if transition.moves:
        await backend.write(transition.run, transition.judgement)
    await backend.make(transition.run, transition.desired)
    if transition.moves:
        await note(analyst, transition, now)
    return transition.run, transition.judgement
