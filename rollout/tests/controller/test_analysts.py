"""Whom the controller asks for metrics."""

from __future__ import annotations

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.platform import Platform

from .world import World, controller

THEIRS = "http://prometheus.team-a:9090"


@pytest.fixture
def here(here: World) -> World:
    here.rate = 2000.0
    return here


async def shipped(here: World, address: str, allowed: str = "") -> None:
    """A canary that is judged by the Prometheus at an address."""
    analysis = {"metrics": [{"type": "errors"}], "warmup": "0s", "interval": "30s", "prometheus": address}
    async with controller(here, Platform(allowed_prometheus=allowed)) as ctl:
        for version in ("v1", "v2"):
            made = manifest(bundle={"image": f"athlete:{version}"}, strategy={"canary": {}}, analysis=analysis)
            if version == "v1":
                here.server.put("inferencerollouts", made)
            else:
                here.server.edit(
                    "inferencerollouts", "time-estimator", lambda each, made=made: each.update(spec=made["spec"])
                )
            await ctl.run(600)


@pytest.mark.parametrize("address", [THEIRS, "http://169.254.169.254", "http://127.0.0.1:8080/metrics?"])
async def test_an_address_that_the_installation_does_not_allow_is_not_asked(here: World, address: str) -> None:
    await shipped(here, address)
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
    (metric,) = here.status().metrics
    assert metric.verdict == "provider-error"
    assert metric.summary == (
        "spec.analysis.prometheus: must be an address that the installation allows, "
        "by its prometheus or allowedPrometheus"
    )


@pytest.mark.parametrize("address", ["", Platform().prometheus, THEIRS, f"{THEIRS}/"])
async def test_an_allowed_one_is(here: World, address: str) -> None:
    await shipped(here, address, allowed=THEIRS)
    assert here.weights() == {"athlete:v2": 100}
