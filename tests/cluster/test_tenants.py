"""What a tenant's rollout says about things that are not its own has no effect on them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Cluster, delete_rollout, manifest, serving, variants
from .kubectl import apply, eventually, get, items, kubectl

NAME = "tenant"
HOST = "billing.example.com"


def foreign(cluster: Cluster) -> list[dict[str, Any]]:
    """A route and a policy of somebody else, with the name of the rollout."""
    metadata = {"name": NAME, "namespace": cluster.namespace, "labels": {"owner": "platform-team"}}
    gateway = {"name": "kserve-ingress-gateway", "namespace": "kserve"}
    rules = [{"backendRefs": [{"name": "store", "port": 6379}]}]
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": NAME}
    denied = {"defaultAction": "Deny"}
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": metadata,
            "spec": {"parentRefs": [gateway], "hostnames": [HOST], "rules": rules},
        },
        {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "SecurityPolicy",
            "metadata": metadata,
            "spec": {"targetRefs": [target], "authorization": denied},
        },
    ]


def condition(cluster: Cluster, kind: str) -> dict[str, Any]:
    """A condition of the rollout; empty as long as there is none."""
    conditions = get("inferencerollout", NAME, cluster.namespace).get("status", {}).get("conditions", ())
    return next((entry for entry in conditions if entry["type"] == kind), {})


def says(cluster: Cluster, kind: str, reason: str) -> bool:
    return condition(cluster, kind).get("reason") == reason


@pytest.fixture(autouse=True)
def _rollout(cluster: Cluster) -> Iterator[None]:
    yield
    delete_rollout(cluster, NAME)


def test_a_route_and_a_policy_of_others_are_not_taken_over(cluster: Cluster) -> None:
    objects = foreign(cluster)
    apply(objects, cluster.namespace)
    kinds = [entry["kind"].lower() for entry in objects]
    before = {kind: get(kind, NAME, cluster.namespace) for kind in kinds}
    keys = {"jwt": {"issuer": "https://issuer.example.com", "jwksUri": "https://issuer.example.com/keys"}}
    apply([manifest(NAME, cluster.namespace, variants=variants(v1=90), route={"auth": keys})], cluster.namespace)
    eventually(functools.partial(says, cluster, "Ready", "NameConflict"), "the rollout says NameConflict", 180)
    assert NAME in condition(cluster, "Ready")["message"]
    delete_rollout(cluster, NAME)
    for kind in kinds:
        now = get(kind, NAME, cluster.namespace)
        assert now["spec"] == before[kind]["spec"]
        assert now["metadata"]["uid"] == before[kind]["metadata"]["uid"]
        assert "ownerReferences" not in now["metadata"]
    kubectl("-n", cluster.namespace, "delete", *(f"{kind}/{NAME}" for kind in kinds))
    apply([manifest(NAME, cluster.namespace, variants=variants(v1=90))], cluster.namespace)
    serving(cluster, NAME, "v1=90")


def test_nobody_asks_a_prometheus_that_is_not_allowed(cluster: Cluster) -> None:
    wrong = {"prometheus": "http://store.default:6379"}
    apply([manifest(NAME, cluster.namespace, variants=variants(v1=90), autoscaling=wrong)], cluster.namespace)
    eventually(functools.partial(says, cluster, "Valid", "Invalid"), "the rollout says Invalid", 60)
    assert "spec.autoscaling.prometheus" in condition(cluster, "Valid")["message"]
    assert items("scaledobjects", cluster.namespace, f"tandem-serving.io/rollout={NAME}") == []


def test_keys_of_tokens_are_fetched_over_https_only(cluster: Cluster) -> None:
    keys = {"jwt": {"issuer": "https://issuer.example.com", "jwksUri": "http://issuer.example.com/keys"}}
    with pytest.raises(AssertionError, match="a URL that begins with https://"):
        apply([manifest(NAME, cluster.namespace, variants=variants(v1=90), route={"auth": keys})], cluster.namespace)
