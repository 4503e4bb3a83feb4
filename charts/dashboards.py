"""Grafana's dashboards of the chart ``tandem``, made of the queries below.

Run it as ``python charts/dashboards.py``. Series of a model's pods have the labels that the PodMonitor of their rollout
gives them: ``namespace``, ``rollout``, ``variant``, ``component``, ``pod``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

DIRECTORY: Final = Path(__file__).parent / "tandem" / "dashboards"

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 24
_HEIGHT: Final = 8
_RATE: Final = "$__rate_interval"


class Panel(NamedTuple):
    """A panel.

    Attributes:
        title: What it shows.
        queries: PromQL, each with its legend.
        unit: As Grafana names units.
        text: Explanation behind the panel's (i).
        kind: Grafana's type of panel.
        width: Of 24.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    text: str = ""
    kind: str = "timeseries"
    width: int = 8


class Dashboard(NamedTuple):
    """A dashboard.

    Attributes:
        name: Of the file.
        title: As people see it.
        variables: Name, label and query of each choice at the top.
        rows: Titles, with their panels.
    """

    name: str
    title: str
    variables: tuple[tuple[str, str, str], ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


_PODS: Final = 'namespace="$namespace",rollout="$rollout",variant=~"$variant"'


def _rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_PODS}{more}}}[{_RATE}]))"


def _quantile(share: float, metric: str, by: str) -> str:
    return f"histogram_quantile({share}, {_rate(metric + '_bucket', f'le, {by}')})"


def _mean(metric: str, by: str) -> str:
    return f"{_rate(metric + '_sum', by)} / {_rate(metric + '_count', by)}"


_FAILING: Final = ',code=~"5.."'
_WEIGHTED: Final = ',traffic="weighted"'
_EVIDENCE: Final = f'{_WEIGHTED},outcome!~"refused|expired"'
_FAULTY: Final = f'{_WEIGHTED},outcome="failed"'
_FAILED: Final = _rate("tandem_requests_total", "variant", _FAILING)
_ANSWERED: Final = _rate("tandem_requests_total", "variant")
# a status that was never answered has no series: that is a share of 0, not of nothing
_ERRORS: Final = f"({_FAILED} or {_ANSWERED} * 0) / {_ANSWERED}"

_REQUESTS: Final = (
    Panel("Requests", ((_rate("tandem_requests_total", "variant"), "{{variant}}"),), "reqps", "Answers per second."),
    Panel(
        "Errors",
        ((_ERRORS, "{{variant}}"),),
        "percentunit",
        "Share of answers with a status of 500 or more. A pod that is dead answers nothing: the gateway counts that.",
    ),
    Panel(
        "Answers by status",
        ((_rate("tandem_requests_total", "variant, code"), "{{variant}} {{code}}"),),
        "reqps",
    ),
    Panel(
        "Requests by traffic",
        ((_rate("tandem_requests_total", "variant, traffic"), "{{variant}} {{traffic}}"),),
        "reqps",
        "weighted: the weights sent them, and only they decide about a version. pinned and preview: the client chose.",
    ),
    Panel(
        "Latency",
        tuple(
            (_quantile(share, "tandem_request_seconds", "variant"), f"{{{{variant}}}} p{share * 100:g}")
            for share in (0.5, 0.95, 0.99)
        ),
        "s",
        "From a request's arrival at the transformer to its answer.",
        width=12,
    ),
    Panel(
        "Stages",
        ((_mean("tandem_stage_seconds", "variant, stage"), "{{variant}} {{stage}}"),),
        "s",
        "Mean time of a batch in each stage: decode, lookup, on-demand and model-dependent transforms, predict, post.",
        width=12,
    ),
)
_QUALITY: Final = (
    Panel(
        "Degraded",
        (
            (
                f"{_rate('tandem_degraded_total', 'variant, reason')} / on (variant) group_left () "
                f"{_rate('tandem_rows_per_batch_sum', 'variant')}",
                "{{variant}} {{reason}}",
            ),
        ),
        "percentunit",
        "Share of rows that were answered without all stored values.",
    ),
    Panel(
        "Age of features",
        ((_quantile(0.95, "tandem_feature_age_seconds", "variant, view"), "{{variant}} {{view}} p95"),),
        "s",
        "Age of the stored values that were looked up.",
    ),
    Panel(
        "Predictions",
        tuple(
            (_quantile(share, "tandem_prediction", "variant"), f"{{{{variant}}}} p{share * 100:g}")
            for share in (0.1, 0.5, 0.9)
        ),
        unit="none",
        text="Quantiles of the predictions. Two variants that differ here predict otherwise, or meet other requests.",
    ),
    Panel(
        "Distribution of predictions",
        ((f"sum by (le) (increase(tandem_prediction_bucket{{{_PODS}}}[{_RATE}]))", "{{le}}"),),
        text="Predictions by the buckets of the contract. Choose one variant at a time.",
        kind="heatmap",
        width=24,
    ),
)
_SCALE: Final = (
    Panel(
        "In flight",
        (
            (f"sum by (variant) (tandem_inflight_requests{{{_PODS}}})", "{{variant}} transformers"),
            (f"sum by (variant) (tandem_predictor_inflight_requests{{{_PODS}}})", "{{variant}} predictors"),
            (f"sum by (variant) (nv_inference_pending_request_count{{{_PODS}}})", "{{variant}} Triton"),
        ),
        text="Requests that wait for their answer at the moment of a scrape. What scales is their mean over a minute.",
    ),
    Panel(
        "Replicas",
        ((f"count by (variant, component) (up{{{_PODS}}} == 1)", "{{variant}} {{component}}"),),
        text="Pods that Prometheus scrapes.",
    ),
    Panel(
        "Predictors found",
        ((f"min by (variant) (tandem_predictor_endpoints{{{_PODS}}})", "{{variant}}"),),
        text="Fewest addresses of predictors that any transformer shares its calls among.",
    ),
    Panel(
        "Rows per batch",
        (
            (_mean("tandem_rows_per_batch", "variant"), "{{variant}} transformers"),
            (_mean("tandem_predictor_rows_per_batch", "variant"), "{{variant}} predictors"),
        ),
    ),
    Panel(
        "Runs of the model",
        ((_quantile(0.95, "tandem_predictor_inference_seconds", "variant"), "{{variant}} p95"),),
        "s",
    ),
    Panel(
        "Queue of the predictors",
        ((f"sum by (variant) (tandem_predictor_queue_rows{{{_PODS}}})", "{{variant}}"),),
        text="Rows that wait for a run.",
    ),
    Panel(
        "CPU",
        ((_rate("process_cpu_seconds_total", "variant, component"), "{{variant}} {{component}}"),),
        text="Cores in use.",
        width=12,
    ),
    Panel(
        "Memory",
        (
            (
                f"max by (variant, component) (process_resident_memory_bytes{{{_PODS}}})",
                "{{variant}} {{component}}",
            ),
        ),
        "bytes",
        "Of the largest pod.",
        width=12,
    ),
)
_SHARES: Final = (
    Panel(
        "Weights",
        ((f"max by (variant) (tandem_rollout_weight{{{_PODS}}})", "{{variant}}"),),
        text="As the route has them.",
        width=12,
    ),
    Panel(
        "Share of requests",
        (
            (
                f"{_rate('tandem_requests_total', 'variant', _WEIGHTED)} / ignoring (variant) group_left () "
                f'sum (rate(tandem_requests_total{{namespace="$namespace",rollout="$rollout"{_WEIGHTED}}}[{_RATE}]))',
                "{{variant}}",
            ),
        ),
        "percentunit",
        "Of the requests that the weights sent: pinned ones are left out.",
        width=12,
    ),
)

_RUN: Final = 'namespace="$namespace",rollout="$rollout"'


def _shown(metric: str, by: str = "") -> str:
    return f"max by (namespace, rollout{by}) (tandem_rollout_{metric}{{{_RUN}}})"


_OF_RUN: Final = (
    Panel(
        "State",
        ((f"{_shown('run_state', ', state')} == 1", "{{state}}"),),
        text="Where the present run stands, or how the last one ended.",
        kind="state-timeline",
    ),
    Panel(
        "Canary",
        ((_shown("canary_weight_ratio"), "set"), (_shown("canary_measured_ratio"), "measured")),
        "percentunit",
        "Share of the requests that the canary is to have, and that it had.",
    ),
    Panel(
        "Errors by version",
        (
            (
                f"({_rate('tandem_requests_total', 'version', _FAULTY)} "
                f"or {_rate('tandem_requests_total', 'version', _EVIDENCE)} * 0) "
                f"/ {_rate('tandem_requests_total', 'version', _EVIDENCE)}",
                "{{version}}",
            ),
        ),
        "percentunit",
        "Share of the answers that are held against a version, as pods count them: of stable and canary side by side. "
        "Only what the weights sent counts, and nothing that clients alone control.",
    ),
    Panel(
        "Verdicts",
        ((f"{_shown('metric_verdict', ', metric, verdict')} == 1", "{{metric}} {{verdict}}"),),
        text="What each metric says. A run goes on when nothing fails, and to the end when all pass.",
        kind="state-timeline",
    ),
    Panel(
        "Against the limit",
        (
            (_shown("metric_value", ", metric"), "{{metric}}"),
            (_shown("metric_limit", ", metric"), "{{metric}} limit"),
        ),
        text="The canary's rate over stable's; of drift the distance. A version at the limit is bad.",
    ),
    Panel(
        "Requests still needed",
        (
            (_shown("metric_needed_requests", ", metric"), "{{metric}} needed"),
            (_shown("metric_canary_requests", ", metric"), "{{metric}} counted"),
        ),
        text="Requests of the canary that it probably still takes to pass, if it is as good as stable.",
    ),
)

_WHERE: Final = 'namespace=~"$namespace"'
_ROLLOUTS: Final = (
    Panel(
        "Rollouts",
        ((f"count (tandem_rollout_ready{{{_WHERE}}})", "all"),),
        kind="stat",
        width=4,
    ),
    Panel(
        "Not ready",
        ((f"count (tandem_rollout_ready{{{_WHERE}}} == 0) or vector(0)", "not ready"),),
        kind="stat",
        width=4,
    ),
    Panel(
        "Readiness",
        ((f"max by (namespace, rollout) (tandem_rollout_ready{{{_WHERE}}})", "{{namespace}}/{{rollout}}"),),
        text="1 where all variants of a rollout serve.",
        kind="state-timeline",
        width=16,
    ),
    Panel(
        "Weights",
        (
            (
                f"max by (namespace, rollout, variant) (tandem_rollout_weight{{{_WHERE}}})",
                "{{namespace}}/{{rollout}} {{variant}}",
            ),
        ),
        width=12,
    ),
    Panel(
        "Requests",
        (
            (
                f"sum by (namespace, rollout) (rate(tandem_requests_total{{{_WHERE}}}[{_RATE}]))",
                "{{namespace}}/{{rollout}}",
            ),
        ),
        "reqps",
        width=12,
    ),
)
_UNDER_WAY: Final = f'tandem_rollout_run_state{{{_WHERE},state!~"Promoted|Aborted|RolledBack|Concluded"}} == 1'
_RUNS: Final = (
    Panel("Under way", ((f"count ({_UNDER_WAY}) or vector(0)", "under way"),), kind="stat", width=4),
    Panel(
        "Wait for a person",
        (
            (
                f'count (tandem_rollout_run_state{{{_WHERE},state=~"Gated|Paused"}} == 1) or vector(0)',
                "wait",
            ),
        ),
        text="At a gate, or paused.",
        kind="stat",
        width=4,
    ),
    Panel(
        "States of runs",
        (
            (
                f"max by (namespace, rollout, state) ({_UNDER_WAY})",
                "{{namespace}}/{{rollout}} {{state}}",
            ),
        ),
        text="Of runs under way.",
        kind="state-timeline",
        width=16,
    ),
    Panel(
        "Weights of canaries",
        tuple(
            (
                f"max by (namespace, rollout) (tandem_rollout_canary_{metric}_ratio{{{_WHERE}}})",
                f"{{{{namespace}}}}/{{{{rollout}}}} {legend}",
            )
            for metric, legend in (("weight", "set"), ("measured", "measured"))
        ),
        "percentunit",
        width=12,
    ),
    Panel(
        "Ends of runs",
        (
            (
                f"sum by (result) (increase(tandem_rollout_runs_total{{{_WHERE}}}[1h]))",
                "{{result}}",
            ),
        ),
        text="In the hour before.",
        width=12,
    ),
)
_CONTROLLER: Final = (
    Panel(
        "Passes",
        ((f"sum (rate(tandem_controller_reconcile_seconds_count[{_RATE}]))", "passes"),),
        "ops",
        "Looks at a rollout, per second.",
    ),
    Panel(
        "Failed passes",
        ((f"sum (rate(tandem_controller_reconcile_errors_total[{_RATE}]))", "failed"),),
        "ops",
        "They are tried again.",
    ),
    Panel(
        "Time of a pass",
        tuple(
            (
                f"histogram_quantile({share}, sum by (le) (rate(tandem_controller_reconcile_seconds_bucket[{_RATE}])))",
                f"p{share * 100:g}",
            )
            for share in (0.5, 0.99)
        ),
        "s",
    ),
    Panel(
        "Leader",
        (("tandem_controller_leader", "{{pod}}"),),
        "none",
        "1 for the pod that acts.",
    ),
)

DASHBOARDS: Final = (
    Dashboard(
        "model",
        "Tandem / Model",
        (
            ("namespace", "Namespace", "label_values(tandem_inflight_requests, namespace)"),
            ("rollout", "Rollout", 'label_values(tandem_inflight_requests{namespace="$namespace"}, rollout)'),
            (
                "variant",
                "Variant",
                'label_values(tandem_inflight_requests{namespace="$namespace",rollout="$rollout"}, variant)',
            ),
        ),
        (
            ("Requests", _REQUESTS),
            ("Shares", _SHARES),
            ("Run", _OF_RUN),
            ("Features and predictions", _QUALITY),
            ("Pods", _SCALE),
        ),
    ),
    Dashboard(
        "rollouts",
        "Tandem / Rollouts",
        (("namespace", "Namespace", "label_values(tandem_rollout_ready, namespace)"),),
        (("Rollouts", _ROLLOUTS), ("Runs", _RUNS), ("Controller", _CONTROLLER)),
    ),
)
_MANY: Final = {("model", "variant"), ("rollouts", "namespace")}


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard as Grafana imports it."""
    return {
        "uid": f"tandem-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["tandem"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables(dashboard)},
        "panels": _panels(dashboard),
    }


def _variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    datasource = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    choices: list[dict[str, Any]] = [datasource]
    for name, label, query in dashboard.variables:
        many = (dashboard.name, name) in _MANY
        choice: dict[str, Any] = {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": _DATASOURCE,
            "definition": query,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": many,
            "includeAll": many,
        }
        if many:
            choice |= {"allValue": ".*", "current": {"text": "All", "value": "$__all"}}
        choices.append(choice)
    return choices


def _panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    y = 0
    for title, panels in dashboard.rows:
        x, row = 0, {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        made.append(
            {"id": len(made) + 1, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": row}
        )
        y += 1
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y = 0, y + _HEIGHT
            place = {"x": x, "y": y, "w": panel.width, "h": _HEIGHT}
            made.append({"id": len(made) + 1, **_panel(panel), "gridPos": place})
            x += panel.width
        y += _HEIGHT
    return made


def _panel(panel: Panel) -> dict[str, Any]:
    heatmap = panel.kind == "heatmap"
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": _DATASOURCE,
            "expr": query,
            "legendFormat": legend,
            **({"format": "heatmap"} if heatmap else {}),
        }
        for number, (query, legend) in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "timeseries" and panel.unit != "none":  # predictions may be below 0
        defaults["min"] = 0
        if panel.unit == "percentunit":
            defaults["max"] = 1
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "state-timeline": {"showValue": "never", "mergeValues": True, "legend": {"showLegend": False}},
    "heatmap": {"calculate": False, "yAxis": {"unit": "short"}, "tooltip": {"mode": "single"}},
}


def text(dashboard: Dashboard) -> str:
    """The file."""
    return json.dumps(grafana(dashboard), indent=2) + "\n"


def main() -> None:
    """Write all of them."""
    for dashboard in DASHBOARDS:
        (DIRECTORY / f"{dashboard.name}.json").write_text(text(dashboard))


if __name__ == "__main__":
    main()
