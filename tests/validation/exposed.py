"""Metrics that there are: those of our own exporters, read from them, and the few of others that we ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

from prometheus_client import CollectorRegistry
from rollout.tests.rollouts import rollout

import tandem_predictor.metrics
import tandem_rollout.controller.metrics
import tandem_transformer.metrics
from tandem_rollout.render.monitoring import build_pod_monitors


@dataclass(frozen=True, slots=True)
class Series:
    """What series of one name look like.

    Attributes:
        labels: Names of their labels.
        edges: Upper bounds of a histogram's buckets, as the label ``le`` has them.
    """

    labels: frozenset[str]
    edges: frozenset[str] = field(default_factory=frozenset)


_TARGET: Final = frozenset({"namespace", "pod", "container", "endpoint", "instance", "job"})
"""What Prometheus and its operator add to every series of a pod."""

_NV: Final = frozenset({"model", "version", "gpu_uuid"})
_OTHERS: Final = {
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
    "up": _TARGET,
    # Triton, docs/user_guide/metrics.md
    "nv_inference_pending_request_count": _NV,
    "nv_inference_request_success": _NV,
    "nv_inference_request_failure": _NV | {"reason"},
    "nv_inference_count": _NV,
    "nv_inference_exec_count": _NV,
    "nv_inference_request_duration_us": _NV,
    "nv_inference_queue_duration_us": _NV,
    "nv_inference_compute_infer_duration_us": _NV,
    "nv_gpu_utilization": _NV,
    "nv_gpu_memory_used_bytes": _NV,
    "nv_gpu_memory_total_bytes": _NV,
    # kube-state-metrics
    "kube_cronjob_created": frozenset({"namespace", "cronjob"}),
    "kube_cronjob_status_last_successful_time": frozenset({"namespace", "cronjob"}),
    "kube_deployment_status_replicas": frozenset({"namespace", "deployment"}),
    "kube_deployment_status_replicas_ready": frozenset({"namespace", "deployment"}),
    "kube_deployment_status_replicas_available": frozenset({"namespace", "deployment"}),
    "kube_deployment_spec_replicas": frozenset({"namespace", "deployment"}),
    "kube_pod_container_status_restarts_total": frozenset({"namespace", "pod", "container"}),
    "kube_horizontalpodautoscaler_status_current_replicas": frozenset({"namespace", "horizontalpodautoscaler"}),
    "kube_horizontalpodautoscaler_spec_max_replicas": frozenset({"namespace", "horizontalpodautoscaler"}),
    # Envoy, as Envoy Gateway exports it
    "envoy_cluster_upstream_rq_total": _TARGET | {"envoy_cluster_name"},
    "envoy_cluster_upstream_rq_xx": _TARGET | {"envoy_cluster_name", "envoy_response_code_class"},
    "envoy_cluster_upstream_rq": _TARGET | {"envoy_cluster_name", "envoy_response_code"},
}


@cache
def exposed() -> dict[str, Series]:
    """Series by their names."""
    pods = _TARGET | _relabelled()
    by_name = {name: Series(frozenset(labels | pods)) for name, labels in _OTHERS.items()}
    for registry, target in (
        (_transformer(), pods),
        (tandem_predictor.metrics.PredictorMetrics().registry, pods),
        (tandem_rollout.controller.metrics.ControllerMetrics().registry, _TARGET),
    ):
        for name, series in _series(registry, target).items():
            # what more than one exporter has, has the labels of all of them
            former = by_name.get(name, Series(frozenset()))
            by_name[name] = Series(series.labels | former.labels, series.edges | former.edges)
    return by_name


def _relabelled() -> set[str]:
    (monitor,) = build_pod_monitors(rollout())
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    return {rule["targetLabel"] for rule in endpoint["relabelings"]}


def _transformer() -> CollectorRegistry:
    """Of a version with a feature view and buckets for its prediction."""
    features = [SimpleNamespace(name="ctl_42d")]
    bundle: Any = SimpleNamespace(
        version="v1",
        manifest=SimpleNamespace(
            views=[SimpleNamespace(name="training_load", view=SimpleNamespace(features=features))]
        ),
        contract=SimpleNamespace(prediction=SimpleNamespace(unit="s", buckets=(1.0, 2.0))),
    )
    return tandem_transformer.metrics.Recorder(bundle, "time-estimator").registry


def _series(registry: CollectorRegistry, target: frozenset[str]) -> dict[str, Series]:
    """Names of series and of their labels; label names of a metric without series are known to its collector only."""
    by_name = {}
    for collector in registry._collector_to_names:
        own = frozenset(getattr(collector, "_labelnames", ())) | target
        for family in collector.collect():
            if family.type == "histogram":
                edges = frozenset(map(_edge, [*getattr(collector, "_kwargs", {}).get("buckets", ()), float("inf")]))
                by_name[f"{family.name}_bucket"] = Series(own | {"le"}, edges)
                by_name |= {f"{family.name}_{part}": Series(own) for part in ("sum", "count")}
            else:
                by_name[f"{family.name}_total" if family.type == "counter" else family.name] = Series(own)
    return by_name


def _edge(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(float(bound))
