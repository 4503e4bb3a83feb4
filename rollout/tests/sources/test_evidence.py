"""From what pods and proxies export to the evidence of a run, by either source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web

from tandem_rollout.analysis.gather import gather, with_client_shares
from tandem_rollout.analysis.judge import judge
from tandem_rollout.analysis.prepare import prepare
from tandem_rollout.analysis.record import Record
from tandem_rollout.analysis.window import CountWindow, extend_window
from tandem_rollout.api.analysis import DEFAULT_METRICS, Metric
from tandem_rollout.sources import MetricSource
from tandem_rollout.sources.prometheus import PrometheusSource
from tandem_rollout.sources.scrape import ScrapeSource

from .counted import envoy, pod, proxied, scraped
from .servers import CANARY, STABLE, Prometheus, Samples, arms, exposition, serving

METRICS = DEFAULT_METRICS
TIMEOUT_S = 30.0

Answers = Mapping[str, float]


@dataclass(frozen=True)
class World:
    """What everybody exports at one moment.

    Attributes:
        stable: Series of stable's pods, by name.
        canary: Of the canary's pods.
        proxies: Of the proxies of the gateway.
    """

    stable: Mapping[str, Samples] = field(default_factory=dict)
    canary: Mapping[str, Samples] = field(default_factory=dict)
    proxies: Mapping[str, Samples] = field(default_factory=dict)


async def take_samples(
    kind: str,
    worlds: Sequence[World | None],
    metrics: Sequence[Metric] = METRICS,
    *,
    canary_traffic: str = "weighted",
) -> list[Record]:
    """Evidence after each look at a world; None is a world in which nobody can be asked."""
    now: World | None = None
    last_world = World()
    prometheus = Prometheus()

    async def handle(request: web.Request) -> web.StreamResponse:
        if now is None:
            return web.Response(status=503)
        if kind == "prometheus":
            prometheus.samples = [
                *(sample for name, series in now.stable.items() for sample in scraped([*series], STABLE, name)),
                *(sample for name, series in now.canary.items() for sample in scraped([*series], CANARY, name)),
                *(sample for name, series in now.proxies.items() for sample in proxied([*series], name)),
            ]
            return await prometheus.answer(request)
        name = request.path.split("/")[1]
        there = {**now.stable, **now.canary, **now.proxies}
        return web.Response(text=exposition(there[name])) if name in there else web.Response(status=404)

    async with serving(handle) as address:
        source: MetricSource = (
            PrometheusSource(address, timeout=TIMEOUT_S) if kind == "prometheus" else ScrapeSource(timeout=TIMEOUT_S)
        )
        record, windows, records = Record(run=1, plan="p"), dict[str, CountWindow](), []
        for index, world in enumerate(worlds):
            now = world
            last_world = world or last_world
            of = arms(
                stable={name: f"{address}/{name}/metrics" for name in last_world.stable},
                canary={name: f"{address}/{name}/metrics" for name in last_world.canary},
                gateway={name: f"{address}/{name}/stats" for name in last_world.proxies},
            )
            of = replace(of, canary=replace(of.canary, traffic=canary_traffic))
            if not record.prepared:
                record = prepare(metrics, record, await source.history(metrics, of, seconds=10.0, step=5.0))
            after = await source.read(metrics, of)
            windows = {
                name: extend_window(windows.get(name, CountWindow()), reading, float(index))
                for name, reading in after.items()
            }
            if index:
                record, windows = gather(metrics, record, windows, now=float(index), weight=10)
                record = with_client_shares(record, after)
                records.append(record)
        await source.close()
    return records


def counts(record: Record) -> dict[str, tuple[float, ...]]:
    """Of the last tick: the canary's requests and events, stable's requests and events; for drift, rows."""
    last = record.samples[-1].counts
    return {name: (values[0], values[2]) if name == "drift" else values for name, values in last.items()}


def only(canary: Mapping[str, Answers], stable: Mapping[str, Answers] | None = None) -> World:
    """Pods that have given such answers."""
    return World(
        stable={name: pod(codes=codes) for name, codes in (stable or {"est-a-1": {"200": 0}}).items()},
        canary={name: pod(codes=codes) for name, codes in canary.items()},
    )


in_pods = (Metric(type="errors", where="pods"),)
both = pytest.mark.parametrize("kind", ["prometheus", "pods"])


@both
async def test_a_tick_of_every_metric(kind: str) -> None:
    before = World(
        stable={
            "est-a-1": pod(
                codes={"200": 6000, "500": 6},
                seconds=(5700, 200, 106),
                rows=6006,
                degraded={"stale": 4},
                predictions=(3000, 2000, 1006),
            )
        },
        canary={"est-b-1": pod(predictions=(0, 0, 0))},
        proxies={"envoy-0": envoy({STABLE: {"2": 6000, "5": 6}})},
    )
    after = World(
        stable={
            "est-a-1": pod(
                codes={"200": 6090, "500": 7, "404": 2},
                seconds=(5780, 210, 109),
                rows=6190,
                degraded={"stale": 5, "missing": 2},
                predictions=(3100, 2050, 1040),
            )
        },
        canary={
            "est-b-1": pod(
                codes={"200": 8, "503": 2},
                seconds=(5, 3, 2),
                rows=20,
                degraded={"missing": 1},
                predictions=(12, 6, 2),
            )
        },
        proxies={"envoy-0": envoy({STABLE: {"2": 6090, "4": 2, "5": 7}, CANARY: {"2": 8, "5": 3}})},
    )
    (record,) = await take_samples(kind, [before, after])
    limit = record.metrics["latency"].limit
    assert limit is not None
    assert (limit.seconds, limit.canary_seconds) == (0.1, 0.5)
    assert counts(record) == {
        "errors": (11, 3, 91, 1),
        "errors-in-pods": (10, 2, 91, 1),
        "latency": (10, 2, 93, 13),
        "degraded": (20, 1, 184, 3),
        "drift": (20, 184),
    }
    assert {evidence.trouble for evidence in record.metrics.values()} == {None}


@both
@pytest.mark.parametrize("traffic", ["pinned", "preview", "direct"])
async def test_what_a_client_sends_to_a_version_of_its_own_choice_is_no_evidence(kind: str, traffic: str) -> None:
    """Extreme rows, slow requests and good ones alike: they neither veto a version nor bless it."""
    stable = {"est-a-1": pod(codes={"200": 50}, seconds=(50, 0, 0), rows=50, predictions=(40, 10, 0))}
    weighted = pod(codes={"200": 9, "500": 1}, seconds=(9, 1, 0), rows=10, predictions=(8, 2, 0))
    chosen = pod(
        codes={"200": 70, "500": 900},
        seconds=(0, 70, 900),
        rows=970,
        degraded={"missing": 970},
        predictions=(0, 0, 970),
        traffic=traffic,
    )
    metrics = [metric for metric in METRICS if metric.full_name != "errors"]
    before = World(stable={"est-a-1": pod(predictions=(0, 0, 0))}, canary={"est-b-1": pod(predictions=(0, 0, 0))})
    worlds = [before, World(stable=stable, canary={"est-b-1": [*weighted, *chosen[1:]]})]
    (record,) = await take_samples(kind, worlds, metrics)
    (without,) = await take_samples(kind, [before, World(stable=stable, canary={"est-b-1": weighted})], metrics)
    assert counts(record) == counts(without)
    assert counts(record)["errors-in-pods"] == (10, 1, 50, 0)


@both
async def test_what_clients_alone_control_is_not_held_against_a_version(kind: str) -> None:
    """Their own mistakes, deadlines and departures are neither errors nor answers that are better than errors."""
    start = pod()
    end = [
        *pod(codes={"200": 20, "400": 500, "422": 300, "429": 7, "503": 1}, seconds=(20, 1, 0)),
        *pod(codes={"499": 40, "504": 60}, seconds=(0, 0, 0), outcome="expired")[1:],
        *pod(seconds=(807, 0, 0), outcome="refused")[1:],
    ]
    pods = [
        World(stable={"est-a-1": start}, canary={"est-b-1": start}),
        World(stable={"est-a-1": pod(codes={"200": 50})}, canary={"est-b-1": end}),
    ]
    envoys = [
        World(proxies={"envoy-0": envoy({STABLE: {"2": 1}, CANARY: {"2": 0}})}),
        World(proxies={"envoy-0": envoy({STABLE: {"2": 51}, CANARY: {"2": 20, "4": 847, "5": 1}})}),
    ]
    (record,) = await take_samples(kind, pods, in_pods)
    assert counts(record) == {"errors-in-pods": (21, 1, 50, 0)}
    (record,) = await take_samples(kind, envoys, (Metric(type="errors"),))
    assert counts(record) == {"errors": (21, 1, 50, 0)}


@both
async def test_the_part_of_the_failures_that_came_from_one_client_is_told(kind: str) -> None:
    def failed(*, most: float, all_failures: float) -> Samples:
        about = {"model": "est", "version": "v1"}
        return [
            *pod(codes={"500": all_failures, "200": 50}),
            ({"__name__": "tandem_unit_failures", **about}, all_failures),
            ({"__name__": "tandem_unit_failures_max", **about}, most),
        ]

    start, good = only({"est-b-1": {}, "est-b-2": {}}), {"est-a-1": pod(codes={"200": 90})}
    failures = {"est-b-1": failed(most=8, all_failures=10), "est-b-2": failed(most=1, all_failures=2)}
    none = {"est-b-1": failed(most=0, all_failures=0)}
    for canary, share in ((failures, 0.75), (none, None)):
        (record,) = await take_samples(kind, [start, World(stable=good, canary=canary)], in_pods)
        ((line, *_), _) = judge(in_pods, record)
        notice = line.message == "75% of the canary's failures came from one client"
        assert (record.metrics["errors-in-pods"].client_share, notice) == (share, share is not None)


@both
async def test_a_version_is_judged_on_its_preview_host_by_what_came_there(kind: str) -> None:
    place = {"est-b-1": [*pod(codes={"200": 3}, traffic="preview"), *pod(codes={"500": 9}, traffic="pinned")[1:]]}
    worlds = [only({"est-b-1": {}}), World(stable={"est-a-1": pod(codes={"200": 5})}, canary=place)]
    (record,) = await take_samples(kind, worlds, in_pods, canary_traffic="preview")
    assert counts(record) == {"errors-in-pods": (3, 0, 5, 0)}


@both
async def test_a_pod_that_restarts_is_counted_from_zero(kind: str) -> None:
    worlds = [
        only({"est-b-1": {"200": 100, "500": 9}}),
        only({"est-b-1": {"200": 7, "500": 2}}, {"est-a-1": {"200": 50}}),
    ]
    (record,) = await take_samples(kind, worlds, in_pods)
    assert counts(record) == {"errors-in-pods": (9, 2, 50, 0)}


@both
async def test_pods_that_come_and_go(kind: str) -> None:
    worlds = [
        only({"est-b-1": {"200": 10}}, {"est-a-1": {"200": 1000}, "est-a-2": {"200": 900, "500": 3}}),
        # what a new pod counted before it was first seen may be old
        only({"est-b-1": {"200": 20}}, {"est-a-1": {"200": 1050}, "est-a-3": {"200": 800, "500": 8}}),
        only({"est-b-1": {"200": 30}}, {"est-a-3": {"200": 840, "500": 9}}),
    ]
    first, second = await take_samples(kind, worlds, in_pods)
    assert counts(first) == {"errors-in-pods": (10, 0, 50, 0)}
    assert counts(second) == {"errors-in-pods": (10, 0, 41, 1)}


@both
async def test_the_first_answers_of_a_pod_count(kind: str) -> None:
    worlds = [only({"est-b-1": {}}, {"est-a-1": {}}), only({"est-b-1": {"500": 4}}, {"est-a-1": {"200": 36}})]
    (record,) = await take_samples(kind, worlds, in_pods)
    assert counts(record) == {"errors-in-pods": (4, 4, 36, 0)}


@both
async def test_a_proxy_that_restarts_and_a_second_one(kind: str) -> None:
    worlds = [
        World(proxies={"envoy-0": envoy({STABLE: {"2": 1000}, CANARY: {"2": 100, "5": 2}})}),
        World(
            proxies={
                "envoy-0": envoy({STABLE: {"2": 45}, CANARY: {"2": 4, "5": 1}}),
                "envoy-1": envoy({STABLE: {"2": 7}}),
            }
        ),
        World(
            proxies={
                "envoy-0": envoy({STABLE: {"2": 90}, CANARY: {"2": 8, "5": 1}}),
                "envoy-1": envoy({STABLE: {"2": 17}, CANARY: {"5": 2}}),
            }
        ),
    ]
    first, second = await take_samples(kind, worlds, (Metric(type="errors"),))
    assert counts(first) == {"errors": (5, 1, 45, 0)}
    assert counts(second) == {"errors": (6, 2, 55, 0)}


@both
async def test_an_outage_leaves_the_evidence_as_it_was_and_loses_nothing(kind: str) -> None:
    worlds = [
        only({"est-b-1": {"200": 10}}, {"est-a-1": {"200": 100}}),
        only({"est-b-1": {"200": 20}}, {"est-a-1": {"200": 200}}),
        None,
        only({"est-b-1": {"200": 40}}, {"est-a-1": {"200": 400}}),
        only({"est-b-1": {"200": 50}}, {"est-a-1": {"200": 500}}),
    ]
    first, silent, after, last = await take_samples(kind, worlds, in_pods)
    assert silent.metrics["errors-in-pods"].ratio == first.metrics["errors-in-pods"].ratio
    assert silent.sample_count == 1
    assert silent.metrics["errors-in-pods"].missing == "provider-error"
    trouble = silent.metrics["errors-in-pods"].trouble
    assert trouble is not None and "503" in trouble.message
    assert counts(after) == {"errors-in-pods": (20, 0, 200, 0)}
    assert counts(last) == {"errors-in-pods": (10, 0, 100, 0)}
    assert last.sample_count == 3


@both
async def test_counters_that_cannot_be_are_no_evidence(kind: str) -> None:
    worlds = [
        only({"est-b-1": {"200": 10}}, {"est-a-1": {"200": 100}}),
        only({"est-b-1": {"200": math.nan}}, {"est-a-1": {"200": 200}}),
        only({"est-b-1": {"200": math.inf}}, {"est-a-1": {"200": 300}}),
    ]
    for record in await take_samples(kind, worlds, in_pods):
        assert record.metrics["errors-in-pods"].missing == "no-data"
        assert record.sample_count == 0


@both
async def test_predictions_in_other_bins_are_not_compared(kind: str) -> None:
    drift = (Metric(type="drift"),)
    other_bins = [
        ({**labels, "le": {"10.0": "15.0"}.get(labels.get("le", ""), labels.get("le", ""))}, value)
        for labels, value in pod(predictions=(5, 3, 2))
        if "le" in labels
    ]
    worlds = [
        World(stable={"est-a-1": pod(predictions=(5, 3, 2))}, canary={"est-b-1": other_bins}),
        World(stable={"est-a-1": pod(predictions=(9, 3, 2))}, canary={"est-b-1": other_bins}),
    ]
    (record,) = await take_samples(kind, worlds, drift)
    trouble = record.metrics["drift"].trouble
    assert trouble is not None
    assert (trouble.reason, trouble.message) == (
        "DifferentBins",
        "canary and stable have different bins of predictions",
    )
