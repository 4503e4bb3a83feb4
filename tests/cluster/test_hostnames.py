"""Hosts: of two rollouts that claim one, the first keeps it; and a namespace has those that it is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Cluster, delete_rollout, install_platform, manifest, serving
from .kubectl import CommandError, apply, eventually, get, items, run
from .load import Load
from .test_traffic import ROW

FIRST, SECOND = "z-first", "a-second"
HOST = "claimed.example.com"


def put(cluster: Cluster, name: str, host: str, version: str = "v1") -> None:
    spec = {"bundle": {"image": f"athlete:{version}"}, "route": {"hostnames": [host]}}
    apply([manifest(name, cluster.namespace, **spec)], cluster.namespace)


def conflict(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """What a rollout says about hosts that others claim, too."""
    conditions = get("inferencerollout", name, cluster.namespace).get("status", {}).get("conditions", ())
    return next((condition for condition in conditions if condition["type"] == "HostnamesUnique"), None)


@pytest.fixture(scope="module", autouse=True)
def _rollouts(cluster: Cluster) -> Iterator[None]:
    yield
    for name in (FIRST, SECOND):
        delete_rollout(cluster, name)


def test_the_later_of_two_gets_no_route_and_both_are_told(cluster: Cluster) -> None:
    put(cluster, FIRST, HOST)
    serving(cluster, FIRST, "main=100")
    put(cluster, SECOND, HOST, "v2")
    for name, rival in ((FIRST, SECOND), (SECOND, FIRST)):
        condition = eventually(lambda name=name: conflict(cluster, name), f"{name} says that there is a conflict")  # type: ignore[misc]
        assert (condition["status"], condition["reason"]) == ("False", "HostnameConflict")
        assert f"{cluster.namespace}/{rival}" in condition["message"]

    def runs() -> bool:
        variants = get("inferencerollout", SECOND, cluster.namespace)["status"].get("variants", ())
        return [variant["phase"] for variant in variants] == ["Ready"]

    eventually(runs, f"{SECOND} would serve", 180)
    labels = f"tandem-serving.io/rollout={SECOND}"
    assert items("httproute", cluster.namespace, labels) == []
    with Load(f"{cluster.gateway}/v1/models/time-estimator:predict", HOST, [ROW], rate=50) as sent:
        sent.wait(200)
    assert not sent.failures, sent.failures[:5]
    assert set(sent.shares(0)) == {"v1"}


def test_a_host_that_is_free_again_goes_to_the_other(cluster: Cluster) -> None:
    put(cluster, FIRST, "elsewhere.example.com")
    serving(cluster, SECOND, "main=100")
    assert conflict(cluster, FIRST) is conflict(cluster, SECOND) is None


def test_a_host_that_is_not_allowed_is_refused(cluster: Cluster) -> None:
    allowed = json.dumps({cluster.namespace: ["example.com"], "*": []})
    run(*install_platform(), f"--set-json=allowedDomains={allowed}")
    try:

        def refused() -> str:
            try:
                put(cluster, FIRST, "api.bank.example")
            except CommandError as error:
                return str(error)
            return ""

        assert f"allows for namespace {cluster.namespace}" in eventually(refused, "the policy is in force", 60)
        put(cluster, FIRST, "allowed.example.com")
    finally:
        run(*install_platform(), "--set-json=allowedDomains={}")
