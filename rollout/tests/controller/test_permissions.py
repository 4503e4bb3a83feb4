"""The controller calls nothing that its permissions do not name, and they name nothing that it does not call."""

from __future__ import annotations

from rollout.tests.rollouts import manifest

from tandem_rollout.controller.permissions import PERMISSIONS

from .world import controller, world

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


async def test_permissions_are_those_that_are_used() -> None:
    allowed = {(each.group, each.resource, verb) for each in PERMISSIONS for verb in each.verbs}
    async with world() as here, controller(here) as ctl:
        for spec in SPECS:
            there = here.server.get("inferencerollouts", "time-estimator")
            here.server.put("inferencerollouts", {**(there or manifest()), "spec": manifest(**spec)["spec"]})
            await ctl.run(200)
            await ctl.run(601)
        used = {(call.group, call.resource, call.verb) for call in here.server.calls}
        # an apply makes what is not there yet; rollouts are patched only
        used |= {
            (group, resource, "create")
            for group, resource, verb in used
            if verb == "patch" and "/" not in resource and resource != "inferencerollouts"
        }
    assert used == allowed
