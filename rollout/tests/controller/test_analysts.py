"""Whom the controller asks for metrics."""

from __future__ import annotations

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.api.routing import GatewayRef
from tandem_rollout.render.platform import Platform

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
            resource = manifest(bundle={"image": f"athlete:{version}"}, strategy={"canary": {}}, analysis=analysis)
            if version == "v1":
                here.server.put("inferencerollouts", resource)
            else:
                here.server.edit(
                    "inferencerollouts",
                    "time-estimator",
                    lambda live, resource=resource: live.update(spec=resource["spec"]),
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


async def autoscaled(here: World, address: str, allowed: str = "") -> None:
    """A rollout whose pods KEDA scales by the Prometheus at an address."""
    async with controller(here, Platform(allowed_prometheus=allowed)) as ctl:
        here.server.put("inferencerollouts", manifest(autoscaling={"prometheus": address}))
        await ctl.run(60)


async def test_keda_is_not_given_an_address_that_the_installation_does_not_allow(here: World) -> None:
    await autoscaled(here, "http://169.254.169.254/latest")
    assert here.server.all("scaledobjects") == []
    assert here.condition("Valid") == (
        "False",
        "spec.autoscaling.prometheus: must be an address that the installation allows, "
        "by its prometheus or allowedPrometheus",
    )


async def test_keda_is_given_one_that_it_allows(here: World) -> None:
    await autoscaled(here, THEIRS, allowed=THEIRS)
    (trigger, *_) = (scaled_object["spec"]["triggers"][0] for scaled_object in here.server.all("scaledobjects"))
    assert trigger["metadata"]["serverAddress"] == THEIRS


async def test_a_pod_elsewhere_is_not_taken_for_a_proxy_of_the_gateway(here: World) -> None:
    gateway = GatewayRef()
    labels = {
        "gateway.envoyproxy.io/owning-gateway-name": gateway.name,
        "gateway.envoyproxy.io/owning-gateway-namespace": gateway.namespace,
    }
    for name, namespace, address in (("fake", "team-b", "10.0.0.66"), ("proxy", "envoy-gateway-system", "10.0.0.7")):
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        here.server.put("pods", {"metadata": metadata, "spec": {"containers": []}, "status": {"podIP": address}})
    async with controller(here) as ctl:
        assert await ctl.cluster.proxies(gateway) == (("proxy", "http://10.0.0.7:19001/stats/prometheus"),)
