"""Two rollouts that claim one host: both are told, and the later one gets no route."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout.tests.render.test_hosts import hosts
from rollout.tests.rollouts import manifest

from tandem_rollout.controller.host_claims import HostIndex
from tandem_rollout.render.hosts import HostClaim, overlap
from tandem_rollout.render.platform import Platform

from .world import Controller, World, controller

API = "api.example"


def put(here: World, namespace: str, name: str, **spec: Any) -> None:
    resource = manifest(bundle={"image": "athlete:v1"}, **spec)
    resource["metadata"] |= {"namespace": namespace, "name": name}
    there = here.server.get("inferencerollouts", name, namespace)
    here.server.put("inferencerollouts", {**(there or resource), "spec": resource["spec"]})


def hosts_of(here: World, namespace: str, name: str) -> list[str]:
    """Hosts of all routes of a rollout."""
    routes = [route for route in here.server.all("httproutes") if route["metadata"]["namespace"] == namespace]
    return sorted(
        {
            host
            for route in routes
            if route["metadata"]["name"].partition(".")[0].removesuffix("-preview") == name
            for host in route["spec"]["hostnames"]
        }
    )


def told(here: World, namespace: str, name: str) -> dict[str, tuple[str, str, str]]:
    conditions = here.status(name, namespace).conditions
    return {condition.type: (condition.status, condition.reason, condition.message) for condition in conditions}


@pytest.fixture
async def ctl(here: World) -> Any:
    async with controller(here) as instance:
        yield instance


async def test_the_later_one_gets_no_route_and_both_are_told(here: World, ctl: Controller) -> None:
    put(here, "z-team", "first", route={"hostnames": [API]})
    await ctl.run()
    # by its name it would come before, and the gateway would order rules in its own way
    put(here, "a-team", "second", route={"hostnames": [API]})
    await ctl.run()
    assert hosts_of(here, "z-team", "first") == [API]
    assert hosts_of(here, "a-team", "second") == []
    first, second = told(here, "z-team", "first"), told(here, "a-team", "second")
    assert first["Ready"][0] == "True"
    message = f"{API} is also claimed by InferenceRollout a-team/second, which has no route for it"
    assert first["HostnamesUnique"] == ("False", "HostnameConflict", message)
    message = f"{API} belongs to InferenceRollout z-team/first: this rollout has no route for it"
    assert second["HostnamesUnique"] == second["Ready"] == ("False", "HostnameConflict", message)
    status = here.status("second", "a-team")
    assert (status.message, status.url) == (message, "")
    assert message in here.events()


async def test_a_host_that_becomes_free_goes_to_the_other(here: World, ctl: Controller) -> None:
    put(here, "z-team", "first", route={"hostnames": [API]})
    await ctl.run()
    put(here, "a-team", "second", route={"hostnames": [API]})
    await ctl.run()
    put(here, "z-team", "first", route={"hostnames": ["elsewhere.example"]})
    await ctl.run()
    assert hosts_of(here, "z-team", "first") == ["elsewhere.example"]
    assert hosts_of(here, "a-team", "second") == [API]
    assert not {"HostnamesUnique"} & (told(here, "z-team", "first").keys() | told(here, "a-team", "second").keys())
    assert told(here, "a-team", "second")["Ready"][0] == "True"


async def test_an_edit_takes_no_host_and_keeps_those_that_are_free(here: World, ctl: Controller) -> None:
    put(here, "a-team", "older")
    put(here, "z-team", "serves", route={"hostnames": [API]})
    await ctl.run()
    put(here, "a-team", "older", route={"hostnames": [API, "free.example"]})
    await ctl.run()
    assert hosts_of(here, "z-team", "serves") == [API]
    assert hosts_of(here, "a-team", "older") == ["free.example"]
    assert here.status("older", "a-team").url == "http://free.example"
    put(here, "a-team", "older", route={"hostnames": [API]})
    await ctl.run()
    assert hosts_of(here, "a-team", "older") == []
    assert hosts_of(here, "z-team", "serves") == [API]


async def test_the_preview_host_is_a_claim_as_well(here: World, ctl: Controller) -> None:
    put(here, "z-team", "first", route={"hostnames": [f"preview-{API}"]})
    await ctl.run()
    colours = {"variants": [{"name": colour, "bundle": {"image": "athlete:v1"}} for colour in ("blue", "green")]}
    resource = manifest(**colours, strategy={"blueGreen": {"active": "blue"}}, route={"hostnames": [API]})
    resource["metadata"] |= {"namespace": "a-team", "name": "second"}
    here.server.put("inferencerollouts", resource)
    await ctl.run()
    assert hosts_of(here, "a-team", "second") == [API]
    assert f"preview-{API} belongs to" in told(here, "a-team", "second")["HostnamesUnique"][2]


async def test_hosts_that_the_installation_does_not_allow_get_no_route(here: World) -> None:
    allowed = '{"bank": ["bank.example"]}'
    async with controller(here, Platform(allowed_domains=allowed)) as ctl:
        put(here, "a-thief", "model", route={"hostnames": ["api.bank.example"]})
        put(here, "bank", "model", route={"hostnames": ["api.bank.example"]})
        put(here, "other", "model")
        await ctl.run()
    assert hosts_of(here, "bank", "model") == ["api.bank.example"]
    assert hosts_of(here, "other", "model") == ["model.other.example.com"]
    assert hosts_of(here, "a-thief", "model") == []
    message = "api.bank.example is not below a domain that the installation allows for namespace a-thief"
    assert told(here, "a-thief", "model")["Ready"] == ("False", "HostnameNotAllowed", message)
    # nobody keeps others from a host by claiming what it may not have
    assert "HostnamesUnique" not in told(here, "bank", "model")


@given(st.lists(st.tuples(st.integers(0, 4), st.none() | st.lists(hosts, min_size=1, max_size=3))))
def test_the_index_finds_all_rivals_and_says_whom_a_change_concerns(
    changes: list[tuple[int, list[str] | None]],
) -> None:
    index, claims = HostIndex(), dict[int, HostClaim]()

    def rivals(own: HostClaim) -> set[tuple[str, str]]:
        candidates = (claim for claim in claims.values() if claim.name != own.name)
        return {
            (claim.namespace, claim.name)
            for claim in candidates
            if any(overlap(host, rival_host) for host in own.hosts for rival_host in claim.hosts)
        }

    for number, own in changes:
        before = claims.pop(number, None)
        concerned = rivals(before) if before else set()
        if own is None:
            assert index.drop(("n", str(number))) == concerned
            continue
        after = HostClaim("n", str(number), ("g", "g"), tuple(own))
        touched = index.put(after)
        assert touched == (set() if before == after else concerned | rivals(after))
        claims[number] = after
        assert index.rivals(after) == rivals(after)
