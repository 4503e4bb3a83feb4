"""The controller calls nothing that its permissions do not name, and they name nothing that it does not call.

Each right of the chart's role stands here with the functions that need it.
"""

from __future__ import annotations

from rollout.tests.rollouts import manifest

from tandem_rollout.controller.permissions import PERMISSIONS

from .world import controller, world

NAME, APPLY, DELETE = "LiveCluster.uid_of", "LiveCluster._apply", "_delete_exactly"
LIST, WATCH, LOOK = "Cache._list", "Cache._watch", "Inventory._list"
READ_BEFORE_DELETION = "LiveCluster.delete"
APPLIED = {"get": {NAME}, "patch": {APPLY}, "create": {APPLY}}
REMOVED = {**APPLIED, "get": {NAME, READ_BEFORE_DELETION}, "delete": {DELETE}}
WATCHED = {**REMOVED, "list": {LIST}, "watch": {WATCH}}

NEEDED = {
    "tandem-serving.io/inferencerollouts": {"list": {LIST}, "watch": {WATCH}, "patch": {"LiveCluster.finalize"}},
    "tandem-serving.io/inferencerollouts/status": {"patch": {"LiveCluster.set_status"}},
    "tandem-serving.io/rolloutevidences": {**REMOVED, "get": {*REMOVED["get"], "LiveCluster.evidence"}},
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
    "/events": {"create": {"LiveCluster.tell"}},
}
"""Which functions need which verbs, by group and resource."""

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
            "strategy": {"canary": {"steps": [{"weight": 10, "hold": "1s"}], "bake": "1s"}},
            "analysis": {"metrics": [{"type": "errors", "floor": 0.01}], "warmup": "0s", "source": "pods"},
            "historyLimit": 1,
        }
        for image in ("athlete:v3", "athlete:v4")
    ),
)


async def test_permissions_are_those_that_these_functions_need() -> None:
    allowed = {(f"{each.group}/{each.resource}", verb) for each in PERMISSIONS for verb in each.verbs}
    assert {(resource, verb) for resource, verbs in NEEDED.items() for verb in verbs} == allowed
    async with world() as here, controller(here) as ctl:
        for spec in SPECS:
            there = here.server.get("inferencerollouts", "time-estimator")
            here.server.put("inferencerollouts", {**(there or manifest()), "spec": manifest(**spec)["spec"]})
            await ctl.run(200)
            await ctl.run(601)
        used: dict[str, dict[str, set[str]]] = {}
        for call, caller in here.server.callers:
            used.setdefault(f"{call.group}/{call.resource}", {}).setdefault(call.verb, set()).add(caller)
    for verbs in used.values():
        if APPLY in verbs.get("patch", ()):  # an apply makes what is not there yet
            verbs.setdefault("create", set()).add(APPLY)
    assert used == NEEDED
