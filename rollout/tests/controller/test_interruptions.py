"""Whatever goes wrong on the way, the end is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.render.pin import pinned_digest

from .apiserver import FAULTS, Answer, Call, Fault
from .world import World, controller, route_weights, world

Wait = Callable[[float], Awaitable[None]]


async def story(here: World, wait: Wait) -> None:
    """One version, then another in its place, until the first is gone."""
    here.server.put("inferencerollouts", manifest(bundle={"image": "athlete:v1"}, strategy={"abTest": {}}))
    await wait(60)
    here.server.edit(
        "inferencerollouts",
        "time-estimator",
        lambda live: live.update(spec=manifest(bundle={"image": "athlete:v2"})["spec"]),
    )
    await wait(300)


async def undisturbed() -> tuple[dict[str, Any], list[Call]]:
    """How the story ends, and the calls on the way."""
    async with world() as here, controller(here) as ctl:
        here.server.calls.clear()
        await story(here, ctl.run)
        return here.end_state(), here.server.calls


def no_step_twice(here: World) -> None:
    """Each version got the weight once, each InferenceService was made once and pinned once, before it had any."""
    routed = []
    events: dict[str, list[str]] = {}
    for event, (plural, _, name), resource in here.server.history:
        if (plural, name) == ("httproutes", "time-estimator"):
            routed.append(route_weights(resource))
        if plural == "inferenceservices":
            events.setdefault(name, []).append(event)
            assert pinned_digest(resource) == "" or resource["metadata"]["generation"] == 2
            if event == "MODIFIED":
                assert pinned_digest(resource)
                assert not any(name in weights for weights in routed)
    steps = [step for step, before in zip(routed, [None, *routed], strict=False) if step != before]
    assert len(steps) == 2, steps
    assert sorted(events.values()) == [["ADDED", "MODIFIED"], ["ADDED", "MODIFIED", "DELETED"]]


async def killed_after(writes: int, end: dict[str, Any]) -> bool:
    """Whether the controller was killed: the story had so many writes."""
    killed = False
    async with world() as here, controller(here) as ctl:
        ctl.writes_left = writes

        async def wait(seconds: float) -> None:
            nonlocal killed
            killed = await ctl.survive(seconds) or killed

        await story(here, wait)
        assert here.end_state() == end, f"killed after {writes} writes"
        no_step_twice(here)
    return killed


async def test_a_controller_that_is_killed_between_any_two_writes() -> None:
    end, calls = await undisturbed()
    writes = 0
    while await killed_after(writes, end):
        writes += 1
    assert writes >= sum(call.writes for call in calls)


@pytest.mark.parametrize("kind", FAULTS)
async def test_every_call_fails_once(here: World, kind: str) -> None:
    end, _ = await undisturbed()
    failed: set[Call] = set()

    def fault(call: Call) -> Fault | None:
        # the second time a call of this kind is made it goes well
        if call in failed:
            return None
        failed.add(call)
        return FAULTS[kind]

    here.server.fault = fault
    async with controller(here) as ctl:
        await story(here, ctl.run)
    assert here.end_state() == end
    assert {call.verb for call in failed} == {"create", "delete", "get", "list", "patch", "watch"}
    no_step_twice(here)


@pytest.mark.parametrize("kind", ["internal error", "lost after"])
async def test_any_one_call_fails(kind: str) -> None:
    end, calls = await undisturbed()
    for n in range(len(calls)):
        async with world() as here, controller(here) as ctl:
            countdown = [n]

            def fault(call: Call, countdown: list[int] = countdown) -> Fault | None:
                countdown[0] -= 1
                return FAULTS[kind] if countdown[0] == -1 else None

            here.server.fault = fault
            await story(here, ctl.run)
            assert here.end_state() == end, f"call {n}: {calls[n]}"
            no_step_twice(here)


async def test_a_throttled_write_waits_as_long_as_it_is_told(here: World) -> None:
    times: list[float] = []

    def fault(call: Call) -> Fault | None:
        if call.resource != "podmonitors" or not call.writes:
            return None
        times.append(here.now)
        return Answer(429, "too many requests", {"Retry-After": "20"}) if len(times) == 1 else None

    here.server.fault = fault
    async with controller(here) as ctl:
        here.server.put("inferencerollouts", manifest(bundle={"image": "athlete:v1"}))
        await ctl.run(60)
    assert [at - times[0] for at in times] == [0, 20]
    assert here.status().message == ""


async def test_a_write_that_keeps_failing_is_tried_less_and_less_often(here: World) -> None:
    tried: list[float] = []

    def fault(call: Call) -> Fault | None:
        if call.resource != "inferenceservices" or not call.writes:
            return None
        tried.append(here.now)
        return Answer(403, "exceeded quota")

    here.server.fault = fault
    async with controller(here) as ctl:
        here.server.put("inferencerollouts", manifest(bundle={"image": "athlete:v1"}))
        await ctl.run(100)
        assert [at - tried[0] for at in tried] == [0, 1, 3, 7, 15, 31, 61, 91]
        assert here.status().message.endswith(": exceeded quota")
        here.server.fault = lambda call: None
        await ctl.run(30)
    assert here.weights() == {"athlete:v1": 100}


async def test_two_controllers_at_once(here: World) -> None:
    end, _ = await undisturbed()
    async with controller(here) as first, controller(here) as second:

        async def wait(seconds: float) -> None:
            until = here.now + seconds
            while True:
                before = None
                while before != here.server.version:
                    before = here.server.version
                    here.turn()
                    # neither waits for what the other does
                    await asyncio.gather(*(ctl.one_pass(*key) for ctl in (first, second) for key in first.rollouts()))
                    await asyncio.gather(first.caught_up(), second.caught_up())
                due = min([*first.due.values(), *second.due.values()])
                if due > until:
                    break
                here.now = max(here.now, due)
            here.now = until

        await story(here, wait)
    assert here.end_state() == end


@pytest.mark.parametrize("forget", [True, False])
async def test_watches_that_end_are_taken_up_again(here: World, forget: bool) -> None:
    async with controller(here) as ctl:
        here.server.put("inferencerollouts", manifest(bundle={"image": "athlete:v1"}))
        await ctl.run()
        service = here.status().variants[0].inference_service
        # what changes and goes while nobody watches is noticed as well
        here.server.end_watches(forget=forget)
        here.server.remove("httproutes", "time-estimator")
        here.server.remove("pods", f"{service}-predictor-0")
        here.server.put("inferencerollouts", {**manifest(bundle={"image": "swimmer:v1"})} | _named("swim"))
        await ctl.run(5)
        assert here.weights() == {"athlete:v1": 100}
        assert here.weights("swim") == {"swimmer:v1": 100}
        here.server.end_watches(forget=forget)
        here.server.edit(
            "inferencerollouts",
            "time-estimator",
            lambda live: live.update(spec=manifest(bundle={"image": "athlete:v2"})["spec"]),
        )
        await ctl.run(6)
        assert here.weights() == {"athlete:v2": 100}


def _named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "models"}}
