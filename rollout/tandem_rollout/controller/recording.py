"""Third stage of a pass: records a decision before it is applied."""

from __future__ import annotations

import contextlib

import msgspec

from tandem_rollout import EVIDENCE_KIND
from tandem_rollout.controller.decision import Decision, RecordedTransition
from tandem_rollout.controller.interface import WriteError
from tandem_rollout.controller.memory import Edges
from tandem_rollout.controller.observing import locator
from tandem_rollout.controller.records import name_of
from tandem_rollout.controller.snapshot import Snapshot
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.serialization import to_status
from tandem_rollout.runner.analyst import Analyst
from tandem_rollout.runner.driver import note, secure


async def record(edges: Edges, snapshot: Snapshot, decision: Decision) -> None:
    """Record the transitions of the run. Another controller can continue from the record.

    Args:
        edges: The cluster, and what is known of it.
        snapshot: The snapshot.
        decision: The decision.

    Raises:
        WriteError: The record cannot be written.
    """
    if edges.analyst is None or snapshot.schedule is None:
        return
    for step in decision.steps:
        if step.transition.moves:
            await _record(edges, edges.analyst, snapshot, snapshot.schedule, step)
    await _forget_evidence(edges, snapshot, decision.run)


async def _record(
    edges: Edges, analyst: Analyst, snapshot: Snapshot, planned: Schedule, step: RecordedTransition
) -> None:
    transition, now = step.transition, snapshot.whole_now
    run, judgement = transition.run, transition.judgement
    # the evidence comes before the status: whoever continues from the status finds it
    await secure(analyst, planned, snapshot.analysis, transition, locator(edges.cluster, snapshot), now)
    if not run.ended and not planned.observes:
        # the rollout is not deleted before stable has its weight back
        await edges.cluster.finalize(snapshot.manifest, present=True)
    verdict = judgement.decision.verdict.value if judgement.decision else ""
    written = to_status(run, steps=len(planned.steps), measured=judgement.measured, verdict=verdict)
    status = msgspec.structs.replace(snapshot.previous, run=written, history=step.history)
    await edges.memory.reporter.report(snapshot.manifest, status)
    # after the status, so that a transition that is not recorded leaves no note
    await note(analyst, transition, now)


async def _forget_evidence(edges: Edges, snapshot: Snapshot, run: Run | None) -> None:
    """Delete the evidence of the oldest run that is no longer in the history."""
    rollout = snapshot.rollout
    oldest = run.number - max(rollout.spec.history_limit, 1) if run else 0
    if oldest > 0:
        name = name_of(rollout.name, oldest)
        # what is left is deleted in a later pass, or with the rollout that owns it
        with contextlib.suppress(WriteError):
            await edges.memory.applied.remove(EVIDENCE_KIND, rollout.namespace, name, owner=rollout.uid)
