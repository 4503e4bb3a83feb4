"""Reading counters from the pods and the proxies themselves."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Reading, Readings
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import DEFAULT_METRICS, Metric
from tandem_rollout.sources import ArmLocation, Arms
from tandem_rollout.sources.scrape import ScrapeSource

from .counted import envoy, pod
from .servers import CANARY, STABLE, Samples, arms, exposition, serving

GATEWAY = Metric(type="errors")
PODS = Metric(type="errors", where="pods")
NOWHERE = "http://127.0.0.1:1"


async def answering(stack: AsyncExitStack, answer: Samples | str | bytes, paths: list[str] | None = None) -> str:
    """A pod or proxy that answers so; gives its address."""

    async def handle(request: web.Request) -> web.Response:
        if paths is not None:
            paths.append(request.path_qs)
        if isinstance(answer, bytes):
            return web.Response(body=io.BytesIO(answer))
        if isinstance(answer, str):
            return web.Response(text=answer, status=503)
        return web.Response(text=exposition(answer))

    return await stack.enter_async_context(serving(handle))


async def read(of: Arms, metrics: Sequence[Metric], seconds: float = 30.0) -> Readings:
    source = ScrapeSource(timeout=seconds)
    try:
        return await source.read(metrics, of)
    finally:
        await source.close()


async def read_from(
    metrics: Sequence[Metric],
    *,
    stable: Mapping[str, Samples | str | bytes] | None = None,
    canary: Mapping[str, Samples | str | bytes] | None = None,
    gateway: Mapping[str, Samples | str | bytes] | None = None,
) -> Readings:
    async with AsyncExitStack() as stack:
        of = {
            arm: {name: await answering(stack, answer) for name, answer in answers.items()}
            for arm, answers in (("stable", stable or {}), ("canary", canary or {}), ("gateway", gateway or {}))
        }
        return await read(arms(**of), metrics)


def totals(reading: Reading) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]:
    assert isinstance(reading, CounterReading), reading
    stable, canary = (
        {
            target: (sum(counters.requests.values()), sum(counters.events.values()))
            for target, counters in sorted(scrape.items())
        }
        for scrape in (reading.stable, reading.canary)
    )
    return stable, canary


async def test_every_metric_of_pods_from_one_answer_of_each() -> None:
    paths: list[str] = []
    async with AsyncExitStack() as stack:
        ours = await answering(
            stack, pod(codes={"200": 5, "500": 1}, seconds=(4, 1, 1), predictions=(3, 3, 0), rows=6), paths
        )
        theirs = await answering(stack, pod(codes={"200": 9}, rows=9, degraded={"stale": 2}, predictions=(9, 0, 0)))
        of = arms(stable={"est-a-1": theirs}, canary={"est-b-1": f"{ours}/metrics"})
        metrics = [PODS, Metric(type="latency"), Metric(type="degraded"), Metric(type="drift")]
        readings = await read(of, metrics)
    assert paths == ["/metrics"]
    assert totals(readings["errors-in-pods"]) == ({"est-a-1": (9, 0)}, {"est-b-1": (6, 1)})
    assert totals(readings["degraded"]) == ({"est-a-1": (9, 2)}, {"est-b-1": (6, 0)})
    latency, drift = readings["latency"], readings["drift"]
    assert isinstance(latency, HistogramReading) and isinstance(drift, HistogramReading)
    assert list(latency.canary["est-b-1"].values()) == [{0.1: 4, 0.5: 5, math.inf: 6}]
    assert list(drift.stable["est-a-1"].values()) == [{10.0: 9, 20.0: 9, math.inf: 9}]


async def test_a_proxy_is_asked_for_our_clusters_only_and_has_both_versions() -> None:
    paths: list[str] = []
    async with AsyncExitStack() as stack:
        first = await answering(stack, envoy({STABLE: {"2": 90, "5": 1}, CANARY: {"2": 4, "5": 6}}), paths)
        second = await answering(stack, envoy({STABLE: {"2": 10}}))
        readings = await read(arms(gateway={"envoy-0": first, "envoy-1": f"{second}/stats/prometheus"}), [GATEWAY])
    (path,) = paths
    assert path.startswith("/stats/prometheus?usedonly=&filter=")
    # the second has not had an answer of the canary yet: it has counted none of them
    assert totals(readings["errors"]) == (
        {"envoy-0": (91, 1), "envoy-1": (10, 0)},
        {"envoy-0": (10, 6), "envoy-1": (0, 0)},
    )


async def test_clusters_of_a_laptop() -> None:
    series = [
        ({**labels, "envoy_cluster_name": name}, value)
        for name, code_class, value in (("v1/http", "2", 7.0), ("v1/grpc", "2", 2.0), ("v2/http", "5", 3.0))
        for labels, _ in envoy({STABLE: {code_class: 0}})
    ]
    async with AsyncExitStack() as stack:
        address = await answering(stack, series)
        of = Arms(
            namespace="default",
            stable=ArmLocation(service="v1", clusters=("v1/http", "v1/grpc")),
            canary=ArmLocation(service="v2", clusters=("v2/http", "v2/grpc")),
            gateway=(("envoy", address.removeprefix("http://")),),
        )
        readings = await read(of, [GATEWAY])
    assert totals(readings["errors"]) == ({"envoy": (9, 0)}, {"envoy": (3, 3)})


MANY = b"".join(b'tandem_requests_total{code="200",own="%d"} 1\n' % number for number in range(15_001))
"""More series than the half of all that one of two pods may have."""


@pytest.mark.parametrize(
    "answer",
    ["down", b"<html></html>", b"\xff\xfe 1", b"tandem_requests_total{ 1", b"a 1\n" * ((1 << 18) + 1), MANY],
    ids=["503", "html", "bytes", "cut", "long", "many"],
)
async def test_a_pod_without_a_proper_answer_is_left_out(answer: str | bytes) -> None:
    readings = await read_from(
        [PODS], stable={"est-a-1": pod(codes={"200": 9}), "est-a-2": answer}, canary={"est-b-1": pod(codes={"200": 1})}
    )
    assert totals(readings["errors-in-pods"]) == ({"est-a-1": (9, 0)}, {"est-b-1": (1, 0)})


async def test_a_canary_whose_pods_are_silent_has_no_target() -> None:
    readings = await read_from([PODS], stable={"est-a-1": pod(codes={"200": 9})}, canary={"est-b-1": "down"})
    assert totals(readings["errors-in-pods"]) == ({"est-a-1": (9, 0)}, {})


async def test_where_nobody_answers_it_is_not_known_who_is_dead() -> None:
    silent = {"stable": {"est-a-1": NOWHERE}, "canary": {"est-b-1": NOWHERE}, "gateway": {"envoy-0": NOWHERE}}
    readings = await read(arms(**silent), DEFAULT_METRICS)
    for name, reading in readings.items():
        assert isinstance(reading, ProviderError)
        assert reading.message.startswith(
            "no proxy of the gateway responds; envoy-0: "
            if name == "errors"
            else "no pod of either version responds; est-a-1: "
        )


async def test_one_silent_proxy_leaves_the_others() -> None:
    readings = await read_from([GATEWAY], gateway={"envoy-0": "down", "envoy-1": envoy({CANARY: {"2": 3}})})
    assert totals(readings["errors"]) == ({"envoy-1": (0, 0)}, {"envoy-1": (3, 0)})


async def test_where_there_is_nobody_to_ask() -> None:
    readings = await read(arms(), [GATEWAY, PODS])
    assert readings["errors-in-pods"] == NoData("NoPods", "neither version has a pod")
    assert readings["errors"] == ProviderError("NoProxies", "no proxy of the gateway is known")
    bare = Arms(namespace="m", stable=ArmLocation(service="a"), canary=ArmLocation(service="b"))
    assert isinstance((await read(bare, [GATEWAY]))["errors"], NoData)


async def test_promql_needs_prometheus() -> None:
    own = [
        Metric(type="ratio", requests="a", events="b"),
        Metric(type="assignment", requests='c{a="$inferenceservice"}'),
    ]
    for reading in (await read(arms(), own)).values():
        assert isinstance(reading, ProviderError)
        assert "prometheus" in reading.message


async def test_who_does_not_end_an_answer_is_not_waited_for() -> None:
    finish = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"# HELP\n")
        await finish.wait()
        return response

    async with serving(handle) as slow:
        of = arms(canary={f"est-b-{index}": slow for index in range(100)}, gateway={"envoy-0": slow})
        readings = await read(of, [GATEWAY, PODS], seconds=0.2)
        finish.set()
    assert "envoy-0: timed out after 0.2 s" in str(readings["errors"])
    assert "est-b-0: timed out after 0.2 s" in str(readings["errors-in-pods"])


@pytest.mark.parametrize("address", ["", "http://", "ftp://pod", "http://[::1", "http://a:secret@b:c"])
async def test_an_address_that_is_none(address: str) -> None:
    reading = (await read(arms(canary={"est-b-1": address}), [PODS]))["errors-in-pods"]
    assert isinstance(reading, ProviderError)
    assert "address" in reading.message
    assert "secret" not in reading.message


async def test_it_has_no_past() -> None:
    async with AsyncExitStack() as stack:
        source = ScrapeSource(timeout=30.0)
        of = arms(stable={"est-a-1": await answering(stack, pod())})
        (now,) = await source.history([PODS], of, seconds=1800.0, step=10.0)
        await source.close()
    reading = now["errors-in-pods"]
    assert isinstance(reading, CounterReading)
    assert reading.stable == {"est-a-1": Counters({}, {})}
