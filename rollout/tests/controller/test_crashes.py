"""The controller is killed between any two writes of a run, and another one goes on: the end is the same."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from .apiserver import FAULTS, Call, Fault
from .world import World, controller, route_weights, world

Wait = Callable[[float], Awaitable[None]]
Story = Callable[[World, Wait], Awaitable[None]]

ANALYSIS = {"metrics": [{"type": "errors"}], "warmup": "0s", "interval": "30s"}
CANARY = {
    "canary": {"steps": [{"weight": 10, "minDuration": "30s"}, {"weight": 50, "minDuration": "30s"}], "bake": "60s"}
}
COLOURS = [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("v1", "v2")]
BUSY = 2000.0
"""Requests per second; so that one tick has evidence enough."""


def put(here: World, **spec: Any) -> None:
    """Make the rollout, or give it another spec."""
    # the objects that these are about come and go in test_interruptions
    few = {"monitoring": {"podMonitors": False}, "network": {"policies": False}}
    resource = manifest(**{"analysis": ANALYSIS, "scaleDownDelay": "30s", **few, **spec})
    if here.server.get("inferencerollouts", "time-estimator") is None:
        here.server.put("inferencerollouts", resource)
    else:
        here.server.edit("inferencerollouts", "time-estimator", lambda live: live.update(spec=resource["spec"]))


def bundle(version: str) -> dict[str, Any]:
    return {"bundle": {"image": f"athlete:{version}"}, "strategy": CANARY}


def coloured(active: str) -> dict[str, Any]:
    return {"variants": COLOURS, "strategy": {"blueGreen": {"active": active, "minDuration": "30s", "bake": "60s"}}}


async def promotion(here: World, wait: Wait) -> None:
    put(here, **bundle("v1"))
    await wait(40)
    put(here, **bundle("v2"))
    await wait(600)


async def abort(here: World, wait: Wait) -> None:
    here.errors = {"athlete:v2": 0.05}
    await promotion(here, wait)


async def supersession(here: World, wait: Wait) -> None:
    put(here, **bundle("v1"))
    await wait(40)
    put(here, **bundle("v2"))
    await wait(20)
    put(here, **bundle("v3"))
    await wait(600)


async def blue_green(here: World, wait: Wait) -> None:
    put(here, **coloured("v1"))
    await wait(40)
    put(here, **coloured("v2"))
    await wait(600)


def compared(*weights: int) -> dict[str, Any]:
    variants = [{**variant, "weight": weight} for variant, weight in zip(COLOURS, weights, strict=True)]
    return {"variants": variants, "strategy": {"abTest": {"horizon": "60s"}}}


async def ab_test(here: World, wait: Wait) -> None:
    put(here, **compared(50, 50))
    await wait(40)
    put(here, **compared(20, 80))
    await wait(200)


async def static(here: World, wait: Wait) -> None:
    put(here, **bundle("v1"))
    await wait(40)
    put(here, **bundle("v2"))
    await wait(20)
    put(here, bundle={"image": "athlete:v2"}, analysis=None)
    await wait(60)


STORIES: dict[str, tuple[Story, list[str], dict[str, int]]] = {
    "promotion": (
        promotion,
        ["Preparing 0", "Analyzing 10", "Scaling 10", "Analyzing 50", "Scaling 50", "Baking 95", "Promoted 100"],
        {"athlete:v2": 100},
    ),
    "abort": (abort, ["Preparing 0", "Analyzing 10", "Aborting 0", "Aborted 0"], {"athlete:v1": 100}),
    "supersession": (
        supersession,
        [
            *("Preparing 0", "Analyzing 10", "Aborting 0", "Aborted 0"),
            *("Preparing 0", "Analyzing 10", "Scaling 10", "Analyzing 50", "Scaling 50", "Baking 95", "Promoted 100"),
        ],
        {"athlete:v3": 100},
    ),
    "blue/green": (
        blue_green,
        ["Preparing 0", "Analyzing 0", "Scaling 0", "Baking 100", "Promoted 100"],
        {"athlete:v2": 100},
    ),
    "A/B": (
        ab_test,
        ["Observing 0", "Completed 0", "Observing 0", "Completed 0"],
        {"athlete:v1": 20, "athlete:v2": 80},
    ),
    "static in mid-run": (static, ["Preparing 0", "Analyzing 10"], {"athlete:v2": 100}),
}


def steps(here: World) -> list[str]:
    """What became of the runs, in order, as it was written down."""
    lines: list[str] = []
    for _, (plural, _, _), resource in here.server.history:
        run = (resource.get("status") or {}).get("run") if plural == "inferencerollouts" else None
        if run and (step := f"{run['state']} {run.get('weight', 0)}") not in lines[-1:]:
            lines.append(step)
    return lines


def weights(here: World) -> list[dict[str, int]]:
    """Weights of the route, in order."""
    history: list[dict[str, int]] = []
    for _, (plural, _, name), route in here.server.history:
        if (plural, name) == ("httproutes", "time-estimator") and (now := route_weights(route)) not in history[-1:]:
            history.append(now)
    return history


def after_the_first(wait: Wait, begin: Callable[[], None], story: Story) -> Wait:
    """Waits, of which the first, until a version serves, is no part of what a story is about."""
    # how a canary begins is told elsewhere
    waits = 2 if story is static else 1

    async def waiting(seconds: float) -> None:
        nonlocal waits
        await wait(seconds)
        waits -= 1
        if not waits:
            begin()

    return waiting


async def undisturbed(story: Story) -> tuple[dict[str, Any], list[dict[str, int]], list[Call]]:
    """How a story ends, the weights, and the calls of its run."""
    async with world() as here, controller(here) as ctl:
        here.rate = BUSY
        await story(here, after_the_first(ctl.run, here.server.calls.clear, story))
        return here.end_state(), weights(here), here.server.calls


@pytest.mark.parametrize("name", STORIES)
async def test_the_story(name: str) -> None:
    story, expected_steps, end = STORIES[name]
    async with world() as here, controller(here) as ctl:
        here.rate = BUSY
        await story(here, ctl.run)
        assert steps(here) == expected_steps
        assert here.weights() == end
        assert here.condition("Ready")[0] == "True"


async def killed_after(
    writes: int, story: Story, expected_steps: list[str], end: dict[str, Any], routed: list[Any]
) -> bool:
    """Whether the controller was killed: the story had so many writes."""
    killed = False
    async with world() as here, controller(here) as ctl:
        here.rate = BUSY

        def begin() -> None:
            ctl.writes_left = writes

        async def wait(seconds: float) -> None:
            nonlocal killed
            killed = await ctl.survive(seconds) or killed

        await story(here, after_the_first(wait, begin, story))
        assert here.end_state() == end, f"killed after {writes} writes"
        assert steps(here) == expected_steps, f"killed after {writes} writes"
        assert weights(here) == routed, f"killed after {writes} writes"
    return killed


PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", STORIES)
async def test_a_controller_that_is_killed_between_any_two_writes(name: str, part: int) -> None:
    story, expected_steps, _ = STORIES[name]
    end, routed, calls = await undisturbed(story)
    writes = part
    while await killed_after(writes, story, expected_steps, end, routed):
        writes += PARTS
    assert writes >= sum(call.writes for call in calls)


async def told_despite(fault: Callable[[Call], Fault | None], name: str) -> None:
    """A story ends as it does without faults, by the same steps."""
    story, expected_steps, weighted = STORIES[name]
    async with world() as here:
        here.rate = BUSY
        here.server.fault = fault
        async with controller(here) as ctl:
            await story(here, ctl.run)
        assert here.weights() == weighted
        assert steps(here) == expected_steps


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", ["promotion", "abort"])
async def test_every_call_fails_once(name: str, kind: str) -> None:
    failed: set[Call] = set()

    def fault(call: Call) -> Fault | None:
        if call in failed:
            return None
        failed.add(call)
        return FAULTS[kind]

    await told_despite(fault, name)
    assert {call.verb for call in failed} == {"create", "delete", "get", "list", "patch", "watch"}


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("name", STORIES)
async def test_every_second_call_fails_in_one_way_or_another(name: str, first: int) -> None:
    kinds = itertools.islice(itertools.cycle(FAULTS), first, None)
    attempts: Counter[Call] = Counter()
    failed: set[tuple[str, str]] = set()

    def fault(call: Call) -> Fault | None:
        attempts[call] += 1
        if attempts[call] % 2 == 0:
            return None
        kind = next(kinds)
        failed.add((call.resource, kind))
        return FAULTS[kind]

    await told_despite(fault, name)
    assert {kind for _, kind in failed} == set(FAULTS)
    assert len([kind for resource, kind in failed if resource == "inferencerollouts/status"]) > len(FAULTS) // 2
