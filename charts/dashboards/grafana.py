"""Panels and dashboards, and the JSON that Grafana imports: its classic model, which every Grafana since 10 loads."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 24
_HEIGHT: Final = 8

_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "state-timeline": {"showValue": "never", "mergeValues": True, "legend": {"showLegend": False}},
    "heatmap": {"calculate": False, "yAxis": {"unit": "short"}, "tooltip": {"mode": "single"}},
}


class Panel(NamedTuple):
    """A panel.

    Attributes:
        title: What it shows.
        queries: PromQL, each with its legend.
        unit: As Grafana names units.
        text: Explanation behind the panel's (i).
        kind: Grafana's type of panel.
        width: Columns, of 24.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    text: str = ""
    kind: str = "timeseries"
    width: int = 8


class Variable(NamedTuple):
    """A choice at the top of a dashboard.

    Attributes:
        name: As queries name it, after a ``$``.
        label: As people see it.
        query: Where its values come from.
        many: Whether several values, and all, can be chosen.
    """

    name: str
    label: str
    query: str
    many: bool = False


class Dashboard(NamedTuple):
    """A dashboard.

    Attributes:
        name: Of the file.
        title: As people see it.
        variables: The choices at the top.
        rows: Titles, with their panels.
    """

    name: str
    title: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def text(dashboard: Dashboard) -> str:
    """The JSON of a dashboard, with a line break at the end."""
    return json.dumps(_dashboard(dashboard), indent=2) + "\n"


def _dashboard(dashboard: Dashboard) -> dict[str, Any]:
    datasource = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": f"tandem-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["tandem"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [datasource, *(_variable(variable) for variable in dashboard.variables)]},
        "panels": _panels(dashboard),
    }


def _variable(variable: Variable) -> dict[str, Any]:
    content = {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": variable.query,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "multi": variable.many,
        "includeAll": variable.many,
    }
    return content | {"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if variable.many else content


def _panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Rows below each other; in a row panels from left to right, and on the next line what has no room."""
    content: list[dict[str, Any]] = []
    y = 0
    for title, panels in dashboard.rows:
        x, place = 0, {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        content.append(
            {"id": len(content) + 1, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place}
        )
        y += 1
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y = 0, y + _HEIGHT
            place = {"x": x, "y": y, "w": panel.width, "h": _HEIGHT}
            content.append({"id": len(content) + 1, **_panel(panel), "gridPos": place})
            x += panel.width
        y += _HEIGHT
    return content


def _panel(panel: Panel) -> dict[str, Any]:
    form = {"format": "heatmap"} if panel.kind == "heatmap" else {}
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _DATASOURCE, "expr": query, "legendFormat": legend, **form}
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
