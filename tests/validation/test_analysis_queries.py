"""What the analysis of a rollout asks Prometheus is PromQL about metrics that there are."""

from __future__ import annotations

import re

import promql_parser
import pytest

from tandem_rollout.api.analysis import DEFAULT_METRICS, Metric
from tandem_rollout.sources import ArmLocation, Arms
from tandem_rollout.sources.queries import names, promql

from .exposed import exposed

ARMS = Arms(
    namespace="models",
    stable=ArmLocation(service="est-a", clusters=("httproute/models/est/rule/0/backend/0",)),
    canary=ArmLocation(service="est-b", clusters=("httproute/models/est/rule/0/backend/1",)),
)


@pytest.mark.parametrize("metric", DEFAULT_METRICS, ids=lambda metric: metric.full_name)
def test_series_and_labels_that_are_asked_for_are_exported(metric: Metric) -> None:
    queries = promql(metric, ARMS)
    assert isinstance(queries, tuple)
    for query in queries:
        parsed = promql_parser.parse(query)
        assert isinstance(parsed, promql_parser.AggregateExpr)
        assert isinstance(parsed.expr, promql_parser.VectorSelector)
        matchers = {matcher.name: matcher.value for matcher in parsed.expr.matchers.matchers}
        pattern = parsed.expr.name or matchers.pop("__name__")
        matches = {name: series for name, series in exposed().items() if re.fullmatch(pattern, name)}
        assert set(matches) == names(metric)
        optional = {name for name, value in matchers.items() if re.fullmatch(value, "")}
        assert all(matchers.keys() - optional <= series.labels for series in matches.values())
        assert all(any(name in series.labels for series in matches.values()) for name in optional)
        # what tells the series of a metric apart must not be summed away
        labels = set(parsed.modifier.labels) if parsed.modifier else set()
        assert all(series.labels - exposed()["up"].labels <= labels for series in matches.values())
        assert {"__name__", "job", "pod", "instance"} <= labels
        assert "inferenceservice" in labels or metric.full_name == "errors"
