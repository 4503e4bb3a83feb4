"""The controller is killed at many moments and started again: the end is the same, and clients notice nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import SYSTEM, Cluster, delete_rollout, manifest, serving, variants
from .figures import FIGURES
from .kubectl import apply, eventually, get, items, kubectl
from .load import Load
from .test_traffic import ROW

NAME = "killed"
PODS = "app.kubernetes.io/component=controller"
KILLS = 8


@pytest.fixture(scope="module", autouse=True)
def _rollout(cluster: Cluster) -> Iterator[None]:
    put(cluster, variants(v1=90, v2=10))
    serving(cluster, NAME, "v1=90 v2=10")
    yield
    delete_rollout(cluster, NAME)


def put(cluster: Cluster, of: list[dict[str, Any]], **spec: Any) -> None:
    apply([manifest(NAME, cluster.namespace, variants=of, keepOldFor="5s", **spec)], cluster.namespace)


def kill() -> None:
    """Kill the controller; its Deployment starts another."""
    for pod in items("pods", SYSTEM, PODS):
        kubectl("-n", SYSTEM, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


def weighted_backends(cluster: Cluster) -> set[str]:
    route = get("httproute", NAME, cluster.namespace)
    (split,) = [rule for rule in route["spec"]["rules"] if rule["name"] == "split"]
    return {each["name"] for each in split["backendRefs"] if each["weight"]}


def without_endpoints(cluster: Cluster) -> set[str]:
    """Services with weight and without a ready endpoint."""
    found = set()
    for name in weighted_backends(cluster):
        slices = items("endpointslices", cluster.namespace, f"kubernetes.io/service-name={name}")
        ready = [end for each in slices for end in each.get("endpoints") or () if end["conditions"].get("ready")]
        if not ready:
            found.add(name)
    return found & weighted_backends(cluster)


def test_a_controller_that_is_killed_again_and_again(cluster: Cluster) -> None:
    rng = random.Random(3)
    url = f"{cluster.gateway}/v1/models/time-estimator:predict"
    with Load(url, cluster.host(NAME), [ROW], rate=100) as sent:
        for number in range(KILLS):
            # new pods for both variants, other weights, and no controller half-way through
            put(
                cluster,
                variants(v1=90 - number, v2=10 + number),
                transformer={"env": [{"name": "N", "value": str(number)}]},
            )
            for _ in range(rng.randint(0, 60)):
                sent.wait(5)
                assert not without_endpoints(cluster)
                if rng.random() < 0.1:
                    break
            kill()
        last = f"v1={90 - KILLS + 1} v2={10 + KILLS - 1}"
        sent.wait_until(lambda: bool(serving(cluster, NAME, last)))
        sent.wait(200)
    assert not without_endpoints(cluster)
    labels = f"tandem-serving.io/rollout={NAME}"
    eventually(lambda: len(items("isvc", cluster.namespace, labels)) == 2, "earlier versions are gone", 120)
    FIGURES.lost += len(sent.failures)
    FIGURES.add(
        f"controller killed {KILLS} times", f"{len(sent.failures)} of {len(sent.samples):,} requests lost, same end"
    )
    assert not sent.failures, sent.failures[:5]
