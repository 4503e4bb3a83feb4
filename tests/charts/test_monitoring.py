"""Alerts and dashboards of the chart ``tandem``: they ask for series that there are."""

from __future__ import annotations

import json
import re
from typing import Any

import helm_python
import pytest
from tests.charts.rendered import CHARTS, ROOT, charts, one, template

from tandem_rollout.api.manifest import parse
from tandem_rollout.controller.metrics import ControllerMetrics
from tandem_rollout.render import render
from tandem_rollout.render.platform import Platform

_METRIC = re.compile(r"\b(?:tandem|nv|process|up)(?:_[a-z_]+)?\b(?=[{\[ )]|$)", re.MULTILINE)
_LABELS = re.compile(r"(?:by|on|ignoring) \(([a-z_, ]+)\)")
_MATCHED = re.compile(r"[{,]([a-z_]+)(?:=|!=|=~)\"")
_OF_PROMETHEUS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
_OF_TRITON = {"nv_inference_pending_request_count"}
_OF_HISTOGRAMS = {"le"}


def alerts(values: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    (group,) = one(template("tandem", values), "PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (CHARTS / "tandem" / "dashboards").glob("*.json")}


def queries() -> list[str]:
    panels = [panel for board in dashboards().values() for panel in board["panels"]]
    shown = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return shown + [rule["expr"] for rule in alerts().values()]


def known_metrics() -> set[str]:
    """Every series: of the two containers as documented, which tests hold to the code, and the controller's."""
    rows = [
        row.split("|")
        for page in ("transformer", "predictor")
        for row in (ROOT / "docs" / f"{page}.md").read_text().splitlines()
        if row.startswith("| `tandem_")
    ]
    documented = {row[1].strip(" `"): "Histogram" in row[3] for row in rows}
    series = {name for name, histogram in documented.items() if not histogram}
    histograms = {name for name, histogram in documented.items() if histogram}
    for metric in ControllerMetrics().registry.collect():
        if metric.type == "histogram":
            histograms.add(metric.name)
        else:
            series.add(f"{metric.name}_total" if metric.type == "counter" else metric.name)
    return series | {name + part for name in histograms for part in ("_bucket", "_sum", "_count")}


def known_labels() -> set[str]:
    """Labels that the PodMonitor of a rollout gives its pods, Prometheus' own, and the exporters'."""
    bundle = {"image": "x"}
    rollout = parse({"metadata": {"name": "a"}, "spec": {"bundle": bundle, "predictor": {"runtime": "triton"}}})
    monitor = one(render(rollout, Platform()), "PodMonitor")
    labels = {rule.get("targetLabel") for own in monitor["spec"]["podMetricsEndpoints"] for rule in own["relabelings"]}
    of_the_controller = {
        label for collector in ControllerMetrics().registry._collector_to_names for label in labels_of(collector)
    }
    pods = {
        "namespace",
        "pod",
        "model",
        "version",
        "code",
        "stage",
        "reason",
        "source",
        "view",
        "traffic",
        "outcome",
        "job",
    }
    return (labels - {None}) | pods | of_the_controller


def labels_of(collector: Any) -> tuple[str, ...]:
    """Names of a metric's labels, which are known without series only to its collector."""
    names: tuple[str, ...] = getattr(collector, "_labelnames", ())
    return names


def test_queries_ask_for_metrics_that_there_are() -> None:
    names = {name for query in queries() for name in _METRIC.findall(query)}
    assert len(names) > 20
    assert names - known_metrics() - _OF_PROMETHEUS - _OF_TRITON == set()


def test_queries_ask_for_labels_that_there_are() -> None:
    names = {label.strip() for query in queries() for labels in _LABELS.findall(query) for label in labels.split(",")}
    names |= {label for query in queries() for label in _MATCHED.findall(query)}
    assert names - known_labels() - _OF_HISTOGRAMS == set()


def test_parentheses_match() -> None:
    for query in queries():
        for pair in ("()", "{}", "[]"):
            assert query.count(pair[0]) == query.count(pair[1]), query


# alerts


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_is_wrong_and_what_to_do(name: str) -> None:
    values = {"monitoring": {"rules": {"runbookUrl": "https://runbooks.example.com/tandem#"}}}
    rule = alerts(values)[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"https://runbooks.example.com/tandem#{name.lower()}"
    assert f"\n## {name}\n" in (CHARTS / "tandem" / "RUNBOOKS.md").read_text()


def test_runbooks_are_of_alerts_that_there_are() -> None:
    headings = re.findall(r"^## (.+)$", (CHARTS / "tandem" / "RUNBOOKS.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alerts())


def test_the_schema_knows_the_alerts() -> None:
    with helm_python.Chart.load(CHARTS / "tandem") as chart:
        schema = chart.schema or {}
    rules = schema["properties"]["monitoring"]["properties"]["rules"]["properties"]
    assert sorted(rules["disabled"]["items"]["enum"]) == sorted(alerts())


def test_labels_in_texts_are_labels_of_the_query() -> None:
    for name, rule in alerts().items():
        texts = " ".join(rule["annotations"].values())
        grouped = {label.strip() for labels in _LABELS.findall(rule["expr"]) for label in labels.split(",")}
        used = set(re.findall(r"\$labels\.([a-z_]+)", texts))
        assert used <= (grouped or known_labels()), name


def test_alerts_can_be_left_out_and_set() -> None:
    chosen = alerts(
        {
            "monitoring": {
                "rules": {
                    "disabled": ["TandemSlow"],
                    "errorRatio": 0.2,
                    "minRequests": 7,
                    "notReadyFor": "1h",
                    "alertLabels": {"team": "ml", "severity": "none"},
                }
            }
        }
    )
    assert "TandemSlow" not in chosen
    assert "> 0.2" in chosen["TandemErrors"]["expr"]
    assert ">= 7" in chosen["TandemErrors"]["expr"]
    assert chosen["TandemRolloutNotReady"]["for"] == "1h"
    assert chosen["TandemErrors"]["labels"] == {"severity": "critical", "team": "ml"}


def test_what_is_slow_is_an_edge_of_a_bucket() -> None:
    from prometheus_client.utils import floatToGoString

    from tandem_transformer.metrics import _SECONDS

    with helm_python.Chart.load(CHARTS / "tandem") as chart:
        schema, values = chart.schema or {}, chart.values
    rules = schema["properties"]["monitoring"]["properties"]["rules"]["properties"]
    edges = [floatToGoString(edge) for edge in _SECONDS]
    assert rules["slowAfter"]["enum"] == edges
    slow = values["monitoring"]["rules"]["slowAfter"]
    assert f'le="{slow}"' in alerts()["TandemSlow"]["expr"]


# dashboards


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_can_be_imported(name: str) -> None:
    board = dashboards()[name]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$([a-z]+)\b", json.dumps(panels))) <= variables
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_dashboards_are_where_grafanas_sidecar_looks() -> None:
    objects = [manifest for manifest in template("tandem") if manifest["kind"] == "ConfigMap"]
    assert len(objects) == len(dashboards())
    for config_map in objects:
        assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((file, text),) = config_map["data"].items()
        assert file.endswith(".json")
        assert json.loads(text) in dashboards().values()
    placed = [
        manifest for manifest in charts()["tandem/full-values.yaml"] if "dashboard" in manifest["metadata"]["name"]
    ]
    assert {manifest["metadata"]["namespace"] for manifest in placed} == {"grafana"}
    assert {manifest["metadata"]["annotations"]["grafana_folder"] for manifest in placed} == {"Models"}


def test_the_model_dashboard_shows_variants_apart() -> None:
    titles = {panel["title"] for panel in dashboards()["model"]["panels"] if panel["type"] != "row"}
    assert {"Requests", "Errors", "Latency", "Stages", "Degraded", "In flight", "Replicas"} <= titles
    assert "Distribution of predictions" in titles


def test_the_dashboards_tell_the_story_of_a_run() -> None:
    model = {panel["title"] for panel in dashboards()["model"]["panels"]}
    assert {"State", "Canary", "Errors by version", "Verdicts", "Against the limit", "Requests still needed"} <= model
    all_of_them = {panel["title"] for panel in dashboards()["rollouts"]["panels"]}
    assert {"Under way", "Waiting for approval", "States of runs", "Weights of canaries", "Ends of runs"} <= all_of_them


def test_every_metric_about_runs_is_shown_or_alerted_on() -> None:
    names = {name for query in queries() for name in _METRIC.findall(query)}
    of_runs = {name for name in known_metrics() if re.match("tandem_rollout_(run|canary|metric)", name)}
    assert len(of_runs) == 10
    assert of_runs - names == set()


# scraping


def test_the_podmonitor_keeps_the_namespaces_of_rollouts() -> None:
    spec = one(template("tandem"), "PodMonitor")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
    (container,) = one(template("tandem"), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": endpoint["port"], "containerPort": 8080, "protocol": "TCP"} in container["ports"]


def test_labels_by_which_prometheus_selects() -> None:
    objects = charts()["tandem/full-values.yaml"]
    for kind in ("PodMonitor", "PrometheusRule"):
        assert one(objects, kind)["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert one(objects, "PrometheusRule")["metadata"]["namespace"] == "monitoring"
    assert one(objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["interval"] == "15s"
