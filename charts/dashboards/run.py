"""Panels about the run of one rollout."""

from __future__ import annotations

from typing import Final

from charts.dashboards.grafana import Panel
from charts.dashboards.queries import ROLLOUT, WEIGHTED, rate

_COUNTED: Final = rate("tandem_requests_total", "version", f'{WEIGHTED},outcome!~"refused|expired"')
_FAILED: Final = rate("tandem_requests_total", "version", f'{WEIGHTED},outcome="failed"')


def _value(metric: str, by: str = "") -> str:
    return f"max by (namespace, rollout{by}) (tandem_rollout_{metric}{{{ROLLOUT}}})"


RUN: Final = (
    Panel(
        "State",
        ((f"{_value('run_state', ', state')} == 1", "{{state}}"),),
        text="State of the current run, or outcome of the last one.",
        kind="state-timeline",
    ),
    Panel(
        "Canary",
        ((_value("canary_weight_ratio"), "set"), (_value("canary_measured_ratio"), "measured")),
        "percentunit",
        "Share of the requests: desired, and measured.",
    ),
    Panel(
        "Errors by version",
        ((f"({_FAILED} or {_COUNTED} * 0) / {_COUNTED}", "{{version}}"),),
        "percentunit",
        "Share of failed answers of stable and canary, as pods count them. "
        "Only requests that the weights sent count, without failures that clients cause.",
    ),
    Panel(
        "Verdicts",
        ((f"{_value('metric_verdict', ', metric, verdict')} == 1", "{{metric}} {{verdict}}"),),
        text="Verdicts of the metrics. A run continues when no metric fails, and is promoted when all pass.",
        kind="state-timeline",
    ),
    Panel(
        "Against the limit",
        (
            (_value("metric_value", ", metric"), "{{metric}}"),
            (_value("metric_limit", ", metric"), "{{metric}} limit"),
        ),
        text="Ratio of the canary's rate to stable's; for drift the distance. A canary at the limit is bad.",
    ),
    Panel(
        "Requests still needed",
        (
            (_value("metric_needed_requests", ", metric"), "{{metric}} needed"),
            (_value("metric_canary_requests", ", metric"), "{{metric}} counted"),
        ),
        text="Estimated number of further canary requests until the metric passes, if the canary is as good as stable.",
    ),
)
"""Panels of the row."""
