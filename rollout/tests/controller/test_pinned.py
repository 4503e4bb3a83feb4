"""Pods are pinned to the digest of their bundle at its first verification."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.controller.revision_spec import RENDERED
from tandem_rollout.render.pin import DIGEST, pinned_digest

from .world import READY, STARTING, Controller, World, controller, digest, verification

ONE: dict[str, Any] = {"bundle": {"image": "athlete:v1"}}


@pytest.fixture
async def ctl(here: World) -> AsyncIterator[Controller]:
    async with controller(here) as instance:
        yield instance


def given(here: World, **spec: Any) -> None:
    here.server.put("inferencerollouts", manifest(**spec))


def service(here: World) -> dict[str, Any]:
    (resource,) = here.server.all("inferenceservices")
    return resource


def in_env(resource: dict[str, Any]) -> set[str]:
    """Digests that the servers of both halves are to find."""
    return {
        variable["value"]
        for half in ("transformer", "predictor")
        for container in resource["spec"][half]["containers"]
        for variable in container.get("env", ())
        if variable["name"] == "TANDEM_BUNDLE_DIGEST"
    }


async def test_the_digest_is_pinned_at_the_first_verification_and_before_any_weight(
    here: World, ctl: Controller
) -> None:
    given(here, **ONE)
    await ctl.run()
    assert here.weights() == {"athlete:v1": 100}
    assert pinned_digest(service(here)) == digest("v1")
    assert in_env(service(here)) == {digest("v1")}
    (pods,) = {
        tuple(pod["metadata"]["labels"].get(DIGEST, "") for pod in here.server.all("pods")),
    }
    assert set(pods) == {digest("v1")[:16]}


async def test_pods_of_before_the_pin_get_no_weight(here: World, ctl: Controller) -> None:
    restarted = {"pinned": False}

    def pods(half: str, specified: int) -> list[dict[str, Any]]:
        if (
            any(pinned_digest(resource) for resource in here.server.all("inferenceservices"))
            and not restarted["pinned"]
        ):
            return STARTING(half, specified)
        return READY(half, specified)

    here.pods["athlete:v1"] = pods
    given(here, **ONE)
    await ctl.run()
    assert pinned_digest(service(here)) == digest("v1")
    assert here.weights() == {}
    restarted["pinned"] = True
    await ctl.run()
    assert here.weights() == {"athlete:v1": 100}


async def test_pods_of_a_tag_that_was_moved_are_refused(here: World, ctl: Controller) -> None:
    given(here, **ONE)
    await ctl.run()
    here.answers["athlete:v1"] = verification("moved")
    ctl.start_again()
    await ctl.run()
    (variant,) = here.status().variants
    assert variant.message == f"its bundle has the digest {digest('moved')[:8]}, but it is pinned to {digest('v1')[:8]}"
    assert pinned_digest(service(here)) == digest("v1")


async def test_a_digest_in_the_spec_must_be_that_of_the_bundle(here: World, ctl: Controller) -> None:
    given(here, bundle={"image": "athlete:v1", "digest": digest("v1")})
    await ctl.run()
    assert here.weights() == {"athlete:v1": 100}
    assert service(here)["metadata"]["generation"] == 1
    given(here, bundle={"image": "athlete:v2", "digest": digest("v1")})
    await ctl.run()
    assert here.weights() == {"athlete:v1": 100}
    assert (
        f"its bundle has the digest {digest('v2')[:8]}, but it is pinned to {digest('v1')[:8]}" in here.status().message
    )


async def test_pods_of_an_older_controller_are_not_started_again(here: World, ctl: Controller) -> None:
    given(here, **ONE)
    await ctl.run()
    here.server.edit("inferenceservices", service(here)["metadata"]["name"], _forget_the_pin)
    before = service(here)["spec"]
    ctl.start_again()
    await ctl.run()
    assert (here.weights(), service(here)["spec"]) == ({"athlete:v1": 100}, before)


async def test_what_a_newer_controller_renders_otherwise_is_not_waited_for(here: World, ctl: Controller) -> None:
    here.pods["athlete:v1"] = STARTING
    given(here, **ONE)
    await ctl.run()
    name = service(here)["metadata"]["name"]
    here.server.edit("inferenceservices", name, lambda live: live["metadata"]["annotations"].update({RENDERED: "old"}))
    here.pods["athlete:v1"] = READY
    ctl.start_again()
    await ctl.run()
    assert here.weights() == {"athlete:v1": 100}
    assert pinned_digest(service(here)) == ""


async def test_pods_with_a_gpu_are_not_started_twice(here: World, ctl: Controller) -> None:
    given(here, **ONE, predictor={"gpu": {"count": 1}})
    await ctl.run()
    assert service(here)["metadata"]["generation"] == 1
    assert pinned_digest(service(here)) is None


def _forget_the_pin(resource: dict[str, Any]) -> None:
    del resource["metadata"]["annotations"][DIGEST]
    resource["metadata"]["labels"].pop(DIGEST)
    for half in ("transformer", "predictor"):
        for container in resource["spec"][half]["containers"]:
            container.pop("env", None)
