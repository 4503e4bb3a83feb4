"""One move of a run, on whatever it runs: see, judge, decide, write down, make it so."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from tandem_rollout.analyst import Analyst, Judgement
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.desired import Desired, desired
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.seen import Seen
from tandem_rollout.gates import Analysis
from tandem_rollout.sources import Arms


class Backend(Protocol):
    """What a run happens on: a cluster, or the processes of one machine."""

    def seen(self, run: Run | None) -> Seen:
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
    snapshot = backend.seen(run)
    judgement = Judgement()
    sampled = False
    if run is not None and not run.ended and not run.returns:
        # where the canary has weight and no pods there is nothing to ask first
        sampled = not run.weight or snapshot.canary.running
        if sampled:
            judgement = await analyst.look(analysis, run, await backend.arms(run), now, routed=snapshot.routed)
        snapshot = replace(snapshot, decision=judgement.decision, looks=judgement.looks)
    after = decide(schedule, run, snapshot, now)
    if after is None:
        return None, judgement
    if run is not None and sampled and run.step < len(schedule.steps) <= after.step:
        await analyst.promote(analysis, run)
    if run is not None and sampled and after.weight != run.weight and not (after.returns or after.ended):
        # what comes before the change of the weight is told from what comes after it
        await analyst.read(analysis, run, await backend.arms(run), now)
    if after is not run:
        await backend.write(after, judgement)
    await backend.make(after, desired(schedule, after, snapshot.stable, snapshot.canary))
    if after is not run:
        await _tell(analyst, run, after, now)
    return after, judgement


async def _tell(analyst: Analyst, before: Run | None, after: Run, now: float) -> None:
    """Note what has become of a run, when that is written down and made: what is not taken did not happen.

    Whoever moved it before may have come no further than to write it down; then that is told too.
    """
    if before is not None:
        await analyst.note(before, before.since)
        await analyst.keep()
    await analyst.note(after, now)
    await analyst.keep()
