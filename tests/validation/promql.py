"""Queries: where they are, and what is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import promql_parser

from .exposed import Series

_VARIABLES: Final = (
    (re.compile(r"\[\$(__rate_interval|__range|__interval)\]|\[\$\{(__rate_interval|__range|__interval)\}\]"), "[5m]"),
    (re.compile(r"\$\{?(\w+)(:\w+)?\}?"), r"\1"),
)
_LABEL_VALUES: Final = re.compile(r"\s*label_values\((?:(?P<selector>.+),)?\s*(?P<label>\w+)\s*\)\s*\Z", re.DOTALL)
_FRACTION: Final = re.compile(r"\A\d+\Z")


def faults(query: str, exposed: Mapping[str, Series]) -> list[str]:
    """Why a query answers nothing, or cannot be read; empty where nothing is wrong.

    Args:
        query: PromQL; variables of Grafana are taken for names.
        exposed: Series that there are.
    """
    for variable, name in _VARIABLES:
        query = variable.sub(name, query)
    try:
        parsed = promql_parser.parse(query)
    except ValueError as error:
        return [f"this is no PromQL: {error}"]
    nodes: list[Any] = []
    promql_parser.walk(parsed, nodes.append)
    selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    reasons = [fault for selector in selectors for fault in _selector_faults(selector, exposed)]
    labels = {label for selector in selectors for label in exposed.get(selector.name, Series(frozenset())).labels}
    labels |= {label for node in nodes if isinstance(node, promql_parser.Call) for label in _made_labels(query)}
    return reasons + [f"no series has the label {label}" for label in _grouping(nodes) if label not in labels]


def label_values_faults(query: str, exposed: Mapping[str, Series]) -> list[str]:
    """The same for ``label_values(SELECTOR, LABEL)``, which Grafana itself evaluates."""
    match = _LABEL_VALUES.match(query)
    if match is None:
        return [f"not understood: {query}"]
    if match["selector"] is None:
        return []
    return faults(f"count by ({match['label']}) ({match['selector']})", exposed)


def dashboard_queries(text: str) -> Iterator[tuple[str, bool]]:
    """Queries of a dashboard of Grafana, and whether each is a ``label_values``."""
    yield from _queries(json.loads(text))


def _queries(value: Any) -> Iterator[tuple[str, bool]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "expr" and isinstance(inner, str):
                yield inner, False
            elif isinstance(inner, str) and inner.strip().startswith("label_values("):
                yield inner, True
            else:
                yield from _queries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _queries(inner)


def _selector_faults(selector: Any, exposed: Mapping[str, Series]) -> Iterator[str]:
    series = exposed.get(selector.name)
    if series is None:
        yield f"there is no metric {selector.name}"
        return
    for matcher in selector.matchers.matchers:
        if matcher.name not in series.labels:
            yield f"{selector.name} has no label {matcher.name}"
        exact = matcher.op == promql_parser.MatchOp.Equal
        # Prometheus 3 writes 1 as 1.0, as clients do
        edge = f"{matcher.value}.0" if _FRACTION.match(matcher.value) else matcher.value
        if matcher.name == "le" and exact and edge not in series.edges:
            yield f"{selector.name} has no bucket that ends at {matcher.value}"


def _grouping(nodes: list[Any]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            yield from node.modifier.labels
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            yield from node.modifier.matching.labels


def _made_labels(query: str) -> list[str]:
    """Labels that ``label_replace`` and ``label_join`` add."""
    return re.findall(r'label_(?:replace|join)\(.*?,\s*"(\w+)"', query, re.DOTALL)
