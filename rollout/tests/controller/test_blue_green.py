"""Blue/green with analysis: judged on the preview host, then switched, then watched for a while."""

from __future__ import annotations

from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from .world import NONE, STARTING, Controller, World, controller

BLUE, GREEN = "athlete:blue", "athlete:green"
ANALYSIS: dict[str, Any] = {"metrics": [{"type": "errors"}], "warmup": "0s", "interval": "30s"}


@pytest.fixture
def here(here: World) -> World:
    here.rate = 2000.0
    return here


def put(here: World, active: str, **more: Any) -> None:
    """Make the rollout, or have another colour take the requests."""
    variants = [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("blue", "green")]
    strategy = {"blueGreen": {"active": active, "minDuration": "1m", "bake": "5m"}}
    resource = manifest(**{"variants": variants, "strategy": strategy, "analysis": ANALYSIS, **more})
    if here.server.get("inferencerollouts", "time-estimator") is None:
        here.server.put("inferencerollouts", resource)
    else:
        here.server.edit("inferencerollouts", "time-estimator", lambda live: live.update(spec=resource["spec"]))


async def switched(here: World, ctl: Controller, seconds: float) -> None:
    put(here, "blue")
    await ctl.run(60)
    assert here.weights() == {BLUE: 100}
    put(here, "green")
    await ctl.run(seconds)


def states(here: World) -> list[str]:
    """What became of the runs, in order, as it was written down."""
    lines: list[str] = []
    for _, (plural, _, _), resource in here.server.history:
        run = (resource.get("status") or {}).get("run") if plural == "inferencerollouts" else None
        if run and (line := f"{run['state']} {run.get('weight', 0)}") not in lines[-1:]:
            lines.append(line)
    return lines


def routed(here: World, name: str = "time-estimator") -> list[list[str]]:
    """Images in a route, in order: who has ever got requests by it."""
    routes: list[list[str]] = []
    for event, (plural, _, own), route in here.server.history:
        if (plural, own) != ("httproutes", name) or event == "DELETED":
            continue
        backends = route["spec"]["rules"][0]["backendRefs"]
        heavy = [ref for ref in backends if ref["weight"] > 1 or len(backends) == 1]
        images = [here.image(ref["name"].removesuffix("-transformer")) for ref in heavy]
        if images not in routes[-1:]:
            routes.append(images)
    return routes


async def test_it_is_judged_on_the_preview_host_then_switched_then_promoted(here: World) -> None:
    async with controller(here) as ctl:
        await switched(here, ctl, 40)
        assert here.weights() == {BLUE: 100}
        assert here.status().progress == "Analyzing 0% 1/1"
        preview = here.server.get("httproutes", "time-estimator-preview")
        assert preview is not None
        assert preview["spec"]["hostnames"] == ["preview-time-estimator.models.example.com"]
        assert routed(here, "time-estimator-preview")[-1] == [GREEN]
        await ctl.run(80)
        assert here.weights() == {GREEN: 100}
        assert here.status().progress == "Baking 100%"
        await ctl.run(600)
    assert here.weights() == {GREEN: 100}
    assert states(here) == ["Preparing 0", "Analyzing 0", "Scaling 0", "Baking 100", "Promoted 100"]
    assert routed(here) == [[BLUE], [GREEN]]
    assert [(entry.outcome, entry.reason) for entry in here.status().history] == [("Promoted", "MetricsPassed")]


async def test_one_that_fails_on_the_preview_host_never_gets_a_request_of_clients(here: World) -> None:
    here.errors = {GREEN: 0.05}
    async with controller(here) as ctl:
        await switched(here, ctl, 900)
    assert here.weights() == {BLUE: 100}
    assert routed(here) == [[BLUE]]
    assert states(here) == ["Preparing 0", "Analyzing 0", "Aborted 0"]
    assert here.status().history[0].reason == "MetricsFailed"


async def test_one_that_fails_after_the_switch_gives_everything_back(here: World) -> None:
    async with controller(here) as ctl:
        await switched(here, ctl, 120)
        assert here.weights() == {GREEN: 100}
        here.errors = {GREEN: 0.2}
        await ctl.run(240)
        assert here.weights() == {BLUE: 100}
        await ctl.run(900)
    assert here.weights() == {BLUE: 100}
    assert states(here)[-3:] == ["Baking 100", "Aborting 0", "Aborted 0"]
    assert routed(here) == [[BLUE], [GREEN], [BLUE]]


async def test_without_metrics_it_is_not_switched(here: World) -> None:
    here.outage = "Prometheus does not answer"
    async with controller(here) as ctl:
        await switched(here, ctl, 1800)
        assert here.weights() == {BLUE: 100}
        here.outage = ""
        await ctl.run(300)
    assert here.weights() == {GREEN: 100}


@pytest.mark.parametrize("pods", [NONE, STARTING], ids=["none", "starting"])
async def test_one_that_is_never_ready_is_given_up(here: World, pods: Any) -> None:
    here.pods[GREEN] = pods
    async with controller(here) as ctl:
        await switched(here, ctl, 900)
    assert here.weights() == {BLUE: 100}
    assert routed(here) == [[BLUE]]
    assert states(here) == ["Preparing 0", "Aborting 0", "Aborted 0"]


async def test_back_to_the_first_colour_while_it_bakes(here: World) -> None:
    async with controller(here) as ctl:
        await switched(here, ctl, 120)
        assert here.status().progress == "Baking 100%"
        put(here, "blue")
        await ctl.run(60)
        assert here.weights() == {BLUE: 100}
    assert here.status().history[0].outcome == "Aborted"


async def test_without_analysis_any_more_the_run_ends_and_the_switch_is_made(here: World) -> None:
    async with controller(here) as ctl:
        await switched(here, ctl, 40)
        put(here, "green", analysis=None)
        await ctl.run(60)
    assert here.weights() == {GREEN: 100}
    (past,) = here.status().history
    assert (past.outcome, past.reason) == ("Completed", "AnalysisRemoved")
