"""The commands that are sent to a rollout."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tandem_cli.rollout.targets.target import TargetError
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.status import RunStatus
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.inputs import RevisionState, RunInputs
from tandem_rollout.engine.run import Command
from tandem_rollout.engine.schedule import build_schedule
from tandem_rollout.engine.serialization import from_status, to_status

from .conftest import Tandem
from .world import CANARY, NOW, STABLE, Clock, FakeTarget, Manifest, manifest, record, spec

VERBS = ("promote", "pause", "resume", "abort", "rollback")


def becoming(rejected: str = "", **run: Any) -> Any:
    """A controller that hears at once."""

    def hears(resource: Manifest, command: Command) -> None:
        answer = {"id": command.id, "verb": command.verb, "by": command.by, "result": "Accepted"}
        if rejected:
            answer |= {"result": "Rejected", "reason": "InvalidState", "message": rejected}
        resource["status"]["run"] = {
            **resource["status"].get("run", {}),
            "lastCommand": answer,
            "by": command.by,
            **run,
        }

    return hears


@pytest.fixture(autouse=True)
def running(target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"message": "started"})


@pytest.mark.parametrize("verb", VERBS)
def test_who_and_why_reach_the_run(tandem: Tandem, target: FakeTarget, verb: str) -> None:
    target.hears = becoming(state="Scaling")
    result = tandem(verb, "est", "--reason", " it is time ")
    assert result.exit_code == 0
    assert target.asked == [Command(id="id-0", verb=verb, by="ann", comment="it is time")]
    assert result.stdout == f"{verb} accepted: est is Scaling\n"


def test_it_waits_until_it_is_heard(tandem: Tandem, target: FakeTarget, clock: Clock) -> None:
    target.hears = lambda resource, command: clock.after(7, lambda: becoming(state="Paused")(resource, command))
    assert tandem("pause", "est").exit_code == 0
    assert 7 <= clock.now - NOW <= 9


def test_a_command_that_nobody_hears(tandem: Tandem, clock: Clock) -> None:
    result = tandem("pause", "est", "--timeout", "5s")
    assert (result.exit_code, clock.now - NOW) == (4, 5)
    assert (
        "timed out after 5 s waiting for the rollout to accept pause\nhint: see `tandem rollout explain est`"
        in result.stderr
    )


def test_what_another_person_is_answered_is_no_answer(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"]["status"]["run"]["lastCommand"] = {"id": "other", "verb": "pause", "result": "Accepted"}
    assert tandem("pause", "est", "--timeout", "3s").exit_code == 4


def test_nobody_waits_who_does_not_want_to(tandem: Tandem, target: FakeTarget, clock: Clock) -> None:
    result = tandem("abort", "est", "--no-wait")
    assert (result.exit_code, clock.now, len(target.asked)) == (0, NOW, 1)
    assert result.stdout == "abort sent as ann\n"


def test_a_command_that_is_not_obeyed(tandem: Tandem, target: FakeTarget) -> None:
    target.hears = becoming("cannot resume while Analyzing")
    result = tandem("resume", "est")
    assert (result.exit_code, result.stdout) == (1, "resume rejected: cannot resume while Analyzing\n")
    document = json.loads(tandem("resume", "est", "-o", "json").stdout)
    assert (document["accepted"], document["result"]) == (False, "Rejected")


def test_the_document(tandem: Tandem, target: FakeTarget) -> None:
    target.hears = becoming(state="Aborting", reason="AbortedByUser", message="aborted by ann: bad")
    document = json.loads(tandem("abort", "est", "--reason", "bad", "-o", "json").stdout)
    assert document == {
        "apiVersion": "cli.tandem-serving.io/v1",
        "kind": "RolloutAnswer",
        "name": "est",
        "namespace": "models",
        "verb": "abort",
        "id": "id-0",
        "by": "ann",
        "comment": "bad",
        "accepted": True,
        "result": "Accepted",
        "reason": "",
        "message": "",
        "state": "Aborting",
        "exitCode": 0,
    }


@pytest.mark.parametrize("words", [("promote", "est"), ("promote", "est", "--reason", "  ")])
def test_promotion_without_evidence_takes_a_reason(tandem: Tandem, target: FakeTarget, words: tuple[str, ...]) -> None:
    assert tandem(*words).exit_code == 2
    assert target.asked == []


# what makes no sense is not sent


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", ["Promoted", "Aborted", "RolledBack", "Completed"])
def test_a_run_that_has_ended(tandem: Tandem, target: FakeTarget, verb: str, state: str) -> None:
    target.manifests["est"] = manifest(run={"state": state})
    target.hears = becoming(state="Aborting")
    result = tandem(verb, "est", "--reason", "late")
    if (verb, state) == ("rollback", "Promoted"):
        assert (result.exit_code, len(target.asked)) == (0, 1)
        return
    assert (result.exit_code, target.asked) == (1, [])
    assert f"run 1 of est has ended ({state}): there is nothing to {verb}" in result.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_before_the_first_run(tandem: Tandem, target: FakeTarget, verb: str) -> None:
    target.manifests["est"] = manifest()
    result = tandem(verb, "est", "--reason", "early")
    assert (result.exit_code, target.asked) == (1, [])
    assert f"there is nothing to {verb}" in result.stderr


@pytest.mark.parametrize("verb", ("start", *VERBS))
def test_a_rollout_that_decides_nothing(tandem: Tandem, target: FakeTarget, verb: str) -> None:
    target.manifests["est"] = manifest(spec={"bundle": {"image": "a:v1"}})
    result = tandem(verb, "est", *([] if verb == "start" else ["--reason", "why"]))
    assert (result.exit_code, target.asked) == (1, [])
    assert "est has the strategy static, which has no runs" in result.stderr


# start


def test_starting_once_more(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"state": "Aborted"})
    target.hears = becoming(number=2, state="Preparing")
    result = tandem("start", "est", "--reason", "the store was down")
    assert (result.exit_code, result.stdout) == (0, "start accepted: est is Preparing\n")
    assert (target.asked[0].verb, target.bundles) == ("start", [])


def test_starting_what_serves_already(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"state": "Promoted"})
    result = tandem("start", "est")
    assert (result.exit_code, target.asked) == (1, [])
    assert "there is nothing to start: v2 already serves" in result.stderr
    assert "hint: start another one: `tandem rollout start est --bundle IMAGE -n models`" in result.stderr


@pytest.mark.parametrize("images", [True, False])
def test_starting_without_a_version_before_the_first_run(tandem: Tandem, target: FakeTarget, images: bool) -> None:
    target.manifests["est"] = manifest()
    target.images, target.wanted = images, STABLE
    result = tandem("start", "est")
    assert (result.exit_code, target.asked) == (1, [])
    assert "there is nothing to start: v1 already serves" in result.stderr
    assert ("--bundle IMAGE" if images else "--version VERSION") in result.stderr


def test_starting_before_anything_serves(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(status={"variants": []})
    result = tandem("start", "est")
    assert (result.exit_code, target.asked) == (1, [])
    assert "no version of est serves yet: the first version needs no run" in result.stderr


def test_starting_what_only_watches(tandem: Tandem, target: FakeTarget) -> None:
    rollout_spec = spec(strategy={"abTest": {"horizon": "1h"}})
    del rollout_spec["bundle"]
    rollout_spec["variants"] = [
        {"name": "a", "weight": 50, "bundle": {"image": "a:v1"}},
        {"name": "b", "weight": 50, "bundle": {"image": "a:v2"}},
    ]
    target.manifests["est"] = manifest(spec=rollout_spec, run={"state": "Completed"})
    result = tandem("start", "est")
    assert (result.exit_code, target.asked) == (1, [])
    assert "est only observes" in result.stderr


@pytest.mark.parametrize(
    "state", ["Preparing", "Analyzing", "AwaitingApproval", "Scaling", "Paused", "Baking", "Aborting"]
)
def test_starting_stable_in_mid_run(tandem: Tandem, target: FakeTarget, state: str) -> None:
    target.manifests["est"] = manifest(run={"state": state})
    target.revisions["a:v1"] = STABLE
    result = tandem("start", "est", "--bundle", "a:v1")
    assert (result.exit_code, target.asked, target.bundles) == (1, [], [])
    assert f"a:v1 already serves: it is stable in run 1, which is {state}" in result.stderr
    assert "hint: to give all requests back to it, use `tandem rollout abort est -n models`" in result.stderr


def test_starting_the_canary_in_mid_run(tandem: Tandem, target: FakeTarget) -> None:
    target.revisions["a:v2"] = CANARY
    target.hears = becoming("cannot start while Analyzing")
    result = tandem("start", "est", "--bundle", "a:v2")
    assert (result.exit_code, result.stdout) == (1, "start rejected: cannot start while Analyzing\n")


def test_starting_another_bundle(tandem: Tandem, target: FakeTarget) -> None:
    target.hears = becoming(state="Aborting")
    result = tandem("start", "est", "--bundle", "registry.example.com/est:v3")
    assert (result.exit_code, target.bundles) == (0, ["registry.example.com/est:v3"])


def test_starting_what_will_not_be_decided_in_time(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"state": "Aborted"})
    target.hears = becoming(number=2, state="Preparing")
    target.records["est", 1] = record(target.manifests["est"], requests=20)
    result = tandem("start", "est", "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["accepted"]) == (0, True)
    assert "warning: at 2 requests/s a good version takes about " in result.stderr
    assert "warning: what would help: analysis.timeout: " in result.stderr
    target.records["est", 1] = record(target.manifests["est"], requests=20_000)
    assert "warning" not in tandem("start", "est").stderr


def test_starting_without_a_look_at_the_evidence(
    tandem: Tandem, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(self: FakeTarget, name: str, run: int) -> None:
        raise TargetError("rolloutevidences is forbidden")

    target.manifests["est"] = manifest(run={"state": "Aborted"})
    target.hears = becoming(number=2, state="Preparing")
    monkeypatch.setattr(FakeTarget, "record", forbidden)
    result = tandem("start", "est")
    assert (result.exit_code, result.stderr) == (0, "")


def test_starting_reads_the_rollout_once_before_it_sends(
    tandem: Tandem, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    get = FakeTarget.get

    def counted(self: FakeTarget, name: str) -> Manifest:
        reads.append(name)
        return get(self, name)

    target.manifests["est"] = manifest(run={"state": "Aborted"})
    monkeypatch.setattr(FakeTarget, "get", counted)
    assert tandem("start", "est", "--no-wait").exit_code == 0
    assert (reads, len(target.asked)) == (["est"], 1)


def test_starting_a_version_of_this_machine(tandem: Tandem, target: FakeTarget) -> None:
    target.images = False
    target.hears = becoming(number=2, state="Preparing")
    assert tandem("start", "est", "--version", "v3").exit_code == 0
    assert target.bundles == ["v3"]
    assert tandem("start", "est", "--bundle", "a:v3").exit_code == 2


def test_a_cluster_has_no_versions(tandem: Tandem, target: FakeTarget) -> None:
    result = tandem("start", "est", "--version", "v3")
    assert (result.exit_code, target.asked) == (2, [])


def test_variants_are_said_in_the_spec(tandem: Tandem, target: FakeTarget) -> None:
    rollout_spec = spec(strategy={"blueGreen": {"active": "a"}})
    del rollout_spec["bundle"]
    rollout_spec["variants"] = [{"name": "a", "bundle": {"image": "a:v1"}}, {"name": "b", "bundle": {"image": "a:v2"}}]
    target.manifests["est"] = manifest(spec=rollout_spec)
    result = tandem("start", "est", "--bundle", "a:v3")
    assert (result.exit_code, target.asked) == (1, [])
    assert "spec.variants" in result.stderr


# the engine itself as the one who hears


@pytest.mark.parametrize(
    ("state", "verb", "becomes"),
    [
        ("Analyzing", "pause", "Paused"),
        ("Analyzing", "abort", "Aborting"),
        ("Analyzing", "promote", "Scaling"),
        ("Paused", "resume", "Analyzing"),
        ("AwaitingApproval", "resume", "Scaling"),
        ("Baking", "rollback", "Aborting"),
        ("Promoted", "rollback", "RollingBack"),
        ("Analyzing", "resume", None),
        ("Baking", "pause", None),
        ("Aborting", "abort", None),
    ],
)
def test_what_the_engine_answers_is_understood(
    tandem: Tandem, target: FakeTarget, state: str, verb: str, becomes: str | None
) -> None:
    target.manifests["est"] = manifest(run={"state": state, "pausedFrom": "Analyzing" if state == "Paused" else ""})

    def hears(resource: Manifest, command: Command) -> None:
        rollout = parse(resource)
        planned = build_schedule(rollout.spec)
        run = from_status(msgspec.convert(resource["status"]["run"], RunStatus))
        assert planned is not None and run is not None
        arm = RevisionState(pods=(2, 2), fit=True)
        inputs = RunInputs(
            specified=run.canary, plan=run.plan, serving=run.stable, stable=arm, canary=arm, command=command
        )
        after = decide(planned, run, inputs, NOW)
        assert after is not None
        resource["status"]["run"] = msgspec.to_builtins(to_status(after, steps=2))

    target.hears = hears
    result = tandem(verb, "est", "--reason", "why not")
    if becomes is None:
        assert (result.exit_code, result.stdout) == (1, f"{verb} rejected: cannot {verb} while {state}\n")
        return
    assert (result.exit_code, result.stdout) == (0, f"{verb} accepted: est is {becomes}\n")
    assert "why not" in tandem("explain", "est").stdout
