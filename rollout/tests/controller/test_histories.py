"""Whatever has happened before: when all is well again, all is as after a fresh start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rollout.tests.rollouts import manifest

from tandem_rollout.controller.interface import VerificationFailure

from .apiserver import Answer
from .world import (
    NONE,
    READY,
    STARTING,
    Controller,
    Killed,
    World,
    controller,
    crashed,
    fixed,
    without_image,
    world,
)

IMAGES = ("athlete:v1", "athlete:v2", "athlete:v3")


def variants(*weights: int) -> list[dict[str, Any]]:
    return [
        {"name": f"v{n}", "bundle": {"image": IMAGES[n]}, "weight": weight}
        for n, weight in enumerate(weights)
        if weight >= 0
    ]


VALID: tuple[dict[str, Any], ...] = (
    {"bundle": {"image": IMAGES[0]}},
    {"bundle": {"image": IMAGES[1]}, "strategy": {"abTest": {}}},
    {"variants": variants(90, 10)},
    {"variants": variants(50, 0, 50), "network": {"policies": False}},
    {"variants": variants(1, 1), "strategy": {"blueGreen": {"active": "v0"}}},
    {"variants": variants(1, 1), "strategy": {"blueGreen": {"active": "v1"}}, "monitoring": {"podMonitors": False}},
)
INVALID: tuple[dict[str, Any], ...] = ({"variants": variants(0, 0)}, {"bundle": {}})

Act = Callable[[World, Controller], None]


def write(spec: dict[str, Any]) -> Act:
    def act(here: World, ctl: Controller) -> None:
        there = here.server.get("inferencerollouts", "time-estimator")
        here.server.put("inferencerollouts", {**(there or manifest()), "spec": manifest(**spec)["spec"]})

    return act


def behave(image: str, statuses: Any) -> Act:
    return lambda here, ctl: here.pods.update({image: statuses})


def answer(image: str, failure: VerificationFailure | None) -> Act:
    def act(here: World, ctl: Controller) -> None:
        here.answers.pop(image, None)
        if failure:
            here.answers[image] = failure

    return act


def kill(writes: int) -> Act:
    return lambda here, ctl: setattr(ctl, "writes_left", writes)


def refuse(resource: str, code: int) -> Act:
    def act(here: World, ctl: Controller) -> None:
        here.server.fault = lambda call: Answer(code) if call.resource == resource and call.writes else None

    return act


def delete(plural: str) -> Act:
    def act(here: World, ctl: Controller) -> None:
        for resource in here.server.all(plural)[:1]:
            here.server.remove(plural, resource["metadata"]["name"])

    return act


def cut(forget: bool) -> Act:
    return lambda here, ctl: here.server.end_watches(forget=forget)


more = fixed(3)
pods = st.sampled_from([READY, NONE, STARTING, more, crashed("no store"), without_image("athlete:v2")])
refutations = st.sampled_from(
    [
        None,
        VerificationFailure("VerificationUnavailable", "no answer", False),
        VerificationFailure("VerificationFailed", "row 3 differs", True),
    ]
)
plurals = ("httproutes", "inferenceservices", "scaledobjects", "podmonitors", "backendtrafficpolicies")
acts = st.one_of(
    st.sampled_from(VALID + INVALID).map(write),
    st.builds(behave, st.sampled_from(IMAGES), pods),
    st.builds(answer, st.sampled_from(IMAGES), refutations),
    st.integers(0, 30).map(kill),
    st.builds(refuse, st.sampled_from(plurals), st.sampled_from([409, 422, 503])),
    st.sampled_from(plurals).map(delete),
    st.booleans().map(cut),
)


async def wait(ctl: Controller, seconds: float) -> None:
    until = ctl.world.now + seconds
    try:
        await ctl.run(seconds)
    except Killed:
        ctl.start_again()
        await ctl.run(until - ctl.world.now)


async def after(history: list[tuple[Act, float]], last: dict[str, Any]) -> dict[str, Any]:
    """The end state when everything is well again."""
    async with world() as here, controller(here) as ctl:
        write(last)(here, ctl)
        for act, seconds in history:
            act(here, ctl)
            await wait(ctl, seconds)
        here.pods.clear()
        here.answers.clear()
        here.server.fault = lambda call: None
        ctl.writes_left = None
        write(last)(here, ctl)
        await ctl.run(1300)
        return here.end_state()


@settings(max_examples=20)
@given(st.lists(st.tuples(acts, st.sampled_from([0.0, 5.0, 130.0])), max_size=8), st.sampled_from(VALID))
def test_the_end_does_not_depend_on_the_way(history: list[tuple[Act, float]], last: dict[str, Any]) -> None:
    assert asyncio.run(after(history, last)) == asyncio.run(after([], last))
