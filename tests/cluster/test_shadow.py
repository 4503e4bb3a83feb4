"""A shadow on the real gateway: it gets copies, it is compared, and clients never meet it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from . import prometheus
from .conftest import Cluster, delete_rollout, manifest, serving, variants
from .figures import FIGURES
from .kubectl import apply, get
from .load import Load
from .test_traffic import ROW

NAME = "shadowed"
RATE = 120
PERCENT = 50
ANALYSIS: dict[str, Any] = {
    "interval": "5s",
    "metrics": [{"type": "errors"}, {"type": "errors", "where": "pods"}, {"type": "latency"}, {"type": "drift"}],
}


@pytest.fixture(scope="module", autouse=True)
def _rollout(cluster: Cluster) -> Iterator[None]:
    shadow = {"shadow": {"variant": "v2", "percent": PERCENT}}
    spec = {"variants": variants(v1=100, v2=0), "strategy": shadow, "analysis": ANALYSIS}
    apply([manifest(NAME, cluster.namespace, **spec)], cluster.namespace)
    serving(cluster, NAME, "v1=100")
    yield
    delete_rollout(cluster, NAME)


def test_a_shadow_is_compared_and_clients_never_meet_it(cluster: Cluster) -> None:
    with Load(f"{cluster.gateway}/v1/models/time-estimator:predict", cluster.host(NAME), [ROW], rate=RATE) as sent:
        sent.wait_until(lambda: _status(cluster).get("run", {}).get("state") == "Observing")
        sent.wait_until(lambda: len(_counted(cluster)) == len(ANALYSIS["metrics"]))
        assert set(sent.shares(0)) == {"v1"}
        run = _status(cluster)["run"]
        before = {arm: prometheus.requests(cluster, run[arm]) for arm in ("stable", "canary")}
        sent.wait(RATE * 30)
        share = _grown(cluster, run, before, "canary") / _grown(cluster, run, before, "stable")
        assert set(sent.shares(0)) == {"v1"}
    FIGURES.add("shadow", f"{share:.1%} of the requests copied, {PERCENT} % set")
    FIGURES.lost += len(sent.failures)
    assert not sent.failures, sent.failures[:5]
    assert abs(share - PERCENT / 100) <= 0.1
    assert _status(cluster)["run"]["state"] == "Observing"


def _status(cluster: Cluster) -> dict[str, Any]:
    status: dict[str, Any] = get("inferencerollout", NAME, cluster.namespace).get("status", {})
    return status


def _counted(cluster: Cluster) -> list[str]:
    """Metrics that have counted something."""
    return [
        metric["name"]
        for metric in _status(cluster).get("metrics", ())
        if metric["verdict"] not in ("no-data", "provider-error") and metric.get("requests")
    ]


def _grown(cluster: Cluster, run: dict[str, Any], before: dict[str, float], arm: str) -> float:
    return prometheus.requests(cluster, run[arm]) - before[arm]
