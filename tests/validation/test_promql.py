"""Queries of autoscaling, alerts and dashboards are PromQL about metrics that there are."""

from __future__ import annotations

import pytest

from .everything import of_kind
from .exposed import exposed
from .promql import dashboard_queries, faults, label_values_faults


def test_queries_of_scaled_objects() -> None:
    queries = {
        where: trigger["metadata"]["query"]
        for where, manifest in of_kind("ScaledObject")
        for trigger in manifest["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    }
    assert queries
    assert {where: reasons for where, query in queries.items() if (reasons := faults(query, exposed()))} == {}


def test_expressions_of_rules() -> None:
    rules = {
        f"{where}: {rule.get('alert') or rule['record']}": rule["expr"]
        for where, manifest in of_kind("PrometheusRule")
        for group in manifest["spec"]["groups"]
        for rule in group["rules"]
    }
    assert rules
    assert {where: reasons for where, query in rules.items() if (reasons := faults(query, exposed()))} == {}


def test_alerts_say_how_bad_they_are_and_what_happened() -> None:
    for where, manifest in of_kind("PrometheusRule"):
        for rule in (rule for group in manifest["spec"]["groups"] for rule in group["rules"] if "alert" in rule):
            assert rule["labels"]["severity"] in ("critical", "warning", "info"), where
            assert rule["annotations"]["summary"] and rule["annotations"]["description"], where


def test_queries_of_dashboards() -> None:
    dashboards = {
        f"{where}: {file}": text
        for where, manifest in of_kind("ConfigMap")
        if "dashboard" in manifest["metadata"]["name"]
        for file, text in manifest["data"].items()
    }
    assert dashboards
    wrong = {
        f"{where}: {query}": reasons
        for where, text in dashboards.items()
        for query, values in dashboard_queries(text)
        if (reasons := (label_values_faults if values else faults)(query, exposed()))
    }
    assert wrong == {}


def test_the_metrics_are_those_of_the_exporters() -> None:
    series = exposed()
    assert {"model", "version", "code", "variant", "namespace"} <= series["tandem_requests_total"].labels
    assert {"le", "stage"} <= series["tandem_stage_seconds_bucket"].labels
    assert "0.005" in series["tandem_request_seconds_bucket"].edges
    assert {"namespace", "rollout", "variant"} <= series["tandem_rollout_weight"].labels
    assert "process_resident_memory_bytes" in series


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sum(tandem_requests_total", "this is no PromQL"),
        ("rate(tandem_requests[5m])", "there is no metric tandem_requests"),
        ('tandem_requests_total{status="500"}', "has no label status"),
        ("sum by (path) (tandem_requests_total)", "no series has the label path"),
        ('tandem_request_seconds_bucket{le="0.123"}', "has no bucket that ends at 0.123"),
        ("up / on (shard) tandem_inflight_requests", "no series has the label shard"),
    ],
)
def test_the_check_finds_what_is_wrong(query: str, fault: str) -> None:
    (reason,) = faults(query, exposed())
    assert fault in reason


def test_grafanas_variables_are_understood() -> None:
    query = 'sum by (${by}) (rate(tandem_requests_total{variant=~"$variant"}[$__rate_interval]))'
    assert faults(query.replace("${by}", "variant"), exposed()) == []
    assert label_values_faults('label_values(tandem_requests_total{namespace="$namespace"}, rollout)', exposed()) == []
    assert label_values_faults("label_values(tandem_requests_total, path)", exposed())
