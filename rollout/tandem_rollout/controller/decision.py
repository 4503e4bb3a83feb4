"""Second stage of a pass: how the run goes on, and which weights follow. Pure: a snapshot in, a decision out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import PastRun
from tandem_rollout.controller import objects, run_inputs
from tandem_rollout.controller.snapshot import Snapshot
from tandem_rollout.controller.weights import WeightPlan, plan_run, plan_weights
from tandem_rollout.engine.due import compute_due
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.serialization import from_status
from tandem_rollout.render.revision import Revision
from tandem_rollout.runner.analyst import Judgement
from tandem_rollout.runner.driver import RunTransition, Sampled, move
from tandem_rollout.runner.progress import history

PASSING_S: Final = 5.0
"""How long a backend that comes or goes has next to no weight: longer than the gateway takes to hear of it."""


@dataclass(frozen=True, slots=True)
class RecordedTransition:
    """A transition, and what is written down with it.

    Attributes:
        transition: The transition.
        history: The runs that had ended before it, the latest first.
    """

    transition: RunTransition
    history: list[PastRun]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided.

    Attributes:
        plan: Weights, and what may go.
        revisions: The revisions that must be there.
        history: The runs that have ended, the latest first.
        steps: How the run gets from where it stood to where it stands: none, one, or two.
        run: The run; None where there is none, or nothing is decided.
        judgement: What its metrics say.
        due: When the run has to be looked at again, in seconds since the epoch.
        arriving: What is about to get its first weight, and since when.
        leaving: What has lost its weight and is still in the route, and since when.
    """

    plan: WeightPlan
    revisions: Sequence[Revision]
    history: list[PastRun]
    steps: Sequence[RecordedTransition] = ()
    run: Run | None = None
    judgement: Judgement = field(default_factory=Judgement)
    due: float = float("inf")
    arriving: Mapping[str, float] = field(default_factory=dict)
    leaving: Mapping[str, float] = field(default_factory=dict)


def decide(snapshot: Snapshot) -> Decision:
    """Decide what follows from a snapshot.

    Args:
        snapshot: What there is.
    """
    decision = _decide_run(snapshot) or _decide_as_written(snapshot)
    if arriving := _arriving(snapshot, decision.plan):
        routed = _as_routed(decision.plan, arriving, objects.route_weights(snapshot.route))
        decision = replace(decision, plan=routed, arriving=arriving)
    return replace(decision, leaving=_leaving(snapshot, decision.plan))


def _decide_as_written(snapshot: Snapshot) -> Decision:
    """Weights as the spec has them, where nothing is decided; a run that was on its way ends."""
    rollout, previous = snapshot.rollout, snapshot.previous
    ended = run_inputs.given_up(from_status(previous.run), rollout, snapshot.specified, snapshot.whole_now)
    return Decision(
        plan=plan_weights(rollout, snapshot.specified, snapshot.observed, snapshot.now),
        revisions=snapshot.specified,
        history=_history(snapshot, ended, previous.history),
    )


def _decide_run(snapshot: Snapshot) -> Decision | None:
    """How the run goes on, and weights as it says; None where nothing is decided."""
    planned, sampled = snapshot.schedule, snapshot.sampled
    if planned is None or sampled is None:
        return None
    before, now = snapshot.current, snapshot.whole_now
    past = _history(snapshot, snapshot.run, snapshot.previous.history)
    transition = move(planned, before, sampled, now)
    steps = [RecordedTransition(transition, past)] if transition else []
    judgement = sampled.judgement
    if transition and (following := _begin_deciding(snapshot, transition)):
        past = _history(snapshot, transition.run, past)
        steps.append(RecordedTransition(following, past))
        transition, judgement = following, following.judgement
    run = transition.run if transition and (steps[0].transition.moves or snapshot.run) else None
    revisions = snapshot.revisions(run)
    if transition and run_inputs.rules(planned, run):
        weights = plan_run(
            snapshot.rollout, revisions, snapshot.observed, transition.desired, snapshot.verdicts, snapshot.now
        )
    else:
        weights = plan_weights(snapshot.rollout, revisions, snapshot.observed, snapshot.now)
    underway = run is not None and not run.ended
    return Decision(
        plan=weights,
        revisions=revisions,
        history=past,
        steps=steps,
        run=run,
        judgement=judgement,
        due=compute_due(planned, run, snapshot.now) if run is not None and underway else float("inf"),
    )


def _begin_deciding(snapshot: Snapshot, transition: RunTransition) -> RunTransition | None:
    """The first transition after weights were observed as written; None where they were not, or still are.

    In the same pass, for until the next run begins nobody would say that weights stay what they are.
    """
    planned, observing = snapshot.schedule, snapshot.run is not None and snapshot.run.state == "Observing"
    if planned is None or planned.observes or not observing or not transition.moves:
        return None
    return move(planned, transition.run, Sampled(snapshot.inputs(transition.run)), snapshot.whole_now)


def _history(snapshot: Snapshot, run: Run | None, past: Sequence[PastRun]) -> list[PastRun]:
    """The runs that have ended, the latest first."""
    version = snapshot.previous.version_of(run.canary) if run else ""
    return history(past, run, version, limit=snapshot.rollout.spec.history_limit)


def _arriving(snapshot: Snapshot, plan: WeightPlan) -> dict[str, float]:
    """What is to get its first weight, and since when; until the gateway has heard of it others keep all there is.

    Nothing where no other could answer.
    """
    arriving, leaving = objects.arriving(snapshot.route), objects.leaving(snapshot.route)
    weighted = {revision.name for revision in snapshot.observed if revision.weight}
    new = [name for name, weight in plan.weights.items() if weight and name not in weighted and name not in leaving]
    since = {name: arriving.get(name, snapshot.now) for name in new}
    waits = any(snapshot.now < at + PASSING_S for at in since.values())
    return since if waits and any(revision.weight and revision.running for revision in snapshot.observed) else {}


def _as_routed(plan: WeightPlan, arriving: Mapping[str, float], weights: dict[str, int]) -> WeightPlan:
    """The same plan, with the weights that the route has."""
    return replace(
        plan,
        weights=weights,
        waits=plan.waits | dict.fromkeys(arriving, Cause("GatewayNotReady", "waits until the gateway knows it")),
        reachable=tuple(dict.fromkeys([*weights, *plan.reachable])),
        retired=tuple(name for name in plan.retired if name not in weights),
        obsolete=tuple(name for name in plan.obsolete if name not in weights),
    )


def _leaving(snapshot: Snapshot, plan: WeightPlan) -> dict[str, float]:
    """What has just lost its weight and runs, and since when; it stays in the route for a moment."""
    leaving = objects.leaving(snapshot.route)
    candidates = [
        revision.name
        for revision in snapshot.observed
        if revision.running and (revision.weight or revision.name in leaving)
    ]
    since = {name: leaving.get(name, snapshot.now) for name in candidates if not plan.weights.get(name)}
    return {name: at for name, at in since.items() if snapshot.now < at + PASSING_S}
