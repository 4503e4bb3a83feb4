"""Third stage of a pass: a decision is written down before anything is done about it."""

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
    """Write down how the run goes on: a controller that takes over goes on from there.

    Args:
        edges: What is written to.
        snapshot: What there is.
        decision: What was decided.

    Raises:
        WriteError: if it cannot be written.
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
    await secure(analyst, planned, snapshot.analysis, transition, locator(edges.cluster, snapshot), now)
    if not run.ended and not planned.observes:
        # nobody deletes the rollout without stable having its weight back
        await edges.cluster.finalize(snapshot.manifest, present=True)
    verdict = judgement.decision.verdict.value if judgement.decision else ""
    written = to_status(run, steps=len(planned.steps), measured=judgement.measured, verdict=verdict)
    status = msgspec.structs.replace(snapshot.previous, run=written, history=step.history)
    await edges.memory.reporter.report(snapshot.manifest, status)
    await note(analyst, transition, now)


async def _forget_evidence(edges: Edges, snapshot: Snapshot, run: Run | None) -> None:
    """Delete the evidence of the run that the history has no place for any more."""
    rollout = snapshot.rollout
    oldest = run.number - max(rollout.spec.history_limit, 1) if run else 0
    if oldest > 0:
        name = name_of(rollout.name, oldest)
        with contextlib.suppress(WriteError):
            await edges.memory.applied.remove(EVIDENCE_KIND, rollout.namespace, name, owner=rollout.uid)
