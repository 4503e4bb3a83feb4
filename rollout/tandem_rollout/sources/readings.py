"""Builds readings from series. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain

from tandem.telemetry import EXPIRED, REFUSED
from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Reading
from tandem_rollout.api.analysis import Metric
from tandem_rollout.sources import ArmLocation, Arms
from tandem_rollout.sources.queries import (
    ANSWERS,
    CLASS,
    CLUSTER,
    DEGRADED,
    MAX_UNIT_FAILURES,
    OUTCOME,
    REQUESTS,
    ROWS,
    SECONDS,
    SERVICE,
    TRAFFIC,
    UNIT_FAILURES,
    at_gateway,
    names,
    own_promql,
)
from tandem_rollout.sources.series import Series, Targets, by_target, identity


def build_reading(metric: Metric, arms: Arms, stable: Targets, canary: Targets) -> Reading:
    """The reading of a metric with known series.

    Args:
        metric: The metric.
        arms: Both arms.
        stable: Series of stable, by target.
        canary: Series of the canary.
    """
    # before the selection of the evidence, which is by traffic: failures by client have no such label
    share = _client_share(canary)
    stable, canary = _evidence(metric, stable, arms.stable), _evidence(metric, canary, arms.canary)
    if metric.type in ("latency", "drift"):
        return HistogramReading(_histograms(stable), _histograms(canary))
    return CounterReading(_counters(metric, stable), _counters(metric, canary), client_share=share)


def at_gateways(metric: Metric, arms: Arms, gateways: Targets) -> Reading:
    """The reading of both arms from Envoys. An Envoy without responses of an arm has counted zero."""
    stable, canary = (
        {
            target: [entry for entry in series if entry.labels.get(CLUSTER) in place.clusters]
            for target, series in gateways.items()
        }
        for place in (arms.stable, arms.canary)
    )
    return build_reading(metric, arms, stable, canary)


def answered(metric: Metric, arms: Arms, answers: Sequence[Sequence[Series]]) -> Reading:
    """The reading from Prometheus' results of the queries of a metric, in their order."""
    if not any(answers):
        subject = "series for its PromQL" if own_promql(metric) else f"series {' or '.join(sorted(names(metric)))}"
        return NoData("NoSeries", f"Prometheus has no {subject} of either version")
    if own_promql(metric):
        return _own(metric, answers)
    if at_gateway(metric):
        return at_gateways(metric, arms, by_target(chain.from_iterable(answers)))
    stable, canary = (
        by_target(entry for answer in answers for entry in answer if entry.labels.get(SERVICE) == place.service)
        for place in (arms.stable, arms.canary)
    )
    return build_reading(metric, arms, stable, canary)


def _evidence(metric: Metric, targets: Targets, place: ArmLocation) -> dict[str, list[Series]]:
    """The series that are evidence about an arm.

    Requests that depend on clients only are not evidence: pinned requests, disconnected clients, and invalid requests.
    For errors, the requests of disconnected clients are omitted. For latency they are counted, as the client waited.
    """
    clients = {REQUESTS: (REFUSED, EXPIRED), SECONDS: (REFUSED,)}
    own = names(metric)

    def counts(series: Series) -> bool:
        if series.name == ANSWERS:
            return series.labels.get(CLASS) != "4"
        ours = series.name in own and series.labels.get(TRAFFIC) == place.traffic
        return ours and series.labels.get(OUTCOME) not in clients.get(series.name, ())

    return {target: [entry for entry in series if counts(entry)] for target, series in targets.items()}


def _client_share(targets: Targets) -> float | None:
    """Maximum share of one client in the failures. In each pod another client may have the most."""
    totals = {
        name: math.fsum(entry.value for series in targets.values() for entry in series if entry.name == name)
        for name in (UNIT_FAILURES, MAX_UNIT_FAILURES)
    }
    failures, most = totals[UNIT_FAILURES], totals[MAX_UNIT_FAILURES]
    return most / failures if 0 < most <= failures < math.inf else None


def _own(metric: Metric, answers: Sequence[Sequence[Series]]) -> CounterReading:
    # an assignment has no queries of events
    targets = [by_target(answer) for answer in answers] + [{}, {}]
    stable, canary = (
        {
            target: Counters(_summed(requests.get(target, ())), _summed(events.get(target, ())))
            for target in [*requests, *(name for name in events if name not in requests)]
        }
        for requests, events in ((targets[0], targets[2]), (targets[1], targets[3]))
    )
    # a wrong name of the events must not count as no events
    return CounterReading(stable, canary, born=metric.type == "assignment")


def _counters(metric: Metric, targets: Targets) -> dict[str, Counters]:
    requests = {"errors": ANSWERS if metric.where == "gateway" else REQUESTS, "degraded": ROWS}[metric.type]
    return {
        target: Counters(
            requests=_summed(entry for entry in series if entry.name == requests),
            events=_summed(entry for entry in series if _is_event(entry)),
        )
        for target, series in targets.items()
    }


def _is_event(series: Series) -> bool:
    if series.name == ANSWERS:
        return series.labels.get(CLASS) == "5"
    if series.name == REQUESTS:
        return series.labels.get("code", "").startswith("5")
    return series.name == DEGRADED


def _summed(series: Iterable[Series]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for entry in series:
        key = identity(entry.labels)
        totals[key] = totals.get(key, 0.0) + entry.value
    return totals


def _histograms(targets: Targets) -> dict[str, dict[str, dict[float, float]]]:
    return {target: _histogram(series) for target, series in targets.items()}


def _histogram(series: Iterable[Series]) -> dict[str, dict[float, float]]:
    """Buckets by series. Buckets without a numeric edge are ignored."""
    histograms: dict[str, dict[float, float]] = {}
    for entry in series:
        edge = _edge(entry.labels.get("le", ""))
        if not math.isnan(edge):
            # outcomes are summed, as the client of an expired request has waited, too
            buckets = histograms.setdefault(identity(entry.labels, "le", OUTCOME), {})
            buckets[edge] = buckets.get(edge, 0.0) + entry.value
    return histograms


def _edge(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
