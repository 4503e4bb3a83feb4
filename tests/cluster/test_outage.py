"""A store that stalls or is gone, under load: every request is answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from .conftest import Cluster, delete_rollout, fill_store, manifest, serving, variants
from .figures import FIGURES
from .kubectl import apply, get, kubectl
from .load import Load

NAME = "outage"
ROW = {"athlete_id": "a17", "current_pace": 345.0, "ts": "2005-04-03T12:00:00Z"}
RATE = 100
STALL_MS = 3_000


@pytest.fixture(scope="module", autouse=True)
def _rollout(cluster: Cluster) -> Iterator[None]:
    spec = manifest(NAME, cluster.namespace, variants=variants(v1=100))
    # the transformer's own time for a lookup, which other tests lengthen
    spec["spec"]["transformer"].pop("args")
    apply([spec], cluster.namespace)
    serving(cluster, NAME, "v1=100")
    yield
    delete_rollout(cluster, NAME)
    fill_store(cluster.namespace)


def load(cluster: Cluster) -> Load:
    url = f"{cluster.gateway}/v1/models/time-estimator:predict"
    return Load(url, cluster.host(NAME), [ROW], rate=RATE)


def all_answered(name: str, sent: Load) -> None:
    lost = [f"{sample.at:.1f} s: {sample.failure}" for sample in sent.failures]
    FIGURES.lost += len(lost)
    FIGURES.add(name, f"{len(lost)} of {len(sent.samples):,} requests lost", "0")
    assert not lost, lost[:10]


def test_every_request_is_answered_while_the_store_stalls(cluster: Cluster) -> None:
    address = get("service", "store", cluster.namespace)["spec"]["clusterIP"]
    with load(cluster) as sent, redis.Redis(address) as store:
        sent.wait(3 * RATE)
        for _ in range(3):
            store.client_pause(STALL_MS, all=True)
            sent.wait(5 * RATE)
    all_answered("the store stalls for 3 s, three times", sent)


def test_every_request_is_answered_while_the_store_is_gone(cluster: Cluster) -> None:
    with load(cluster) as sent:
        sent.wait(3 * RATE)
        kubectl("-n", cluster.namespace, "scale", "deployment", "store", "--replicas=0")
        sent.wait(10 * RATE)
        kubectl("-n", cluster.namespace, "scale", "deployment", "store", "--replicas=1")
        kubectl("-n", cluster.namespace, "rollout", "status", "deployment/store", "--timeout=90s")
        sent.wait(5 * RATE)
    all_answered("the store is gone for 10 s", sent)
