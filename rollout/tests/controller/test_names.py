"""Objects that somebody else gave a name first stay theirs, whatever a rollout of that name says."""

from __future__ import annotations

from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.controller.interface import NameConflictError, WriteError

from .apiserver import Answer, Call, Object
from .world import World, controller, world

NAME = "time-estimator"
AUTH = {"auth": {"jwt": {"issuer": "https://issuer", "jwksUri": "https://issuer/keys"}}}
BLUE_GREEN = [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("blue", "green")]


def theirs(name: str, spec: Object, **more: Any) -> Object:
    """An object of somebody else; with our labels or an owner of the same name where a test says so."""
    metadata = {"name": name, "namespace": "models", "labels": {"owner": "platform"}, **more}
    return {"metadata": metadata, "spec": spec}


def route(name: str = NAME, **more: Any) -> Object:
    rules = [{"name": "split", "backendRefs": [{"name": "billing-transformer", "port": 80, "weight": 7}]}]
    return theirs(name, {"hostnames": ["billing.example.com"], "rules": rules}, **more)


def reason(here: World) -> str:
    return next(condition.reason for condition in here.status().conditions if condition.type == "Ready")


LABELS = {
    "tandem-serving.io/rollout": NAME,
    "app.kubernetes.io/managed-by": "tandem",
}
OTHER = [{"apiVersion": "tandem-serving.io/v1alpha1", "kind": "InferenceRollout", "name": NAME, "uid": "uid-of-before"}]
FOREIGN = [
    ("httproutes", route()),
    ("httproutes", route(labels=LABELS)),
    ("httproutes", route(labels=LABELS, ownerReferences=OTHER)),
    ("securitypolicies", theirs(NAME, {"targetRefs": [], "jwt": {"providers": []}})),
    ("podmonitors", theirs(NAME, {"selector": {}})),
]


@pytest.mark.parametrize(("plural", "there"), FOREIGN)
async def test_an_object_of_another_owner_is_neither_written_nor_deleted(
    here: World, plural: str, there: Object
) -> None:
    before = here.server.put(plural, there)
    here.server.put("inferencerollouts", manifest(route=AUTH))
    async with controller(here) as ctl:
        await ctl.run(60)
        assert unchanged(here, plural, before)
        status, message = here.condition("Ready")
        assert (status, reason(here)) == ("False", "NameConflict")
        assert f"{before['kind']} {NAME} already exists and is not part of this rollout" in message
        here.server.remove("inferencerollouts", NAME)
        await ctl.run(60)
    assert unchanged(here, plural, before)


def unchanged(here: World, plural: str, before: Object) -> bool:
    """Whether nobody but the gateway, which writes a status, has touched an object."""
    now = here.server.get(plural, before["metadata"]["name"])
    return now is not None and (now["spec"], now["metadata"]["uid"], now["metadata"].get("ownerReferences")) == (
        before["spec"],
        before["metadata"]["uid"],
        before["metadata"].get("ownerReferences"),
    )


async def parts_of_a_revision() -> list[tuple[str, Object]]:
    """An object of each kind that a revision consists of."""
    async with world() as there, controller(there) as ctl:
        there.server.put("inferencerollouts", manifest(bundle={"image": "athlete:v1"}))
        await ctl.run(30)
        kinds = ("inferenceservices", "services", "networkpolicies", "scaledobjects", "poddisruptionbudgets")
        return [(kind, there.server.all(kind)[0]) for kind in kinds]


async def test_parts_of_a_revision_are_not_taken_over_either() -> None:
    for plural, part in await parts_of_a_revision():
        async with world() as here, controller(here) as ctl:
            before = here.server.put(plural, theirs(part["metadata"]["name"], {**part["spec"], "mine": True}))
            here.server.put("inferencerollouts", manifest(bundle={"image": "athlete:v1"}))
            await ctl.run(30)
            assert reason(here) == "NameConflict", plural
            here.server.remove("inferencerollouts", NAME)
            await ctl.run(30)
            assert unchanged(here, plural, before)


async def test_no_policy_names_a_route_of_another_owner(here: World) -> None:
    here.server.put("httproutes", route(f"{NAME}-preview"))
    spec = {"variants": BLUE_GREEN, "strategy": {"blueGreen": {"active": "blue"}}, "route": AUTH}
    here.server.put("inferencerollouts", manifest(**spec))
    async with controller(here) as ctl:
        await ctl.run(60)
    policy = here.server.get("securitypolicies", NAME)
    assert policy is not None
    targets = {target["name"] for target in policy["spec"]["targetRefs"]}
    assert targets == {NAME, f"{NAME}.blue", f"{NAME}.green"}
    assert here.weights() == {"athlete:blue": 100}
    assert reason(here) == "NameConflict"


async def test_a_name_that_becomes_free_is_taken(here: World) -> None:
    here.server.put("httproutes", route())
    here.server.put("inferencerollouts", manifest())
    async with controller(here) as ctl:
        await ctl.run(60)
        assert reason(here) == "NameConflict"
        here.server.remove("httproutes", NAME)
        await ctl.run(60)
        assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
        assert reason(here) == "Complete"


async def test_what_somebody_makes_between_the_look_and_the_write_is_theirs(here: World) -> None:
    def fault(call: Call) -> Answer | None:
        first = call.verb == "patch" and call.name == NAME and here.server.get("httproutes", NAME) is None
        if first and call.resource == "httproutes":
            here.server.put("httproutes", route())
        return None

    here.server.put("inferencerollouts", manifest())
    here.server.fault = fault
    async with controller(here) as ctl:
        await ctl.run(60)
    there = here.server.get("httproutes", NAME)
    assert there is not None
    assert there["spec"] == route()["spec"]
    assert reason(here) == "NameConflict"


async def test_what_takes_the_place_of_an_object_between_two_writes_is_not_written(here: World) -> None:
    metadata = {"name": "a", "namespace": "models", "ownerReferences": OTHER}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": {}}
    async with controller(here) as ctl:
        uid = (await ctl.cluster.apply(policy))["metadata"]["uid"]
        assert await ctl.cluster.uid_of(policy) == uid
        here.server.remove("networkpolicies", "a")
        before = here.server.put("networkpolicies", theirs("a", {"mine": True}))
        with pytest.raises(NameConflictError):
            await ctl.cluster.apply(policy, uid=uid)
        with pytest.raises(NameConflictError):
            await ctl.cluster.apply(policy)
        await ctl.cluster.delete("NetworkPolicy", "models", "a", owner=OTHER[0]["uid"])
    assert unchanged(here, "networkpolicies", before)


async def test_an_object_that_is_replaced_while_it_is_deleted_stays(here: World) -> None:
    def fault(call: Call) -> None:
        if call.verb == "delete":
            here.server.remove("networkpolicies", "a")
            here.server.put("networkpolicies", theirs("a", {"mine": True}))

    here.server.put("networkpolicies", theirs("a", {}, ownerReferences=OTHER))
    here.server.fault = fault
    async with controller(here) as ctl:
        with pytest.raises(WriteError):
            await ctl.cluster.delete("NetworkPolicy", "models", "a", owner=OTHER[0]["uid"])
    there = here.server.get("networkpolicies", "a")
    assert there is not None
    assert there["spec"] == {"mine": True}
