"""Reading counters from Prometheus."""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Reading, Readings
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import DEFAULT_METRICS, Metric
from tandem_rollout.sources import Arms
from tandem_rollout.sources.prometheus import PrometheusSource

from .counted import envoy, pod, proxied, scraped
from .servers import CANARY, NAMESPACE, STABLE, Prometheus, Samples, arms, serving

GATEWAY = Metric(type="errors")
PODS = Metric(type="errors", where="pods")
LATENCY = Metric(type="latency")
DEGRADED = Metric(type="degraded")
DRIFT = Metric(type="drift")
RATIO = Metric(
    type="ratio",
    requests='orders_total{inferenceservice="$inferenceservice"}',
    events='failed_orders_total{inferenceservice="$inferenceservice"}',
)
ASSIGNMENT = Metric(type="assignment", requests='sum(units_total{inferenceservice="$inferenceservice"})')

NOTHING = Counters({}, {})


async def read(samples: Samples, *metrics: Metric, of: Arms | None = None) -> Readings:
    async with serving(Prometheus(samples).answer) as address:
        return await read_at(address, metrics, of)


async def read_at(address: str, metrics: Sequence[Metric], of: Arms | None = None, seconds: float = 30.0) -> Readings:
    source = PrometheusSource(address, timeout=seconds)
    try:
        return await source.read(metrics, of or arms())
    finally:
        await source.close()


def totals(reading: Reading) -> dict[str, dict[str, tuple[float, float]]]:
    """Requests and events by target, of stable and of the canary."""
    assert isinstance(reading, CounterReading), reading
    return {
        arm: {
            target: (sum(counters.requests.values()), sum(counters.events.values()))
            for target, counters in sorted(scrape.items())
        }
        for arm, scrape in (("stable", reading.stable), ("canary", reading.canary))
    }


async def test_errors_at_the_gateway_by_proxy_and_over_both_rules() -> None:
    samples = [
        *proxied(envoy({STABLE: {"2": 90, "5": 1}, CANARY: {"2": 8, "4": 2, "5": 3}})),
        *proxied(envoy({CANARY: {"2": 5, "5": 1}}, rule=1)),
        *proxied(envoy({STABLE: {"2": 10}}), "envoy-1"),
    ]
    reading = (await read(samples, GATEWAY))["errors"]
    assert totals(reading) == {
        "stable": {"envoy-0": (91, 1), "envoy-1": (10, 0)},
        "canary": {"envoy-0": (17, 4), "envoy-1": (0, 0)},
    }
    assert isinstance(reading, CounterReading) and reading.born


async def test_errors_in_the_pods() -> None:
    samples = [
        *scraped(pod(codes={"200": 90, "404": 3, "500": 1, "503": 2}), STABLE, "est-a-1"),
        *scraped(pod(), CANARY, "est-b-1"),
        *scraped(pod(codes={"500": 9}), "est-aa", "est-aa-1"),
        *scraped(pod(codes={"500": 9}), STABLE, "est-a-9", namespace="others"),
    ]
    assert totals((await read(samples, PODS))["errors-in-pods"]) == {
        "stable": {"est-a-1": (93, 3)},
        "canary": {"est-b-1": (0, 0)},
    }


async def test_degraded_answers_are_counted_in_rows() -> None:
    samples = [
        *scraped(
            pod(codes={"200": 3}, rows=40, degraded={"missing": 2, "stale": 1, "stale:last_known": 4}),
            STABLE,
            "est-a-1",
        ),
        *scraped(pod(rows=7), CANARY, "est-b-1"),
    ]
    assert totals((await read(samples, DEGRADED))["degraded"]) == {
        "stable": {"est-a-1": (40, 7)},
        "canary": {"est-b-1": (7, 0)},
    }


async def test_histograms_of_latency_and_of_predictions() -> None:
    samples = [
        *scraped(pod(seconds=(5, 3, 1), predictions=(4, 4, 2)), STABLE, "est-a-1"),
        *scraped(pod(seconds=(1, 1, 0), predictions=None), CANARY, "est-b-1"),
    ]
    readings = await read(samples, LATENCY, DRIFT)
    latency, drift = readings["latency"], readings["drift"]
    assert isinstance(latency, HistogramReading) and isinstance(drift, HistogramReading)
    assert list(latency.stable["est-a-1"].values()) == [{0.1: 5, 0.5: 8, math.inf: 9}]
    assert list(latency.canary["est-b-1"].values()) == [{0.1: 1, 0.5: 2, math.inf: 2}]
    assert list(drift.stable["est-a-1"].values()) == [{10.0: 4, 20.0: 8, math.inf: 10}]
    assert drift.canary == {}


async def test_counters_of_ones_own_by_pod_else_instance_else_as_one() -> None:
    samples: Samples = [
        ({"__name__": "orders_total", "inferenceservice": STABLE, "pod": "shop-1", "shop": "a"}, 10),
        ({"__name__": "orders_total", "inferenceservice": STABLE, "pod": "shop-1", "shop": "b"}, 5),
        ({"__name__": "orders_total", "inferenceservice": STABLE, "instance": "10.0.0.9:80"}, 7),
        ({"__name__": "orders_total", "inferenceservice": CANARY}, 3),
        ({"__name__": "failed_orders_total", "inferenceservice": STABLE, "pod": "shop-1", "shop": "a"}, 2),
        ({"__name__": "units_total", "inferenceservice": STABLE, "pod": "shop-1"}, 4),
        ({"__name__": "units_total", "inferenceservice": STABLE, "pod": "shop-2"}, 4),
        ({"__name__": "units_total", "inferenceservice": CANARY, "pod": "shop-2"}, 1),
    ]
    own = [({**labels, "namespace": NAMESPACE}, value) for labels, value in samples]
    # what others export about the same InferenceServices is not ours to read
    foreign = [({**labels, "namespace": "elsewhere"}, 1000 * value) for labels, value in samples]
    readings = await read([*own, *foreign], RATIO, ASSIGNMENT)
    assert totals(readings["ratio"]) == {
        "stable": {"shop-1": (15, 2), "10.0.0.9:80": (7, 0)} | {},
        "canary": {"all": (3, 0)},
    }
    assert totals(readings["assignment"]) == {"stable": {"all": (8, 0)}, "canary": {"all": (1, 0)}}
    ratio = readings["ratio"]
    # a wrong name of the events must not read as no events
    assert isinstance(ratio, CounterReading) and not ratio.born


async def test_a_pod_that_two_jobs_scrape_is_counted_once() -> None:
    series = pod(codes={"200": 9, "500": 1}, rows=10, seconds=(10, 0, 0))
    samples = [
        *scraped(series, STABLE, "est-a-1"),
        *scraped(series, STABLE, "est-a-1", job="annotated-pods", instance="est-a-1:9090"),
        *scraped(series, CANARY, "est-b-1"),
        # two replicas of Prometheus behind one address
        *scraped(series, CANARY, "est-b-1", prometheus_replica="1"),
        *proxied(envoy({STABLE: {"2": 9, "5": 1}})),
        *proxied(envoy({STABLE: {"2": 9, "5": 1}}), job="envoy-gateway-system/proxies"),
    ]
    readings = await read(samples, GATEWAY, PODS, DEGRADED, LATENCY)
    assert totals(readings["errors"])["stable"] == {"envoy-0": (10, 1)}
    assert totals(readings["errors-in-pods"]) == {"stable": {"est-a-1": (10, 1)}, "canary": {"est-b-1": (10, 1)}}
    assert totals(readings["degraded"])["stable"] == {"est-a-1": (10, 0)}
    latency = readings["latency"]
    assert isinstance(latency, HistogramReading)
    assert list(latency.stable["est-a-1"].values()) == [{0.1: 10, 0.5: 10, math.inf: 10}]


async def test_a_job_that_knows_no_pods_is_known_by_its_instance() -> None:
    nameless = [
        ({key: value for key, value in labels.items() if key != "pod"}, value)
        for labels, value in proxied(envoy({STABLE: {"2": 9}}), job="static")
    ]
    twice = [*proxied(envoy({STABLE: {"2": 9}})), *nameless]
    assert totals((await read(twice, GATEWAY))["errors"])["stable"] == {"envoy-0": (9, 0)}
    assert totals((await read(nameless, GATEWAY))["errors"])["stable"] == {"envoy-0:19001": (9, 0)}


async def test_both_versions_and_like_metrics_are_asked_about_at_once() -> None:
    prometheus = Prometheus(scraped(pod(seconds=(1, 0, 0)), STABLE, "est-a-1"))
    async with serving(prometheus.answer) as address:
        await read_at(address, [*DEFAULT_METRICS, Metric(type="latency", name="tail", quantile=0.99)])
    # of each kind of metric its series, and when the proxies and the pods were scraped
    assert [path for path, _ in prometheus.asked] == ["/api/v1/query"] * (5 + 2)


async def test_a_reading_says_when_its_targets_were_scraped() -> None:
    prometheus = Prometheus(
        [
            *scraped(pod(codes={"200": 9}, seconds=(1, 0, 0)), STABLE, "est-a-1"),
            *scraped(pod(codes={"200": 9}, seconds=(1, 0, 0)), CANARY, "est-b-1"),
            *proxied(envoy({STABLE: {"2": 9}, CANARY: {"2": 1}})),
        ]
    )
    prometheus.scraped = lambda labels: {"est-a-1": 1000.0, "est-b-1": 1007.5}.get(labels["pod"], 1004.0)
    async with serving(prometheus.answer) as address:
        readings = await read_at(address, [GATEWAY, PODS, LATENCY, RATIO])
    pods = {"est-a-1": 1000.0, "est-b-1": 1007.5}
    scrapes = {
        name: reading.scraped
        for name, reading in readings.items()
        if isinstance(reading, CounterReading | HistogramReading)
    }
    assert scrapes == {"errors": {"envoy-0": 1004.0}, "errors-in-pods": pods, "latency": pods}


async def test_counters_that_a_person_asks_for_may_be_as_old_as_a_scrape() -> None:
    labels = {"__name__": "orders_total", "inferenceservice": STABLE, "namespace": NAMESPACE, "pod": "a-1"}
    prometheus = Prometheus([(labels, 3.0)])
    async with serving(prometheus.answer) as address:
        source = PrometheusSource(address, clock=lambda: 5000.0)
        reading = (await source.read([RATIO], arms()))["ratio"]
        await source.close()
    assert isinstance(reading, CounterReading)
    assert reading.scraped == {"a-1": 4940.0}


async def test_series_that_are_not_there_are_no_data_and_are_named() -> None:
    readings = await read([], *DEFAULT_METRICS, RATIO)
    assert {name: type(reading) for name, reading in readings.items()} == dict.fromkeys(readings, NoData)
    assert "tandem_request_seconds_bucket" in str(readings["latency"])
    assert "envoy_cluster_upstream_rq_xx" in str(readings["errors"])
    assert "PromQL" in str(readings["ratio"])


async def test_stable_is_read_while_there_is_no_canary() -> None:
    readings = await read(scraped(pod(codes={"200": 4}), STABLE, "est-a-1"), PODS)
    assert totals(readings["errors-in-pods"]) == {"stable": {"est-a-1": (4, 0)}, "canary": {}}


def vector(*result: Any, **more: Any) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}, **more})


def error(text: str) -> str:
    return json.dumps({"status": "error", "errorType": "bad_data", "error": text})


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, error("parse error:\n unexpected"), "returned status 400: parse error: unexpected"),
        (422, error("too many\tsamples"), "returned status 422: too many samples"),
        (503, "<html>down</html>", "returned status 503"),
        (302, "", "returned status 302"),
        (200, "<html>login</html>", "returned an invalid response"),
        (200, b"\xff\xfe", "returned an invalid response"),
        (200, "[]", "returned an invalid response"),
        (200, error("odd"), "odd"),
        (200, json.dumps({"status": "success"}), "returned no data"),
        (
            200,
            json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}}),
            "a scalar instead",
        ),
        (200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}}), "a matrix instead"),
        (200, vector({"metric": {}}), "native histograms"),
        (200, vector({"metric": {}, "value": [0, "many"]}), "not a number"),
        (200, vector({"metric": {"a": 1}, "value": [0, "1"]}), "returned an invalid response"),
        (200, vector({"metric": {}, "value": "1"}), "returned an invalid response"),
        (200, vector(warnings=["a store is away"]), "a partial result: a store is away"),
        (200, vector(isPartial=True), "a partial result"),
        (200, vector(*[{"metric": {}, "value": [0, "1"]}] * 20_001), "more than 20000 series"),
        (200, "[" + "1" * (17 << 20), "the response is longer than"),
    ],
)
async def test_an_answer_that_is_of_no_use_is_told_from_no_data(status: int, body: str | bytes, reason: str) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, body=io.BytesIO(body if isinstance(body, bytes) else body.encode()))

    async with serving(handle) as address:
        readings = await read_at(address, [*DEFAULT_METRICS, RATIO, ASSIGNMENT, DRIFT])
    assert len(readings) == 7
    for reading in readings.values():
        assert isinstance(reading, ProviderError)
        assert reading.message.startswith("Prometheus ")
        assert reason in reading.message
        assert len(reading.message.splitlines()) == 1


async def test_a_prometheus_that_hangs_up_or_is_not_there() -> None:
    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(handle) as address:
        assert isinstance((await read_at(address, [GATEWAY]))["errors"], ProviderError)
    assert isinstance((await read_at(address, [GATEWAY]))["errors"], ProviderError)


@pytest.mark.parametrize("late", ["headers", "body"])
async def test_a_prometheus_that_does_not_end_its_answer(late: str) -> None:
    finish = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if late == "body":
            await response.prepare(request)
            await response.write(b'{"status":')
        await finish.wait()
        return response

    async with serving(handle) as address:
        readings = await read_at(address, DEFAULT_METRICS, seconds=0.05)
        finish.set()
    assert readings == dict.fromkeys(
        ["errors", "errors-in-pods", "latency", "degraded", "drift"],
        ProviderError("PrometheusUnreachable", "Prometheus cannot be read: timed out after 0.05 s"),
    )


@pytest.mark.parametrize(
    "address",
    [
        "",
        "prometheus:9090",
        "ftp://prometheus",
        "http://",
        "http://user:secret@host:port",
        "http://[::1",
    ],
)
async def test_an_address_that_is_none(address: str) -> None:
    reading = (await read_at(address, [GATEWAY]))["errors"]
    assert isinstance(reading, ProviderError)
    assert "address" in reading.message
    assert "secret" not in reading.message


async def test_one_metric_that_cannot_be_read_leaves_the_others_alone() -> None:
    prometheus = Prometheus(proxied(envoy({STABLE: {"2": 9}})))

    async def handle(request: web.Request) -> web.StreamResponse:
        if "orders" in str((await request.post())["query"]):
            return web.Response(status=422, text=error("unknown function"))
        return await prometheus.answer(request)

    async with serving(handle) as address:
        readings = await read_at(address + "/", [GATEWAY, RATIO])
    assert totals(readings["errors"])["stable"] == {"envoy-0": (9, 0)}
    assert readings["ratio"] == ProviderError(
        "PrometheusUnreachable", "Prometheus returned status 422: unknown function"
    )


async def test_the_past_in_order_and_the_present_last() -> None:
    prometheus = Prometheus([*proxied(envoy({STABLE: {"2": 100}})), *scraped(pod(rows=100), STABLE, "est-a-1")])
    # in the first half there was no proxy yet
    prometheus.past = lambda moment: [
        *scraped(pod(rows=moment), STABLE, "est-a-1"),
        *(proxied(envoy({STABLE: {"2": moment - 950}})) if moment >= 980 else ()),
    ]
    async with serving(prometheus.answer) as address:
        source = PrometheusSource(address, timeout=30.0, clock=lambda: 1000.0)
        readings = await source.history([GATEWAY, DEGRADED, DRIFT], arms(), seconds=40.0, step=10.0)
        await source.close()
    assert [totals(step["degraded"])["stable"]["est-a-1"][0] for step in readings] == [960, 970, 980, 990, 1000, 100]
    assert [totals(step["errors"])["stable"] for step in readings[2:]] == [
        {"envoy-0": (count, 0)} for count in (30, 40, 50, 100)
    ]
    assert not any(isinstance(step.get("errors"), CounterReading) for step in readings[:2])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error("exceeded maximum resolution")),
        (200, vector()),
        (
            200,
            json.dumps(
                {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": 1}]}}
            ),
        ),
        (
            200,
            json.dumps(
                {
                    "status": "success",
                    "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[0, "1"]] * 400_001}]},
                }
            ),
        ),
    ],
)
async def test_without_a_past_there_is_the_present(status: int, body: str) -> None:
    prometheus = Prometheus(scraped(pod(codes={"200": 4}), STABLE, "est-a-1"))

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("query_range"):
            return web.Response(status=status, body=io.BytesIO(body.encode()))
        return await prometheus.answer(request)

    async with serving(handle) as address:
        source = PrometheusSource(address, timeout=30.0)
        why, now = await source.history([PODS], arms(), seconds=60.0, step=5.0)
        await source.close()
    assert isinstance(why["errors-in-pods"], ProviderError)
    assert totals(now["errors-in-pods"])["stable"] == {"est-a-1": (4, 0)}
