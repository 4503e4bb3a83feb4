"""What pods and proxies have counted, as series."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from .servers import CLUSTERS, NAMESPACE, Labels

EDGES = ("0.1", "0.5", "+Inf")
BINS = ("10.0", "20.0", "+Inf")
OUTCOMES = {"2": "answered", "4": "refused", "5": "failed"}
"""By class of the status."""


def pod(
    *,
    codes: Mapping[str, float] | None = None,
    seconds: tuple[float, ...] = (0, 0, 0),
    predictions: tuple[float, ...] | None = None,
    rows: float = 0,
    degraded: Mapping[str, float] | None = None,
    version: str = "v1",
    traffic: str = "weighted",
    outcome: str = "",
) -> list[tuple[Labels, float]]:
    """Series of a transformer.

    Args:
        codes: Answers by status.
        seconds: Answers by bucket of :data:`EDGES`, not cumulative.
        predictions: Rows by bucket of :data:`BINS`; None where the contract has no buckets.
        rows: Rows answered.
        degraded: Degraded rows by ``REASON`` or ``REASON:SOURCE``; the source is by default ``default``.
        version: Its version.
        traffic: How the requests came there.
        outcome: What became of them; by default what their status says.
    """
    own = {"model": "est", "version": version}
    series: list[tuple[Labels, float]] = [({"__name__": "tandem_inflight_requests", **own}, 1.0)]
    own["traffic"] = traffic
    series += [
        ({"__name__": "tandem_requests_total", **own, "code": c, "outcome": outcome or OUTCOMES[c[0]]}, n)
        for c, n in (codes or {}).items()
    ]
    for why, count in (degraded or {}).items():
        reason, _, source = why.partition(":")
        labels = {"reason": reason, "source": source or "default"}
        series.append(({"__name__": "tandem_degraded_total", **own, **labels}, count))
    series.append(({"__name__": "tandem_rows_total", **own}, rows))
    series += _histogram("tandem_request_seconds_bucket", {**own, "outcome": outcome or "answered"}, EDGES, seconds)
    if predictions is not None:
        series += _histogram("tandem_prediction_bucket", own, BINS, predictions)
    return series


def _histogram(name: str, own: Labels, edges: tuple[str, ...], counts: tuple[float, ...]) -> list[tuple[Labels, float]]:
    below = accumulate(counts)
    return [({"__name__": name, **own, "le": edge}, n) for edge, n in zip(edges, below, strict=True)]


def scraped(series: list[tuple[Labels, float]], service: str, name: str, **labels: str) -> list[tuple[Labels, float]]:
    """The same as Prometheus has it, scraped from a pod by way of the PodMonitor.

    Args:
        series: What the pod exports.
        service: Its InferenceService.
        name: Name of the pod.
        labels: Further labels, or others.
    """
    about = {
        "namespace": NAMESPACE,
        "pod": name,
        "instance": f"{name}:8080",
        "job": "models/est",
        "inferenceservice": service,
        "component": "transformer",
        **labels,
    }
    return [({**own, **about}, value) for own, value in series]


def envoy(answers: Mapping[str, Mapping[str, float]], *, rule: int = 0) -> list[tuple[Labels, float]]:
    """Series of a proxy: answers by class, by InferenceService."""
    return [
        (
            {
                "__name__": "envoy_cluster_upstream_rq_xx",
                "envoy_response_code_class": code_class,
                "envoy_cluster_name": CLUSTERS[service][rule],
            },
            count,
        )
        for service, classes in answers.items()
        for code_class, count in classes.items()
    ]


def proxied(series: list[tuple[Labels, float]], name: str = "envoy-0", **labels: str) -> list[tuple[Labels, float]]:
    """The same as Prometheus has it, scraped from a proxy of the gateway by its annotations."""
    about = {
        "namespace": "envoy-gateway-system",
        "pod": name,
        "instance": f"{name}:19001",
        "job": "annotated-pods",
        "pod_template_hash": "85f8",
        **labels,
    }
    return [({**own, **about}, value) for own, value in series]
