"""Prometheus of the cluster: started and stopped, and asked what it knows."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

from .kubectl import kubectl

if TYPE_CHECKING:
    from .conftest import Cluster


def scale(replicas: int) -> None:
    """Have so many of it; without any nothing can be read."""
    patch = json.dumps({"spec": {"replicas": replicas}})
    kubectl("-n", "monitoring", "patch", "prometheus", "cluster", "--type=merge", "-p", patch)


def requests(cluster: Cluster, service: str, traffic: str = ".*") -> float:
    """Requests of an InferenceService that it has counted; ``traffic`` says how they came there."""
    labels = f'namespace="{cluster.namespace}",inferenceservice="{service}",traffic=~"{traffic}"'
    query = f"sum(tandem_requests_total{{{labels}}})"
    url = f"{cluster.prometheus}/api/v1/query?query={urllib.parse.quote(query)}"
    with urllib.request.urlopen(url, timeout=10) as response:
        result = json.load(response)["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0
