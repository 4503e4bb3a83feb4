"""The controller calls nothing that its permissions do not name, and they name nothing that it does not call.

Each right of the chart's role stands here with the functions that need it.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.controller.election import Elector
from tandem_rollout.controller.leases import LiveLeases
from tandem_rollout.controller.permissions import ELECTION_PERMISSIONS, PERMISSIONS, Permission

from .world import World, controller, world

NAME, APPLY, DELETE = "ApiServer.uid_of", "ApiServer._apply", "_delete_exactly"
LIST, WATCH, LOOK = "Cache._list", "Cache._watch", "Inventory._list"
READ_BEFORE_DELETION = "ApiServer.delete"
APPLIED = {"get": {NAME}, "patch": {APPLY}, "create": {APPLY}}
REMOVED = {**APPLIED, "get": {NAME, READ_BEFORE_DELETION}, "delete": {DELETE}}
WATCHED = {**REMOVED, "list": {LIST}, "watch": {WATCH}}

NEEDED = {
    "tandem-serving.io/inferencerollouts": {
        "list": {LIST, "LiveCluster.is_up_to_date"},
        "watch": {WATCH},
        "patch": {"ApiServer.finalize"},
    },
    "tandem-serving.io/inferencerollouts/status": {"patch": {"ApiServer.set_status"}},
    "tandem-serving.io/rolloutevidences": {**REMOVED, "get": {*REMOVED["get"], "ApiServer.evidence"}},
    "serving.kserve.io/inferenceservices": WATCHED,
    "gateway.networking.k8s.io/httproutes": WATCHED,
    "gateway.envoyproxy.io/backendtrafficpolicies": {**REMOVED, "list": {LOOK}},
    "gateway.envoyproxy.io/securitypolicies": {**REMOVED, "list": {LOOK}},
    "monitoring.coreos.com/podmonitors": {**REMOVED, "list": {LOOK}},
    "networking.k8s.io/networkpolicies": {**REMOVED, "list": {LOOK}},
    "keda.sh/scaledobjects": {**APPLIED, "list": {LOOK}},
    "policy/poddisruptionbudgets": {**APPLIED, "list": {LOOK}},
    "/services": {**APPLIED, "list": {LOOK}},
    "/pods": {"list": {LIST, "LiveCluster.proxies"}, "watch": {WATCH}},
    "/events": {"create": {"ApiServer.tell"}},
}
"""Which functions need which verbs, by group and resource."""

NEEDED_IN_OWN_NAMESPACE = {
    "coordination.k8s.io/leases": {
        "get": {"LiveLeases.read"},
        "create": {"LiveLeases.write"},
        "update": {"LiveLeases.write"},
    },
    "/events": {"create": {"LiveLeases.tell"}},
}
"""The same where the controller itself runs."""

COLOURS = [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("blue", "green")]
SPECS = (
    {"bundle": {"image": "athlete:v1"}, "strategy": {"abTest": {}}},
    {"bundle": {"image": "athlete:v1"}, "route": {"auth": {"apiKeys": {"secretName": "clients"}}}},
    {"variants": COLOURS, "strategy": {"blueGreen": {"active": "blue"}}},
    {
        "bundle": {"image": "athlete:v2"},
        "monitoring": {"podMonitors": False},
    },
    {"bundle": {"image": "athlete:v2"}, "network": {"policies": False}, "monitoring": {"podMonitors": False}},
    *(
        {
            "bundle": {"image": image},
            "strategy": {"canary": {"steps": [{"weight": 10, "minDuration": "1s"}], "bake": "1s"}},
            "analysis": {"metrics": [{"type": "errors", "floor": 0.01}], "warmup": "0s", "source": "pods"},
            "historyLimit": 1,
        }
        for image in ("athlete:v3", "athlete:v4")
    ),
)


class _OverError(Exception):
    """A term is over."""


def named(permissions: Iterable[Permission]) -> set[tuple[str, str]]:
    return {
        (f"{permission.group}/{permission.resource}", verb) for permission in permissions for verb in permission.verbs
    }


def used(here: World) -> dict[str, dict[str, set[str]]]:
    """Which functions have used which verbs."""
    callers: dict[str, dict[str, set[str]]] = {}
    for call, caller in here.server.callers:
        callers.setdefault(f"{call.group}/{call.resource}", {}).setdefault(call.verb, set()).add(caller)
    return callers


async def test_permissions_are_those_that_these_functions_need() -> None:
    assert {(resource, verb) for resource, verbs in NEEDED.items() for verb in verbs} == named(PERMISSIONS)
    async with world() as here, controller(here) as ctl:
        for spec in SPECS:
            there = here.server.get("inferencerollouts", "time-estimator")
            here.server.put("inferencerollouts", {**(there or manifest()), "spec": manifest(**spec)["spec"]})
            await ctl.run(200)
            await ctl.run(601)
        await ctl.cluster.is_up_to_date("models", "time-estimator")
        callers = used(here)
    for verbs in callers.values():
        if APPLY in verbs.get("patch", ()):  # an apply makes what is not there yet
            verbs.setdefault("create", set()).add(APPLY)
    assert callers == NEEDED


async def test_permissions_in_its_own_namespace_are_those_that_the_election_needs() -> None:
    needed = {(resource, verb) for resource, verbs in NEEDED_IN_OWN_NAMESPACE.items() for verb in verbs}
    assert needed == named(ELECTION_PERMISSIONS)
    async with world() as here, here.server.client() as client:
        leases = LiveLeases(client, "tandem-system", "tandem-controller")

        async def term() -> None:
            await leases.tell("a became the leader")
            raise _OverError

        with pytest.raises(_OverError):
            await Elector(leases, "a").run(term)
        assert used(here) == NEEDED_IN_OWN_NAMESPACE
        assert {lease["metadata"]["namespace"] for lease in here.server.all("leases")} == {"tandem-system"}
