"""`tandem rollout explain`."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import msgspec
import pytest

from tandem_rollout.analysis import drift
from tandem_rollout.analysis.record import MetricEvidence, Record
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.status import RunStatus
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.inputs import RevisionState, RunInputs
from tandem_rollout.engine.run import ENDS, Command, State
from tandem_rollout.engine.schedule import build_schedule
from tandem_rollout.engine.serialization import from_status, to_status

from .conftest import Tandem
from .world import CANARY, NOW, STABLE, FakeTarget, Manifest, manifest, record, spec


@pytest.fixture(autouse=True)
def running(target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={})
    target.records["est", 1] = record(target.manifests["est"], ticks=5)


def explain(tandem: Tandem) -> dict[str, Any]:
    result = tandem("explain", "est", "-o", "json")
    assert result.exit_code == 0
    output: dict[str, Any] = json.loads(result.stdout)
    return output


def words(explanation: dict[str, Any], name: str) -> list[str]:
    """A list of an explanation in words."""
    return [entry["message"] for entry in explanation[name]]


def verbs(explanation: dict[str, Any]) -> list[str]:
    return [advice["command"].split()[2] for advice in explanation["next"]]


@pytest.mark.parametrize("state", get_args(State))
def test_every_state_has_its_rule_and_something_to_do(tandem: Tandem, target: FakeTarget, state: str) -> None:
    target.manifests["est"] = manifest(run={"state": state, "step": 1})
    explanation = explain(tandem)
    assert explanation["state"] == state
    assert explanation["rule"] and explanation["next"]
    assert all(advice["command"].startswith("tandem rollout ") for advice in explanation["next"])
    assert bool(explanation["waitsFor"]) == (state not in ENDS)


@pytest.mark.parametrize("state", get_args(State))
def test_what_is_advised_is_what_is_obeyed(tandem: Tandem, target: FakeTarget, state: str) -> None:
    """Commands that are named are commands, and the engine obeys those that ask for something."""
    obeyed: list[bool] = []

    def hears(resource: Manifest, command: Command) -> None:
        rollout, run = parse(resource), from_status(msgspec.convert(resource["status"]["run"], RunStatus))
        planned = build_schedule(rollout.spec)
        assert planned is not None and run is not None
        serving = run.canary if run.state == "Promoted" else run.stable
        arm = RevisionState(pods=(2, 2), fit=True)
        inputs = RunInputs(specified=CANARY, plan=run.plan, serving=serving, stable=arm, canary=arm, command=command)
        after = decide(planned, run, inputs, NOW)
        assert after is not None
        obeyed.append((after.number, after.state) != (run.number, run.state))
        resource["status"]["run"] = msgspec.to_builtins(to_status(after, steps=2))

    before = {"Paused": "Analyzing"}.get(state, "")
    target.hears = hears
    target.manifests["est"] = manifest(run={"state": state, "step": 1, "pausedFrom": before})
    for advice in explain(tandem)["next"]:
        target.manifests["est"] = manifest(run={"state": state, "step": 1, "pausedFrom": before})
        words = advice["command"].split()[2:]
        if words[0] in ("watch", "report", "plan"):
            continue
        result = tandem(*[word.strip('"') for word in words if word not in ("-n", "models")])
        assert result.exit_code == 0, (advice, result.stdout, result.stderr)
    assert all(obeyed)


@pytest.mark.parametrize("state", get_args(State))
def test_of_a_stack_that_has_stopped_only_a_report_is_left(tandem: Tandem, target: FakeTarget, state: str) -> None:
    target.manifests["est"] = manifest(run={"state": state})
    target.up = False
    assert verbs(explain(tandem)) == ["report"]


@pytest.mark.parametrize("state", ["Aborted", "RolledBack"])
def test_a_start_is_advised_while_the_spec_asks_for_the_version(tandem: Tandem, target: FakeTarget, state: str) -> None:
    target.manifests["est"] = manifest(run={"state": state})
    assert verbs(explain(tandem)) == ["report", "start"]
    target.wanted = STABLE
    assert verbs(explain(tandem)) == ["report"]


def test_who_started_it_is_among_the_reasons(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"startedBy": "bob", "startComment": "new features"})
    assert "started by bob: new features" in words(explain(tandem), "because")


def test_the_hold_is_waited_for(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"since": "2027-01-15T07:59:30Z"})
    assert "the minimum duration of step 1: 30s more" in words(explain(tandem), "waitsFor")


def test_the_last_step_waits_for_evidence(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"step": 1, "since": "2027-01-15T07:50:00Z"})
    (errors,) = [message for message in words(explain(tandem), "waitsFor") if message.startswith("errors")]
    assert errors.startswith("errors, inconclusive, ratio 1.00 (")
    assert "limit x2" in errors and "more requests to the canary" in errors


def test_an_earlier_step_waits_for_data_only(tandem: Tandem, target: FakeTarget) -> None:
    assert not any(message.startswith("errors") for message in words(explain(tandem), "waitsFor"))
    target.records.clear()
    target.manifests["est"]["status"]["metrics"] = [
        {"name": "errors", "verdict": "provider-error", "summary": "Prometheus does not answer"}
    ]
    assert "errors, provider-error: Prometheus does not answer" in words(explain(tandem), "waitsFor")


def test_the_next_look_where_everything_is_there(tandem: Tandem, target: FakeTarget) -> None:
    target.records["est", 1] = record(target.manifests["est"])
    assert "the next sample of the metrics" in words(explain(tandem), "waitsFor")


def test_what_happens_when_the_time_is_over(tandem: Tandem, target: FakeTarget) -> None:
    assert "at most 51m more, then: pause" in words(explain(tandem), "waitsFor")
    target.manifests["est"]["spec"] = spec(analysis={"onTimeout": "abort"})
    assert "at most 51m more, then: abort" in words(explain(tandem), "waitsFor")


def test_a_canary_that_is_not_ready(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"state": "Preparing", "weight": 0, "since": "2027-01-15T07:59:00Z"})
    target.manifests["est"]["status"]["variants"][0].update(
        phase="Pending", reason="PodsNotReady", message="waiting for a ready predictor"
    )
    messages = words(explain(tandem), "waitsFor")
    assert messages == [
        "pods of the canary for 10 %",
        f"{CANARY} is Pending: waiting for a ready predictor",
        "at most 9m more, then the run is aborted",
    ]


def test_the_reason_comes_first(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(
        run={"state": "Paused", "reason": "PausedByUser", "message": "paused by ann: lunch"}
    )
    explanation = explain(tandem)
    assert words(explanation, "because") == ["paused by ann: lunch"]
    assert verbs(explanation) == ["resume", "abort", "promote"]


def test_stable_is_waited_for_when_its_pods_are_gone(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"state": "Aborting", "minPods": [3, 2]})
    assert words(explain(tandem), "waitsFor") == ["stable to have 3 transformers and 2 predictors again"]
    target.manifests["est"] = manifest(run={"state": "Aborting", "immediateRollback": True})
    assert words(explain(tandem), "waitsFor") == ["a ready pod of stable"]
    target.manifests["est"] = manifest(run={"state": "Aborting", "weight": 0})
    assert words(explain(tandem), "waitsFor") == ["the route to drop the canary"]


def test_rollback_is_advised_while_the_version_before_is_there(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"state": "Promoted"})
    assert "rollback" in verbs(explain(tandem))
    target.manifests["est"]["status"]["variants"][1].update(
        phase="Retired", reason="NoReadyPods", message="has no ready pods"
    )
    assert "rollback" not in verbs(explain(tandem))
    target.manifests["est"] = manifest(run={"state": "Promoted"})
    variants = target.manifests["est"]["status"]["variants"]
    variants[:] = [variant for variant in variants if variant["inferenceService"] != STABLE]
    assert "rollback" not in verbs(explain(tandem))


def test_before_the_first_run(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest()
    assert words(explain(tandem), "waitsFor") == ["another bundle in the spec"]
    target.manifests["est"] = manifest(spec={"bundle": {"image": "a:v1"}})
    assert words(explain(tandem), "waitsFor") == ["nothing: the strategy static has no runs"]


def test_conditions_that_do_not_hold_are_told(tandem: Tandem, target: FakeTarget) -> None:
    condition = {
        "type": "Valid",
        "status": "False",
        "reason": "Invalid",
        "message": "spec.bundle: give one",
        "lastTransitionTime": "2027-01-15T07:50:00Z",
    }
    target.manifests["est"] = manifest(status={"conditions": [condition], "observedGeneration": 2})
    messages = words(explain(tandem), "because")
    assert "Valid: spec.bundle: give one" in messages
    assert any("has not observed the latest spec" in message for message in messages)


def test_for_people(tandem: Tandem) -> None:
    output = tandem("explain", "est").stdout
    assert max(map(len, output.splitlines())) <= 100
    for phrase in ("state", "waits for", "rule", "next", "tandem rollout watch est -n models"):
        assert phrase in output


@pytest.mark.parametrize("gate", [True, False])
def test_after_an_abort_by_drift_the_distance_and_a_limit_that_would_have_passed(
    tandem: Tandem, target: FakeTarget, gate: bool
) -> None:
    resource = manifest(run={"state": "Aborted"}, spec=spec(analysis={"metrics": [{"type": "drift", "gate": gate}]}))
    evidence = drift.start(4)
    for _ in range(10):
        evidence = drift.update(evidence, [40.0, 70.0, 110.0, 180.0], [900.0] * 4)
    target.manifests["est"] = resource
    target.records["est", 1] = Record(run=1, plan="", metrics={"drift": MetricEvidence(drift=evidence, missing="")})
    messages = [message for message in words(explain(tandem), "because") if message.startswith("drift")]
    assert len(messages) == gate
    if gate:
        numbers = re.fullmatch(
            r"drift: the distance was (.+) in 4,000 rows of the canary, the limit is PSI 0.1; "
            r"a limit of (.+) would have passed",
            messages[0],
        )
        assert numbers is not None
        apart, would = (float(number) for number in numbers.groups())
        assert apart == pytest.approx(0.273, abs=0.01)
        assert apart < would < 1.5 * apart
        forgiving = manifest(
            run={"state": "Aborted"}, spec=spec(analysis={"metrics": [{"type": "drift", "limit": would}]})
        )
        target.manifests["est"] = forgiving
        status = json.loads(tandem("status", "est", "-o", "json").stdout)
        assert [metric["verdict"] for metric in status["metrics"]] == ["pass"]
