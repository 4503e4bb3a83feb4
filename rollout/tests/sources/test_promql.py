"""A person's PromQL reads the series of its own namespace and no others."""

from __future__ import annotations

from typing import Any

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.sources.promql import confine


def selectors(query: str) -> list[Any]:
    nodes: list[Any] = []
    promql_parser.walk(promql_parser.parse(query), nodes.append)
    return [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]


def is_confined(selector: Any) -> bool:
    matchers = [(matcher.op, matcher.name, matcher.value) for matcher in selector.matchers.matchers]
    return (promql_parser.MatchOp.Equal, "namespace", "models") in matchers and not selector.matchers.or_matchers


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("orders", 1),
        ('sum(rate(orders{inferenceservice="a"}[5m]))', 1),
        ("sum by (code) (orders) / on(code) group_left(x) ignored{}", 2),
        ("sum without(code)(rate(orders[5m] offset 1m)) or vector(0)", 1),
        ("histogram_quantile(0.9, sum(rate(seconds_bucket{le!='1'}[1m])) by (le))", 1),
        ('{__name__=~"orders|carts",namespace=~".*"}', 1),
        ('{"orders", team="x"} > bool 1e3', 1),
        ("max_over_time(rate(orders[5m])[1h:1m] @ end())", 1),
        ('label_replace(orders{a="b{"}, "c", "$1", "d", `(.*)"`)', 1),
        ("count + sum", 2),
        ("SUM BY (code) (orders AND carts)", 2),
        ("-orders ^ 2 + Inf", 1),
    ],
)
def test_every_selector_has_the_namespace(text: str, count: int) -> None:
    matches = selectors(confine(text, "models"))
    assert len(matches) == len(selectors(text)) == count
    assert all(map(is_confined, matches))


@pytest.mark.parametrize(
    "text",
    [
        "orders # \r or carts",
        'orders{a="b" or c="d"}',
        'orders{a="b"',
        "orders{a}",
        'orders{__graphite__="a.*"}',
        "WITH (x = orders) x",
        "info(orders)",
        'orders{a="b\nc"}',
        "orders{a='b",
        "sum by (code",
        "sum by (max(orders)) (carts)",
        "orders\\-per\\-day",
        "bestellungen_für_alle",
        "orders}",
        "orders; carts",
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    try:
        query = confine(text, "models")
    except ValueError:
        return
    with pytest.raises(ValueError, match=r"\S"):
        selectors(query)  # what is left is no PromQL either


PIECES = [
    "orders",
    "{",
    "}",
    "(",
    ")",
    "[5m]",
    '"',
    "'",
    "`",
    "\\\\",
    "#",
    "\n",
    "\r",
    ",",
    "=",
    "=~",
    "or",
    "by",
    "on",
    "sum",
    "rate",
]
PIECES += [
    'a="b"',
    "namespace",
    '"x"',
    " ",
    "+",
    "offset 5m",
    "@",
    "end()",
    ":",
    "1",
    "bool",
    "group_left",
    "__name__",
    "and",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_whatever_is_taken_is_confined(text: str) -> None:
    try:
        matches = selectors(confine(text, "models"))
    except ValueError:
        return
    assert all(map(is_confined, matches))
