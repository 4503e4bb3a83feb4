"""What is asked about a metric."""

from __future__ import annotations

import re

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import NoData
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import DEFAULT_METRICS, Metric
from tandem_rollout.sources import ArmLocation, Arms
from tandem_rollout.sources.queries import envoy_filter, literal, promql, quoted, substituted

from .servers import CLUSTERS, arms

RATIO = Metric(
    type="ratio",
    requests='orders_total{inferenceservice="$inferenceservice",namespace="$namespace"}',
    events='failed_orders_total{inferenceservice="$inferenceservice",namespace="$namespace"}',
)
ASSIGNMENT = Metric(type="assignment", requests='units_total{inferenceservice="$inferenceservice"}')

names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@given(st.text())
def test_a_text_in_quotes_is_the_same_text_to_prometheus(text: str) -> None:
    selector = promql_parser.parse(f"x{{a={quoted(text)}}}")
    assert selector.matchers.matchers[0].value == text


@given(st.text(), st.text())
def test_a_literal_matches_itself_only(text: str, other_text: str) -> None:
    assert re.fullmatch(literal(text), text)
    assert text == other_text or not re.fullmatch(literal(text), other_text)


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("cluster.httproute/models/est/rule/0/backend/1.upstream_rq_5xx", True),
        ("cluster.v1/http.upstream_rq_2xx", True),
        ("cluster.httproute/models/est/rule/0/backend/11.upstream_rq_5xx", False),
        ("cluster.httproute/models/est/rule/0/backend/1.internal.upstream_rq_5xx", False),
        ("cluster.httproute/models/est/rule/0/backend/1.upstream_rq_503", False),
        ("cluster.v1/httpx.upstream_rq_2xx", False),
    ],
)
def test_envoy_is_asked_for_answers_of_our_clusters_only(name: str, counted: bool) -> None:
    pattern = envoy_filter(["httproute/models/est/rule/0/backend/1", "v1/http"])
    assert bool(re.search(pattern, name)) is counted


@given(names, names)
def test_both_variables_are_filled_in(service: str, namespace: str) -> None:
    text = """x{a="$inferenceservice",b='$namespace',c=~`$inferenceservice-.*`,d="$inferenceservices $other $1"}"""
    query = substituted(text, ArmLocation(service=service), namespace)
    assert query == f"""x{{a="{service}",b='{namespace}',c=~`{service}-.*`,d="$inferenceservices $other $1"}}"""
    promql_parser.parse(query)


@given(st.text().filter(lambda text: not re.fullmatch(r"[-_.A-Za-z0-9]+", text)))
def test_a_name_that_could_end_a_string_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not allowed in PromQL"):
        substituted('x{a="$inferenceservice"}', ArmLocation(service=name), "models")
    with pytest.raises(ValueError, match="is not allowed in PromQL"):
        substituted('x{a="$inferenceservice"}', ArmLocation(service="est"), name)
    strange = Arms(namespace="models", stable=ArmLocation(service="est"), canary=ArmLocation(service=name))
    assert isinstance(promql(RATIO, strange), ProviderError)


@pytest.mark.parametrize("metric", DEFAULT_METRICS, ids=lambda metric: metric.full_name)
def test_one_query_is_for_both_versions(metric: Metric) -> None:
    queries = promql(metric, arms())
    assert isinstance(queries, tuple)
    (query,) = queries
    selector = promql_parser.parse(query).expr
    of = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
    if metric.full_name == "errors":
        assert all(re.fullmatch(of["envoy_cluster_name"], cluster) for cluster in sum(CLUSTERS.values(), ()))
    else:
        assert of["namespace"] == "models"
        assert all(re.fullmatch(of["inferenceservice"], service) for service in ("est-a", "est-b"))
        assert not re.fullmatch(of["inferenceservice"], "est-aa")


def test_promql_of_ones_own_is_asked_of_each_version() -> None:
    assert promql(RATIO, arms()) == (
        'orders_total{namespace="models",inferenceservice="est-a",namespace="models"}',
        'orders_total{namespace="models",inferenceservice="est-b",namespace="models"}',
        'failed_orders_total{namespace="models",inferenceservice="est-a",namespace="models"}',
        'failed_orders_total{namespace="models",inferenceservice="est-b",namespace="models"}',
    )
    assert promql(ASSIGNMENT, arms()) == (
        'units_total{namespace="models",inferenceservice="est-a"}',
        'units_total{namespace="models",inferenceservice="est-b"}',
    )


def test_promql_that_does_not_tell_the_versions_apart_is_refused() -> None:
    result = promql(Metric(type="assignment", requests="sum(units_total)"), arms())
    assert isinstance(result, ProviderError)
    assert "$inferenceservice" in result.message


def test_without_clusters_there_is_nothing_to_ask_the_gateway() -> None:
    result = promql(
        Metric(type="errors"), Arms(namespace="m", stable=ArmLocation(service="a"), canary=ArmLocation(service="b"))
    )
    assert result == NoData("NoClusters", "neither version has a cluster at the gateway")
