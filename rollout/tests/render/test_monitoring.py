"""PodMonitors: every pod is scraped once, and its series tell whose they are."""

from __future__ import annotations

from typing import Any

import pytest

from .made import bundled, objects, of_kind, one


def test_one_monitor_for_all_pods_of_the_rollout() -> None:
    monitor = one(objects(monitoring={"labels": {"release": "prometheus"}}), "PodMonitor")
    assert monitor["spec"]["selector"] == {"matchLabels": {"tandem-serving.io/rollout": "time-estimator"}}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http1", "/metrics")


def test_labels_of_pods_become_labels_of_series() -> None:
    (endpoint,) = one(objects(), "PodMonitor")["spec"]["podMetricsEndpoints"]
    copied = {relabeling["targetLabel"]: relabeling["sourceLabels"] for relabeling in endpoint["relabelings"]}
    assert copied == {
        "inferenceservice": ["__meta_kubernetes_pod_label_serving_kserve_io_inferenceservice"],
        "component": ["__meta_kubernetes_pod_label_component"],
        "rollout": ["__meta_kubernetes_pod_label_tandem_serving_io_rollout"],
        "variant": ["__meta_kubernetes_pod_label_tandem_serving_io_variant"],
        "revision": ["__meta_kubernetes_pod_label_tandem_serving_io_revision"],
    }


def test_triton_is_scraped_at_its_metrics_port_only() -> None:
    endpoints = one(bundled(predictor={"runtime": "triton"}), "PodMonitor")["spec"]["podMetricsEndpoints"]
    first, second = endpoints
    assert (first["port"], second["port"]) == ("http1", "metrics")
    rules = [relabeling for relabeling in first["relabelings"] if relabeling.get("action") == "keep"]
    assert rules == [
        {"action": "keep", "sourceLabels": ["__meta_kubernetes_pod_label_component"], "regex": "transformer"}
    ]
    assert not [relabeling for relabeling in second["relabelings"] if relabeling.get("action")]


CANARY = {"strategy": {"canary": {}}}


@pytest.mark.parametrize(
    ("spec", "interval"),
    [
        (CANARY, "10s"),  # the default metrics every ten seconds
        ({**CANARY, "analysis": {"interval": "5s"}}, "5s"),
        ({**CANARY, "analysis": {"interval": "2s500ms"}}, "2500ms"),
        ({**CANARY, "analysis": {"interval": "5m"}}, "15s"),
        ({**CANARY, "analysis": {"interval": "5s"}, "predictor": {"runtime": "triton"}}, "5s"),
    ],
)
def test_pods_are_scraped_in_every_tick_of_an_analysis(spec: dict[str, Any], interval: str) -> None:
    endpoints = one(bundled(**spec), "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert {endpoint["interval"] for endpoint in endpoints} == {interval}


@pytest.mark.parametrize("spec", [{}, {**CANARY, "analysis": {"source": "pods"}}])
def test_otherwise_as_often_as_prometheus_does_by_default(spec: dict[str, Any]) -> None:
    (endpoint,) = one(bundled(**spec), "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert "interval" not in endpoint


def test_none_where_none_is_wanted() -> None:
    assert of_kind(bundled(monitoring={"podMonitors": False}), "PodMonitor") == []


def test_no_pod_is_annotated_for_scraping_too() -> None:
    assert "prometheus.io/scrape" not in str(objects())


def test_a_drained_node_takes_one_pod_of_a_half_at_a_time() -> None:
    manifests = bundled()
    name = one(manifests, "InferenceService")["metadata"]["name"]
    budgets = {budget["metadata"]["name"]: budget["spec"] for budget in of_kind(manifests, "PodDisruptionBudget")}
    assert budgets == {
        f"{name}-{component}": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {"app": f"isvc.{name}-{component}"}},
        }
        for component in ("transformer", "predictor")
    }


def test_the_predictors_pods_have_a_name_that_gives_each_address() -> None:
    manifests = bundled()
    name = one(manifests, "InferenceService")["metadata"]["name"]
    service = one(manifests, "Service")
    assert service["metadata"]["name"] == f"{name}-pods"
    assert (service["spec"]["clusterIP"], service["spec"]["selector"]) == ("None", {"app": f"isvc.{name}-predictor"})
    assert [port["port"] for port in service["spec"]["ports"]] == [8080, 8081]
