"""The queries and series of a metric. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from tandem_rollout.analysis.counts import NoData
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Metric
from tandem_rollout.sources import ArmLocation, Arms
from tandem_rollout.sources.promql import confine

ANSWERS: Final = "envoy_cluster_upstream_rq_xx"
"""Envoy's responses by cluster and class of the status."""

CLUSTER: Final = "envoy_cluster_name"
CLASS: Final = "envoy_response_code_class"
SERVICE: Final = "inferenceservice"
TRAFFIC: Final = "traffic"
"""How requests came to a transformer; see :mod:`tandem.telemetry`."""

OUTCOME: Final = "outcome"
REQUESTS: Final = "tandem_requests_total"
SECONDS: Final = "tandem_request_seconds_bucket"
ROWS: Final = "tandem_rows_total"
DEGRADED: Final = "tandem_degraded_total"
PREDICTIONS: Final = "tandem_prediction_bucket"
PRESENT: Final = "tandem_inflight_requests"
"""A series that a pod exports from its start. The counter of requests only appears with the first response, so that
this series shows that it started at zero."""

UNIT_FAILURES: Final = "tandem_unit_failures"
"""Failed requests of clients that the gateway identifies, since the start of a pod."""

MAX_UNIT_FAILURES: Final = "tandem_unit_failures_max"
"""Failed requests of the client with the most."""

_GATEWAY_LABELS: Final = ("__name__", "job", "pod", "instance", CLUSTER, CLASS)
_POD_LABELS: Final = (
    *("__name__", "job", "pod", "instance", SERVICE, "model", "version"),
    *("code", "reason", "source", "le", TRAFFIC, OUTCOME),
)
_TARGET_LABELS: Final = ("job", "pod", "instance")
_PLAIN: Final = re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?")
_VARIABLE: Final = re.compile(r"\$(inferenceservice|namespace)\b")

_ERRORS_IN_PODS: Final = frozenset({REQUESTS, PRESENT, UNIT_FAILURES, MAX_UNIT_FAILURES})
_NAMES: Final = {
    "latency": frozenset({SECONDS}),
    "drift": frozenset({PREDICTIONS}),
    "degraded": frozenset({ROWS, DEGRADED}),
}


def at_gateway(metric: Metric) -> bool:
    """Whether the metric is counted by Envoy."""
    return metric.type == "errors" and metric.where == "gateway"


def own_promql(metric: Metric) -> bool:
    """Whether the spec contains the PromQL of the metric."""
    return metric.type in ("ratio", "assignment")


def names(metric: Metric) -> frozenset[str]:
    """Names of the series of a metric; empty for PromQL of the spec."""
    if own_promql(metric):
        return frozenset()
    if metric.type == "errors":
        return frozenset({ANSWERS}) if metric.where == "gateway" else _ERRORS_IN_PODS
    return _NAMES[metric.type]


def promql(metric: Metric, arms: Arms) -> tuple[str, ...] | NoData | ProviderError:
    """The queries of a metric.

    Returns:
        One query for both arms, which a label distinguishes. For ratio: requests of stable and of the canary, then
        events of both. For assignment: the first two.
    """
    if own_promql(metric):
        return _own(metric, arms)
    selector = _selector(metric, arms, names(metric))
    if not selector:
        return NoData("NoClusters", "neither version has a cluster at the gateway")
    labels = _GATEWAY_LABELS if at_gateway(metric) else _POD_LABELS
    # max, as two replicas of Prometheus may answer with the same series
    return (f"max by ({', '.join(labels)}) ({selector})",)


def scraped(metric: Metric, arms: Arms) -> str:
    """The query for the times at which the targets of a metric were scraped; empty if they are not known.

    It selects one series of each target, as timestamps have no name of the series.
    """
    series = (ANSWERS,) if at_gateway(metric) else (PRESENT,)
    selector = "" if own_promql(metric) else _selector(metric, arms, series)
    # the earliest time, as counters may be newer than their time, never older
    return f"min by ({', '.join(_TARGET_LABELS)}) (timestamp({selector}))" if selector else ""


def _selector(metric: Metric, arms: Arms, series: Collection[str]) -> str:
    """Selector of series of both versions; empty if neither version has a cluster at the gateway."""
    if at_gateway(metric):
        clusters = [*arms.stable.clusters, *arms.canary.clusters]
        return f"{ANSWERS}{{{CLUSTER}=~{_any(clusters)}}}" if clusters else ""
    matchers = [
        f"__name__=~{_any(sorted(series))}",
        f"namespace={quoted(arms.namespace)}",
        f"{SERVICE}=~{_any([arms.stable.service, arms.canary.service])}",
        # requests in flight have no traffic label
        f"{TRAFFIC}=~{_any([arms.stable.traffic, arms.canary.traffic, ''])}",
    ]
    return f"{{{', '.join(matchers)}}}"


def substituted(text: str, place: ArmLocation, namespace: str) -> str:
    """PromQL of the spec for one arm.

    Args:
        text: PromQL with ``$inferenceservice`` and ``$namespace``.
        place: The location of the arm.
        namespace: Its namespace.

    Raises:
        ValueError: A name has characters that are not valid in Kubernetes: they could end a string of the PromQL.
    """
    values = {"inferenceservice": place.service, "namespace": namespace}
    for value in values.values():
        if not _PLAIN.fullmatch(value):
            raise ValueError(f"{value!r} is not allowed in PromQL")
    return _VARIABLE.sub(lambda match: values[match.group(1)], text)


def envoy_filter(clusters: Iterable[str]) -> str:
    """Regular expression of Envoy's names of the counters of some clusters."""
    # anchored, as Envoy finds the expression anywhere in a name
    return rf"^cluster\.({'|'.join(literal(cluster) for cluster in clusters)})\.upstream_rq_[1-5]xx$"


def literal(text: str) -> str:
    """A regular expression of Prometheus and Envoy that matches only a text."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text)


def quoted(text: str) -> str:
    """A text as a string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _any(texts: Iterable[str]) -> str:
    return quoted("|".join(literal(text) for text in dict.fromkeys(texts)))


def _own(metric: Metric, arms: Arms) -> tuple[str, ...] | ProviderError:
    texts = [metric.requests, metric.events] if metric.type == "ratio" else [metric.requests]
    try:
        # in the order on which the readings rely: stable before canary, requests before events
        queries = [
            confine(substituted(text, place, arms.namespace), arms.namespace)
            for text in texts
            for place in (arms.stable, arms.canary)
        ]
    except ValueError as error:
        return ProviderError("PromqlRejected", str(error))
    if any(stable == canary for stable, canary in zip(queries[::2], queries[1::2], strict=True)):
        return ProviderError(
            "PromqlRejected", "its PromQL is the same for both versions: it must contain $inferenceservice"
        )
    return tuple(queries)
