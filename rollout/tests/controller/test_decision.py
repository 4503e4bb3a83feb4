"""What follows from a snapshot. Nothing here needs a cluster: a decision is made from a value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollout.tests.rollouts import manifest

from tandem_rollout.api.manifest import parse
from tandem_rollout.api.status import RolloutStatus
from tandem_rollout.controller.decision import PASSING_S, Decision, decide
from tandem_rollout.controller.describe import build_status
from tandem_rollout.controller.host_claims import Hosts
from tandem_rollout.controller.observation import Observed
from tandem_rollout.controller.resources import HTTPRoute
from tandem_rollout.controller.snapshot import Snapshot
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import build_schedule
from tandem_rollout.render.revision import Revision
from tandem_rollout.runner.driver import Sampled

from .world import verification

NOW = 1_800_000_000.25
CANARY: dict[str, Any] = {"bundle": {"image": "athlete:v2"}, "strategy": {"canary": {}}, "analysis": {}}
STABLE = Observed(
    variant="main",
    name="time-estimator-main-old",
    transformers=2,
    predictors=2,
    weight=100,
    verification=verification("v1"),
)


def snapshot(spec: dict[str, Any], *observed: Observed, run: Run | None = None) -> Snapshot:
    """What there is: the revisions of the spec, without weight, and others."""
    of = manifest(**spec)
    rollout = parse(of)
    specified = [Revision.of(rollout, variant) for variant in rollout.spec.all_variants]
    new = [
        Observed(
            variant=entry.variant.name, name=entry.name, transformers=2, predictors=2, verification=verification("v2")
        )
        for entry in specified
    ]
    weights = {entry.name: entry.weight for entry in observed if entry.weight}
    backends = [{"name": f"{name}-transformer", "weight": weight} for name, weight in weights.items()]
    route = {"metadata": {}, "spec": {"rules": [{"name": "split", "backendRefs": backends}]}} if backends else None
    services = {
        name: {"metadata": {"labels": {"tandem-serving.io/variant": variant}}}
        for name, variant in ((entry.name, entry.variant) for entry in observed)
    }
    planned = build_schedule(rollout.spec)
    unsampled = Snapshot(
        manifest=of,
        rollout=rollout,
        now=NOW,
        previous=RolloutStatus(),
        schedule=planned,
        run=run,
        specified=specified,
        services=services,
        route=HTTPRoute.of(route) if route else None,
        hosts=Hosts(("model.example.com",)),
        observed=[*observed, *new],
    )
    return replace(unsampled, sampled=Sampled(unsampled.inputs(unsampled.current))) if planned else unsampled


def states(decision: Decision) -> list[str]:
    return [step.transition.run.state for step in decision.steps]


def test_without_a_strategy_that_decides_weights_are_those_of_the_spec() -> None:
    there = snapshot({})
    decision = decide(there)
    assert decision.plan.weights == {revision.name: revision.variant.weight for revision in there.specified}
    assert (decision.run, list(decision.steps), decision.revisions) == (None, [], there.specified)


def test_a_run_begins_and_stable_keeps_its_weight() -> None:
    there = snapshot(CANARY, STABLE)
    decision = decide(there)
    assert decision.run is not None
    assert (decision.run.number, decision.run.stable, decision.run.canary) == (1, STABLE.name, there.specified[0].name)
    assert decision.run.since == int(NOW)
    assert decision.plan.weights == {STABLE.name: 100}
    assert {revision.name for revision in decision.revisions} == {STABLE.name, there.specified[0].name}
    # the same value, however often it is decided: nothing but the snapshot counts
    assert decide(there) == decision


def test_after_weights_were_observed_the_next_run_begins_in_the_same_pass() -> None:
    observing = Run(
        number=3, stable=STABLE.name, canary="b", plan="p", state="Observing", started=NOW - 60, since=NOW - 60
    )
    there = snapshot(CANARY, STABLE, run=observing)
    decision = decide(there)
    assert states(decision)[0] == "Completed"
    assert [step.transition.before for step in decision.steps] == [observing, decision.steps[0].transition.run]
    assert decision.run is not None and not decision.run.ended
    assert decision.run.number == 4
    # each is written down with the runs that had ended before it
    assert [[past.number for past in step.history] for step in decision.steps] == [[], [3]]
    assert [past.number for past in decision.history] == [3]


def test_what_gets_its_first_weight_waits_for_the_gateway_while_others_answer() -> None:
    spec = {"variants": [{"name": "main", "bundle": {"image": "athlete:v2"}, "weight": 100}]}
    there = snapshot(spec, STABLE)
    (new,) = there.specified
    decision = decide(there)
    assert (decision.plan.weights, decision.arriving) == ({STABLE.name: 100}, {new.name: NOW})
    annotation = {"tandem-serving.io/arriving": f'{{"{new.name}": {NOW - PASSING_S}}}'}
    backends = [{"name": f"{name}-transformer", "weight": 100} for name in (STABLE.name, new.name)]
    route = {"metadata": {"annotations": annotation}, "spec": {"rules": [{"name": "split", "backendRefs": backends}]}}
    decision = decide(replace(there, route=HTTPRoute.of(route)))
    assert (decision.plan.weights, decision.arriving) == ({new.name: 100}, {})
    assert decision.leaving == {STABLE.name: NOW}


def test_a_status_follows_from_a_snapshot_and_a_decision() -> None:
    there = snapshot(CANARY, STABLE)
    decision = decide(there)
    status = build_status(there, decision, {})
    assert status.run is not None and decision.run is not None
    assert (status.run.state, status.url) == (decision.run.state, "http://model.example.com")
    assert [entry.type for entry in status.conditions] == ["Ready", "Valid", "Progressing"]
    assert status.weights == "main=100"
