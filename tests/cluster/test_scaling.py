"""KEDA scales both halves on our metrics; an outage of Prometheus changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from . import prometheus
from .conftest import Cluster, delete_rollout, manifest, serving
from .figures import FIGURES
from .kubectl import apply, eventually, get, items
from .load import Load
from .test_traffic import ROW

NAME = "scaling"
SCALING = {
    "transformer": {"maxReplicas": 3, "inflightPerPod": 1, "scaleDownAfter": "10s"},
    "predictor": {"maxReplicas": 3, "inflightPerPod": 1, "scaleDownAfter": "10s"},
}
# calls of the predictor wait for company, so that little load keeps something in flight
SLOW = {"args": ["--inline_below_ms=0", "--max_batch_delay_ms=20"]}
RATE = 250
HELD_S = 40
PATIENCE_S = 300.0


@pytest.fixture(scope="module", autouse=True)
def _rollout(cluster: Cluster) -> Iterator[None]:
    bundle = {"image": "athlete:v1"}
    apply([manifest(NAME, cluster.namespace, bundle=bundle, autoscaling=SCALING, predictor=SLOW)], cluster.namespace)
    serving(cluster, NAME, "main=100")
    yield
    prometheus.scale(1)
    delete_rollout(cluster, NAME)


def test_both_halves_scale_up_under_load_and_back(cluster: Cluster) -> None:
    started = {half: _replicas(cluster, half) for half in ("transformer", "predictor")}
    assert set(started.values()) == {1}
    with _load(cluster, RATE) as sent:
        sent.wait_until(lambda: _replicas(cluster, "transformer") == 3, PATIENCE_S)
        FIGURES.add("transformer 1 to 3 pods under load", f"{sent.now:.0f} s")
        sent.wait_until(lambda: _replicas(cluster, "predictor") >= 2, PATIENCE_S)
        FIGURES.add("predictor up on its own signal", f"{sent.now:.0f} s")
    eventually(lambda: _replicas(cluster, "transformer") == 1, "transformer back to 1", 240)
    eventually(lambda: _replicas(cluster, "predictor") == 1, "predictor back to 1", 240)
    FIGURES.add("both back to 1 pod", "yes")
    FIGURES.lost += len(sent.failures)
    assert not sent.failures, sent.failures[:5]


def test_without_prometheus_replicas_hold_and_scaling_resumes(cluster: Cluster) -> None:
    with _load(cluster, RATE) as sent:
        sent.wait_until(lambda: _replicas(cluster, "transformer") == 3, PATIENCE_S)
        prometheus.scale(0)
        scaled = _deployment(cluster, "transformer")
        sent.wait_until(lambda: _fallback(cluster, scaled), PATIENCE_S)
        pods = _replicas(cluster, "transformer")
    # without load and without Prometheus nothing shrinks, although fewer pods would be due after ten seconds
    hpa = f"keda-{scaled}"
    since = time.monotonic()
    eventually(lambda: time.monotonic() - since > HELD_S or _replicas(cluster, "transformer") < pods, hpa, 2 * HELD_S)
    assert _replicas(cluster, "transformer") >= pods
    FIGURES.add("Prometheus stopped", f"{pods} pods held by the fallback")
    prometheus.scale(1)
    eventually(lambda: _replicas(cluster, "transformer") == 1, "scaling resumes", 240)
    FIGURES.add("Prometheus back", "scaled to 1 pod")
    FIGURES.lost += len(sent.failures)
    assert not sent.failures, sent.failures[:5]


def _load(cluster: Cluster, rate: float) -> Load:
    return Load(f"{cluster.gateway}/v1/models/time-estimator:predict", cluster.host(NAME), [ROW], rate=rate)


def _deployment(cluster: Cluster, half: str) -> str:
    labels = f"tandem-serving.io/rollout={NAME}"
    (name,) = [
        scaled_object["spec"]["scaleTargetRef"]["name"]
        for scaled_object in items("scaledobject", cluster.namespace, labels)
        if scaled_object["metadata"]["name"].endswith(half)
    ]
    return str(name)


def _replicas(cluster: Cluster, half: str) -> int:
    """Ready pods of a half."""
    deployment = get("deployment", _deployment(cluster, half), cluster.namespace)
    return int(deployment["status"].get("readyReplicas", 0))


def _fallback(cluster: Cluster, name: str) -> bool:
    conditions = get("scaledobject", name, cluster.namespace)["status"]["conditions"]
    return any(condition["type"] == "Fallback" and condition["status"] == "True" for condition in conditions)
