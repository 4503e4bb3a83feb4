"""Second stage of a pass: decides how the run continues, and the weights. Pure."""

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
"""Seconds for which an arriving or leaving backend has a minimal weight: longer than the gateway needs for a change."""


@dataclass(frozen=True, slots=True)
class RecordedTransition:
    """A transition, and the history that is recorded with it.

    Attributes:
        transition: The transition.
        history: The runs that had ended before it, the latest first.
    """

    transition: RunTransition
    history: list[PastRun]


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a pass.

    Attributes:
        plan: Weights, and obsolete revisions.
        revisions: The revisions that must exist.
        history: The runs that have ended, the latest first.
        steps: The transitions of the run in this pass: none, one, or two.
        run: The run; None if there is none.
        judgement: Judgement of its metrics.
        due: Time at which the run is due for another decision, in seconds since the epoch.
        arriving: Revisions that are about to get their first weight, with the time at which they arrived.
        leaving: Revisions without weight that are still in the route, with the time at which they lost it.
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
    """Decide how the run continues, and the weights.

    Args:
        snapshot: The snapshot.
    """
    decision = _decide_run(snapshot) or _decide_as_written(snapshot)
    if arriving := _arriving(snapshot, decision.plan):
        routed = _as_routed(decision.plan, arriving, objects.route_weights(snapshot.route))
        decision = replace(decision, plan=routed, arriving=arriving)
    return replace(decision, leaving=_leaving(snapshot, decision.plan))


def _decide_as_written(snapshot: Snapshot) -> Decision:
    """The weights of the spec, for a rollout without runs. An active run ends."""
    rollout, previous = snapshot.rollout, snapshot.previous
    ended = run_inputs.given_up(from_status(previous.run), rollout, snapshot.specified, snapshot.whole_now)
    return Decision(
        plan=plan_weights(rollout, snapshot.specified, snapshot.observed, snapshot.now),
        revisions=snapshot.specified,
        history=_history(snapshot, ended, previous.history),
    )


def _decide_run(snapshot: Snapshot) -> Decision | None:
    """How the run continues, and its weights; None for a rollout without runs."""
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
    # the placeholder for the last run of the history is no run until it moves
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
    """The first transition after a run that observed; None if there was none, or if it continues.

    It is part of the same pass, as without a run the weights of the spec would apply.
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
    """Revisions that are about to get their first weight. The others keep all requests until the gateway knows them.

    Empty if no other revision can serve.
    """
    arriving, leaving = objects.arriving(snapshot.route), objects.leaving(snapshot.route)
    weighted = {revision.name for revision in snapshot.observed if revision.weight}
    # the gateway still has a cluster for what is leaving
    new = [name for name, weight in plan.weights.items() if weight and name not in weighted and name not in leaving]
    since = {name: arriving.get(name, snapshot.now) for name in new}
    waits = any(snapshot.now < at + PASSING_S for at in since.values())
    return since if waits and any(revision.weight and revision.running for revision in snapshot.observed) else {}


def _as_routed(plan: WeightPlan, arriving: Mapping[str, float], weights: dict[str, int]) -> WeightPlan:
    """The plan with the present weights of the route."""
    return replace(
        plan,
        weights=weights,
        waits=plan.waits | dict.fromkeys(arriving, Cause("GatewayNotReady", "waiting for the gateway")),
        reachable=tuple(dict.fromkeys([*weights, *plan.reachable])),
        retired=tuple(name for name in plan.retired if name not in weights),
        obsolete=tuple(name for name in plan.obsolete if name not in weights),
    )


def _leaving(snapshot: Snapshot, plan: WeightPlan) -> dict[str, float]:
    """Running revisions that have just lost their weight. They stay in the route for a short time."""
    leaving = objects.leaving(snapshot.route)
    candidates = [
        revision.name
        for revision in snapshot.observed
        # without pods it cannot answer: it leaves the route at once
        if revision.running and (revision.weight or revision.name in leaving)
    ]
    since = {name: leaving.get(name, snapshot.now) for name in candidates if not plan.weights.get(name)}
    return {name: at for name, at in since.items() if snapshot.now < at + PASSING_S}
