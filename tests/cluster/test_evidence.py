"""What counts as evidence: requests that the weights sent, and none whose client chose the version."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tandem import Bundle

from . import images, prometheus
from .conftest import EXAMPLE, Cluster, delete_rollout, manifest, serving
from .figures import FIGURES
from .kubectl import apply, eventually, get, run
from .load import Load
from .test_traffic import ROW

NAME = "evidence"
METRICS = [{"type": "errors"}, {"type": "errors", "where": "pods"}]
PINNED = 300


@pytest.fixture(scope="module", autouse=True)
def _rollout(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Version v1 with most of the weight, and beside it one that fails for some requests."""
    bundles = tmp_path_factory.mktemp("failing")
    subprocess.run([sys.executable, str(EXAMPLE / "faults.py"), str(bundles), "errors"], check=True, cwd=EXAMPLE)
    (built,) = bundles.iterdir()
    images.build_bundle("athlete:v2-errors", Bundle.open(built))
    spec = {
        "variants": [
            {"name": "good", "bundle": {"image": "athlete:v1"}, "weight": 70},
            {"name": "bad", "bundle": {"image": "athlete:v2-errors"}, "weight": 30},
        ],
        "strategy": {"abTest": {}},
        "analysis": {"interval": "5s", "warmup": "1s", "metrics": METRICS},
    }
    apply([manifest(NAME, cluster.namespace, **spec)], cluster.namespace)
    serving(cluster, NAME, "good=70 bad=30")
    yield
    delete_rollout(cluster, NAME)


def counted(cluster: Cluster) -> dict[str, int]:
    """Requests of the failing version that the metrics have counted, by metric."""
    status: dict[str, Any] = get("inferencerollout", NAME, cluster.namespace).get("status", {})
    return {metric["name"]: metric.get("requests", 0) for metric in status.get("metrics", ())}


def test_pinned_requests_are_counted_apart_and_decide_nothing(cluster: Cluster) -> None:
    url = f"{cluster.gateway}/v1/models/time-estimator:predict"
    headers = {"host": cluster.host(NAME), "x-model-variant": "bad", "x-tandem-traffic": "weighted"}
    flags = [flag for name, value in headers.items() for flag in ("-H", f"{name}: {value}")]
    body = '{"instances": [{"athlete_id": "a17", "current_pace": 345.0, "ts": "2005-04-03T12:00:00Z"}]}'
    # one process, which asks for the same many times
    run("curl", "-s", *flags, "-H", "content-type: application/json", "-d", body, f"{url}?n=[1-{PINNED}]")
    variants = get("inferencerollout", NAME, cluster.namespace)["status"]["variants"]
    (service,) = [variant["inferenceService"] for variant in variants if variant["name"] == "bad"]
    eventually(lambda: prometheus.requests(cluster, service) >= PINNED, "Prometheus has the pinned requests", 120)
    assert prometheus.requests(cluster, service, traffic="weighted") == 0
    with Load(url, cluster.host(NAME), [ROW], rate=40, header="x-user-id") as sent:
        sent.wait_until(lambda: all(counted(cluster).get(name, 0) for name in ("errors", "errors-in-pods")))
    weighted = sum(sample.arm == "bad" for sample in sent.samples)
    counts = counted(cluster)
    FIGURES.add("pinned requests", f"{PINNED} pinned; {counts} counted of {weighted} that the weights sent", "none")
    assert all(requests <= weighted for requests in counts.values()), counts
