"""A new version takes the place of another one as a canary, in a world with clients that are counted."""

from __future__ import annotations

from typing import Any

from rollout.tests.rollouts import manifest

from .world import Controller, World, controller

V1, V2, V3 = ({"image": f"athlete:v{number}"} for number in (1, 2, 3))
STEPS = [{"weight": 10, "minDuration": "30s"}, {"weight": 50, "minDuration": "30s"}]
METRICS = [{"type": "errors"}]


def canary(bundle: dict[str, Any], **spec: Any) -> dict[str, Any]:
    spec.setdefault("strategy", {"canary": {"steps": STEPS, "bake": "1m"}})
    spec.setdefault("analysis", {"metrics": METRICS, "warmup": "0s"})
    return manifest(bundle=bundle, **spec)


def edit(here: World, **spec: Any) -> None:
    here.server.edit("inferencerollouts", "time-estimator", lambda live: live["spec"].update(spec))


def command(here: World, verb: str, number: int = 1, comment: str = "as tested") -> None:
    text = f'{{"id": "{number}", "verb": "{verb}", "by": "somebody", "comment": "{comment}"}}'
    annotations = {"tandem-serving.io/command": text}
    here.server.edit(
        "inferencerollouts", "time-estimator", lambda live: live["metadata"].update(annotations=annotations)
    )


def states(here: World) -> list[str]:
    """The states of all runs, in order, as they were written down."""
    lines = []
    for _, (plural, _, _), resource in here.server.history:
        run = (resource.get("status") or {}).get("run") if plural == "inferencerollouts" else None
        if run and (not lines or lines[-1] != (line := f"{run['state']} {run.get('weight', 0)}")):
            lines.append(f"{run['state']} {run.get('weight', 0)}" if not lines else line)
    return lines


async def started(here: World, ctl: Controller, **spec: Any) -> None:
    here.server.put("inferencerollouts", canary(V1, **spec))
    await ctl.run(60)
    assert here.weights() == {"athlete:v1": 100}
    assert here.status().run is None


async def test_a_good_canary_is_promoted(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(20)
        assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
        assert here.status().progress == "Analyzing 10% 1/2"
        await ctl.run(3600)
        assert here.weights() == {"athlete:v2": 100}
        status = here.status()
    assert states(here) == [
        "Preparing 0",
        "Analyzing 10",
        "Scaling 10",
        "Analyzing 50",
        "Scaling 50",
        "Baking 95",
        "Promoted 100",
    ]
    assert status.progress == "Promoted"
    assert [(entry.number, entry.outcome, entry.version) for entry in status.history] == [(1, "Promoted", "v2")]
    assert here.condition("Ready") == ("True", "all variants are ready")
    assert len(here.server.all("inferenceservices")) == 1


async def test_no_pass_fails_on_the_way(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(3600)
        assert here.weights() == {"athlete:v2": 100}
        assert ctl.failed == []


async def test_a_finalizer_of_somebody_else_stays(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        here.server.edit(
            "inferencerollouts", "time-estimator", lambda live: live["metadata"].update(finalizers=["example.com/own"])
        )
        edit(here, bundle=V2)
        await ctl.run(20)
        own = here.server.get("inferencerollouts", "time-estimator")
        assert own is not None
        assert own["metadata"]["finalizers"][0] == "example.com/own"
        assert len(own["metadata"]["finalizers"]) == 2
        await ctl.run(3600)
        own = here.server.get("inferencerollouts", "time-estimator")
        assert own is not None
        assert own["metadata"]["finalizers"] == ["example.com/own"]
        assert ctl.failed == []


async def test_to_take_a_finalizer_away_twice_is_no_error(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(20)
        snapshot = here.server.get("inferencerollouts", "time-estimator")
        assert snapshot is not None
        assert snapshot["metadata"]["finalizers"]
        for _ in range(2):  # the second time it has not seen yet what became of the first
            await ctl.cluster.finalize(snapshot, present=False)
        own = here.server.get("inferencerollouts", "time-estimator")
        assert own is not None
        assert not own["metadata"].get("finalizers")


async def test_a_canary_with_errors_is_aborted(here: World) -> None:
    here.errors = {"athlete:v2": 0.05}
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(600)
    assert here.weights() == {"athlete:v1": 100}
    assert states(here) == ["Preparing 0", "Analyzing 10", "Aborting 0", "Aborted 0"]
    status = here.status()
    assert status.history[0].reason == "MetricsFailed"
    assert "failed by errors" in status.message
    assert len(here.server.all("inferenceservices")) == 1


async def test_an_aborted_canary_stays_aborted_until_somebody_starts_it_again(here: World) -> None:
    here.errors = {"athlete:v2": 0.05}
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(900)
        here.errors = {}
        await ctl.run(600)
        assert here.weights() == {"athlete:v1": 100}
        command(here, "start")
        await ctl.run(3600)
        assert here.weights() == {"athlete:v2": 100}
    assert [entry.outcome for entry in here.status().history] == ["Promoted", "Aborted"]


async def test_a_version_that_was_aborted_and_is_asked_for_again_says_what_to_do(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(20)
        edit(here, bundle=V1)
        await ctl.run(200)
        assert "tandem rollout start" not in here.status().message
        edit(here, bundle=V2)
        await ctl.run(600)
        assert here.weights() == {"athlete:v1": 100}
        for message in (here.status().message, here.condition("Progressing")[1]):
            assert "Aborted" in message
            assert message.endswith("this version was already tried; run `tandem rollout start` to try it again")
        command(here, "start")
        await ctl.run(3600)
        assert here.weights() == {"athlete:v2": 100}
        assert "start" not in here.status().message


async def test_without_metrics_it_holds_and_goes_on_when_they_are_back(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        here.outage = "Prometheus does not answer"
        edit(here, bundle=V2)
        await ctl.run(1800)
        assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
        assert here.status().run is not None
        assert here.status().metrics[0].verdict == "provider-error"
        assert "Prometheus does not answer" in here.status().metrics[0].summary
        here.outage = ""
        await ctl.run(3600)
        assert here.weights() == {"athlete:v2": 100}


async def test_a_newer_version_supersedes(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(20)
        edit(here, bundle=V3)
        await ctl.run(20)
        assert "athlete:v2" not in here.weights()
        await ctl.run(3600)
        assert here.weights() == {"athlete:v3": 100}
    assert [entry.outcome for entry in here.status().history] == ["Promoted", "Aborted"]


async def test_a_rollback_while_the_old_version_is_there(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl, scaleDownDelay="10m")
        edit(here, bundle=V2)
        await ctl.run(400)
        assert here.status().progress == "Promoted"
        command(here, "rollback", comment="customers complain")
        await ctl.run(30)
        assert here.weights() == {"athlete:v1": 100}
        await ctl.run(1500)
        assert here.weights() == {"athlete:v1": 100}
    assert [(entry.outcome, entry.reason, entry.message) for entry in here.status().history] == [
        ("RolledBack", "RolledBackByUser", "rolled back by somebody: customers complain")
    ]
    assert states(here)[-2:] == ["RollingBack 0", "RolledBack 0"]
    assert here.status().message.startswith("run 1: RolledBack: rolled back by somebody: customers complain; ")
    assert here.condition("Progressing")[0] == "False"


async def test_who_started_a_run_and_why_is_in_its_status_and_in_the_history(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        command(here, "start", comment="new features")
        edit(here, bundle=V2)
        await ctl.run(100)
        run = here.status().run
        assert run is not None
        assert (run.state, run.started_by, run.start_comment) == ("Analyzing", "somebody", "new features")
        # in mid-run: what this one says is for the run that follows
        command(here, "start", number=2, comment="a correction")
        edit(here, bundle=V3)
        await ctl.run(3600)
        assert here.weights() == {"athlete:v3": 100}
    assert [(entry.outcome, entry.started_by, entry.start_comment) for entry in here.status().history] == [
        ("Promoted", "somebody", "a correction"),
        ("Aborted", "somebody", "new features"),
    ]


async def test_a_rollback_when_the_old_version_is_gone(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(1500)
        command(here, "rollback")
        await ctl.run(30)
    assert here.weights() == {"athlete:v2": 100}
    run = here.status().run
    assert run is not None
    assert run.last_command is not None
    assert (run.reason, run.last_command.result, run.last_command.reason) == ("MetricsPassed", "Rejected", "StableGone")
    assert run.last_command.message.startswith("cannot roll back: time-estimator-main-")


async def test_deletion_in_the_middle_gives_stable_all_requests_first(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(20)
        assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
        before = len(here.server.history)
        here.server.remove("inferencerollouts", "time-estimator")
        await ctl.run(30)
    assert here.server.all("inferencerollouts") == []
    last = [
        route
        for _, (plural, _, name), route in here.server.history[before:]
        if (plural, name) == ("httproutes", "time-estimator")
    ]
    assert last
    assert here.server.all("httproutes") == []


async def test_a_canary_without_pods_loses_its_weight_at_once(here: World) -> None:
    async with controller(here) as ctl:
        await started(here, ctl)
        edit(here, bundle=V2)
        await ctl.run(15)
        assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
        here.pods["athlete:v2"] = lambda half, specified: []
        await ctl.run(1)
        assert here.weights() == {"athlete:v1": 100}
    assert here.status().run is not None
    assert here.status().run.reason == "CanaryNotRunning"
