"""What is not watched is put back in time, at little expense."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.controller.apply import RESYNC_S

from .world import Controller, World, controller

KEYS = {"auth": {"apiKeys": {"secretName": "clients"}}}


@pytest.fixture
async def ctl(here: World) -> AsyncIterator[Controller]:
    async with controller(here) as instance:
        here.server.put("inferencerollouts", manifest(bundle={"image": "athlete:v1"}, route=KEYS))
        await instance.run(60)
        yield instance


def one(here: World, plural: str) -> dict[str, Any]:
    return here.server.all(plural)[0]


def edited(here: World, plural: str, change: Callable[[dict[str, Any]], Any]) -> None:
    here.server.edit(plural, one(here, plural)["metadata"]["name"], change)


async def test_an_hour_in_which_nothing_happens_costs_lists_only(here: World, ctl: Controller) -> None:
    here.server.calls.clear()
    await ctl.run(3600)
    calls = Counter(call.verb for call in here.server.calls if call.verb != "watch")
    assert set(calls) == {"list"}
    per_hour = 3600 / (RESYNC_S / 2)
    assert calls["list"] <= 7 * per_hour


@pytest.mark.parametrize(
    ("plural", "change"),
    [
        ("scaledobjects", lambda live: live["spec"].update(minReplicaCount=7)),
        ("networkpolicies", lambda live: live["spec"].update(ingress=[])),
        ("services", lambda live: live["spec"].update(ports=[])),
        ("poddisruptionbudgets", lambda live: live["metadata"].pop("labels")),
        ("podmonitors", lambda live: live["metadata"].pop("ownerReferences")),
    ],
)
async def test_an_edit_is_undone(
    here: World, ctl: Controller, plural: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    def state() -> tuple[Any, ...]:
        resource = one(here, plural)
        return resource["spec"], resource["metadata"].get("labels"), resource["metadata"].get("ownerReferences")

    before = state()
    edited(here, plural, change)
    assert state() != before
    await ctl.run(RESYNC_S)
    assert state() == before


async def test_who_may_ask_is_settled_again_where_the_policy_was_deleted(here: World, ctl: Controller) -> None:
    policy = one(here, "securitypolicies")
    here.server.remove("securitypolicies", policy["metadata"]["name"])
    await ctl.run(RESYNC_S)
    assert one(here, "securitypolicies")["spec"] == policy["spec"]


async def test_a_status_of_somebody_else_is_no_reason_to_apply(here: World, ctl: Controller) -> None:
    here.server.calls.clear()
    for hour in range(5):
        edited(here, "scaledobjects", lambda live, hour=hour: live.update(status={"hours": hour}))  # type: ignore[misc]
        await ctl.run(RESYNC_S)
    assert not [call for call in here.server.calls if call.verb == "patch"]


async def test_without_the_permission_to_list_everything_is_applied_again(here: World, ctl: Controller) -> None:
    edited(here, "scaledobjects", lambda live: live["spec"].update(minReplicaCount=7))
    here.server.unknown.add("networkpolicies")
    await ctl.run(RESYNC_S)
    assert one(here, "scaledobjects")["spec"]["minReplicaCount"] == 1
    here.server.unknown.clear()
    here.server.edit(
        "networkpolicies",
        one(here, "networkpolicies")["metadata"]["name"],
        lambda live: live["spec"].update(ingress=[]),
    )
    await ctl.run(RESYNC_S)
    assert one(here, "networkpolicies")["spec"]["ingress"] != []
