"""A rollout that follows an alias of a model registry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.api.status import RegistryStatus
from tandem_rollout.controller.alias_follower import POLL_S
from tandem_rollout.render.platform import Platform

from .world import Controller, World, controller, digest, world

URI = "http://mlflow.mlflow:5000"
PLATFORM = Platform(allowed_registries=json.dumps({"models": [URI]}))
CANARY = {"canary": {"steps": [{"weight": 10, "minDuration": "30s"}], "bake": "60s"}}
TAG = "tandem.rollout.models.time-estimator"


def following(alias: str = "champion", **spec: Any) -> dict[str, Any]:
    spec.setdefault("bundle", {"image": "athlete:v{version}"})
    spec.setdefault("registry", {"uri": URI, "model": "time-estimator", "alias": alias})
    few = {"monitoring": {"podMonitors": False}, "network": {"policies": False}}
    spec.setdefault("scaleDownDelay", "30s")
    analysis = {"metrics": [{"type": "errors"}], "warmup": "0s", "interval": "30s"}
    return manifest(strategy=CANARY, analysis=analysis, **few, **spec)


async def started(here: World, ctl: Controller, **spec: Any) -> None:
    here.rate = 2000.0
    here.server.put("inferencerollouts", following(**spec))
    await ctl.run(60)
    assert here.weights() == {"athlete:v1": 100}


def registry(here: World) -> RegistryStatus:
    found = here.status().registry
    assert found is not None
    return found


def command(here: World, verb: str) -> None:
    text = json.dumps({"id": verb, "verb": verb, "by": "ann", "comment": ""})
    annotations = {"tandem-serving.io/command": text}
    here.server.edit(
        "inferencerollouts", "time-estimator", lambda each: each["metadata"].update(annotations=annotations)
    )


async def test_the_version_that_the_alias_names_is_served_with_its_digest(here: World) -> None:
    async with controller(here, PLATFORM) as ctl:
        await started(here, ctl)
        assert here.status().run is None
        found = registry(here)
        assert (found.uri, found.model, found.alias) == (URI, "time-estimator", "champion")
        assert (found.version, found.digest) == (1, digest("v1"))
        assert here.status().variants[0].digest == digest("v1")
        assert here.condition("Ready") == ("True", "all variants are ready")
        assert ctl.failed == []


async def test_an_alias_that_moves_begins_a_run_within_a_minute_that_is_promoted(here: World) -> None:
    async with controller(here, PLATFORM) as ctl:
        await started(here, ctl)
        here.registry.alias = 2
        await ctl.run(POLL_S)
        run = here.status().run
        assert run is not None and run.state in ("Preparing", "Analyzing")
        assert (registry(here).version, registry(here).digest) == (2, digest("v2"))
        await ctl.run(600)
        assert here.weights() == {"athlete:v2": 100}
        assert (here.registry.alias, here.registry.verdicts()) == (2, {2: "Promoted"})
        end = json.loads(here.registry.tags[2][TAG])
        assert (end["run"], end["outcome"], end["canary"], end["stable"]) == (1, "Promoted", 2, 1)
        assert (registry(here).closed_run, registry(here).closed_outcome) == (1, "Promoted")
        assert ctl.failed == []


async def test_after_an_abort_the_alias_is_put_back_and_a_second_move_tries_again(here: World) -> None:
    here.errors = {"athlete:v2": 0.05}
    async with controller(here, PLATFORM) as ctl:
        await started(here, ctl)
        here.registry.alias = 2
        await ctl.run(600)
        assert here.weights() == {"athlete:v1": 100}
        assert (here.registry.alias, here.registry.verdicts()) == (1, {2: "Aborted"})
        assert "failed by errors" in json.loads(here.registry.tags[2][TAG])["message"]
        assert (registry(here).version, registry(here).digest) == (1, digest("v1"))
        assert here.condition("Ready")[0] == "True"
        here.errors, here.registry.alias = {}, 2
        await ctl.run(600)
        run = here.status().run
        assert run is not None and (run.number, run.state) == (2, "Promoted")
        assert run.started_by == "models:/time-estimator@champion"
        assert (here.registry.alias, here.registry.verdicts()) == (2, {2: "Promoted"})


async def test_after_a_rollback_the_alias_is_put_back(here: World) -> None:
    async with controller(here, PLATFORM) as ctl:
        await started(here, ctl, scaleDownDelay="1h")
        here.registry.alias = 2
        await ctl.run(180)
        assert here.registry.verdicts() == {2: "Promoted"}
        command(here, "rollback")
        await ctl.run(120)
        assert here.weights() == {"athlete:v1": 100}
        assert (here.registry.alias, here.registry.verdicts()) == (1, {2: "RolledBack"})


async def test_an_alias_that_moves_during_a_run_supersedes_it(here: World) -> None:
    async with controller(here, PLATFORM) as ctl:
        await started(here, ctl)
        here.registry.alias = 2
        await ctl.run(POLL_S)
        here.registry.alias = 3
        await ctl.run(600)
        assert here.weights() == {"athlete:v3": 100}
        assert (here.registry.alias, here.registry.verdicts()) == (3, {2: "Aborted", 3: "Promoted"})
        assert json.loads(here.registry.tags[2][TAG])["reason"] == "Superseded"


async def test_while_the_registry_is_down_nothing_moves_and_the_status_says_so(here: World) -> None:
    async with controller(here, PLATFORM) as ctl:
        await started(here, ctl)
        here.registry.alias, here.registry.down = 2, True
        await ctl.run(300)
        assert (here.status().run, here.weights()) == (None, {"athlete:v1": 100})
        assert (registry(here).reason, here.status().reason) == ("RegistryUnreachable", "RegistryUnreachable")
        assert here.condition("Ready")[0] == "True"
        # the end of a run too waits for the registry
        here.registry.down = False
        await ctl.run(POLL_S)
        here.registry.down = True
        await ctl.run(600)
        assert (here.weights(), here.registry.verdicts()) == ({"athlete:v2": 100}, {})
        here.registry.down = False
        await ctl.run(POLL_S)
        assert (here.registry.verdicts(), registry(here).reason) == ({2: "Promoted"}, "")
        assert ctl.failed == []


async def test_without_a_version_nothing_is_served_and_the_status_says_so(here: World) -> None:
    here.registry.down = True
    async with controller(here, PLATFORM) as ctl:
        here.server.put("inferencerollouts", following())
        await ctl.run(60)
        assert here.server.all("inferenceservices") == []
        assert here.status().reason == "RegistryUnreachable"
        assert here.condition("Ready")[0] == "False"
        here.registry.down, here.registry.alias = False, None
        await ctl.run(60)
        assert here.status().reason == "AliasMissing"
        here.registry.alias = 1
        await ctl.run(60)
        assert (here.weights(), here.status().reason) == ({"athlete:v1": 100}, "")
        assert ctl.failed == []


@pytest.mark.parametrize("tag", [None, "", "v2", "0" * 63, "G" * 64])
async def test_a_version_without_a_digest_is_not_served(here: World, tag: str | None) -> None:
    here.registry.tags[2] = {} if tag is None else {"tandem.digest": tag}
    async with controller(here, PLATFORM) as ctl:
        await started(here, ctl)
        here.registry.alias = 2
        await ctl.run(120)
        assert (registry(here).version, registry(here).reason) == (1, "VersionUnusable")
        assert (here.status().run, here.weights()) == (None, {"athlete:v1": 100})
        here.registry.alias = 1
        await ctl.run(POLL_S)
        assert registry(here).reason == ""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"registry": {"uri": "http://169.254.169.254", "model": "m"}}, "spec.registry.uri: must be an address"),
        ({"bundle": {"image": "athlete:v1"}}, "must contain {version} or {digest}"),
        ({"bundle": {"image": "athlete:v{version}", "digest": "0" * 64}}, "spec.bundle.digest: must not be set"),
        ({"bundle": {"image": "athlete:v{version}", "version": "v1"}}, "spec.bundle.version: must not be set"),
    ],
)
async def test_specs_that_are_invalid(here: World, spec: dict[str, Any], message: str) -> None:
    async with controller(here, PLATFORM) as ctl:
        here.server.put("inferencerollouts", following(**spec))
        await ctl.run(60)
        assert here.status().reason == "Invalid"
        assert message in here.status().message
        assert here.server.all("inferenceservices") == []


async def test_another_alias_of_the_spec_is_followed_from_then_on(here: World) -> None:
    async with controller(here, PLATFORM) as ctl:
        await started(here, ctl)
        here.registry.alias = 2
        other = following("challenger")["spec"]["registry"]
        here.server.edit("inferencerollouts", "time-estimator", lambda each: each["spec"].update(registry=other))
        await ctl.run(600)
        assert (registry(here).alias, registry(here).version) == ("challenger", 2)
        assert (here.weights(), here.registry.verdicts()) == ({"athlete:v2": 100}, {2: "Promoted"})


async def test_without_a_registry_in_the_spec_nothing_is_followed(here: World) -> None:
    async with controller(here, PLATFORM) as ctl:
        await started(here, ctl)
        here.registry.alias = 2
        here.server.edit(
            "inferencerollouts",
            "time-estimator",
            lambda each: each["spec"].update(registry=None, bundle={"image": "athlete:v1", "digest": digest("v1")}),
        )
        await ctl.run(120)
        assert (here.status().registry, here.status().run) == (None, None)


@pytest.mark.parametrize("down", [False, True])
async def test_a_rollout_that_is_deleted(here: World, down: bool) -> None:
    here.registry.down = down
    async with controller(here, PLATFORM) as ctl:
        here.server.put("inferencerollouts", following())
        await ctl.run(60)
        here.registry.alias = 2
        here.server.remove("inferencerollouts", "time-estimator", "models")
        await ctl.run(60)
        assert here.registry.verdicts() == {}
        assert ctl.failed == []


@pytest.mark.parametrize(("errors", "seconds", "alias"), [(0.005, 200, 2), (0.05, 60, 1)], ids=["promotion", "abort"])
async def test_killed_anywhere_after_the_run_the_next_controller_comes_to_the_same_end(
    errors: float, seconds: float, alias: int
) -> None:
    async def ended(writes: int | None) -> tuple[bool, Any]:
        """Whether a controller was killed after some writes that followed the run, and the end."""
        async with world() as here, controller(here, PLATFORM) as ctl:
            here.errors = {"athlete:v2": errors}
            await started(here, ctl)
            here.registry.alias = 2
            await ctl.run(POLL_S)
            # so that the run ends before its end can be recorded in the registry
            here.registry.down = True
            await ctl.run(seconds)
            assert here.registry.verdicts() == {}
            here.registry.down, ctl.writes_left = False, writes
            killed = await ctl.survive(POLL_S)
            await ctl.run(POLL_S)
            return killed, (here.registry.alias, here.registry.tags, here.end_state())

    _, end = await ended(None)
    assert end[0] == alias
    # the alias, two tags, and the status
    for writes in range(4):
        assert await ended(writes) == (True, end)
