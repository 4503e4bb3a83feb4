"""What the analysis of a rollout counts at a real Envoy and at real transformers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from aiohttp import web

from tandem.telemetry import TRAFFIC_HEADER as HEADER
from tandem_cli.local import LocalStack
from tandem_cli.local.envoy import ADMIN_URL, Envoy
from tandem_cli.local.envoy_config import Upstream, cluster_name
from tandem_cli.local.ports import free_ports
from tandem_cli.local.processes import stop, wait_until
from tandem_rollout.analysis.reading import CounterReading
from tandem_rollout.api.analysis import Metric
from tandem_rollout.render.route_rules import PINNED_VARIANT_HEADER
from tandem_rollout.sources import ArmLocation, Arms
from tandem_rollout.sources.fetch import open_client
from tandem_rollout.sources.scrape import ScrapeSource

GATEWAY = Metric(type="errors")
PODS = Metric(type="errors", where="pods")
DEGRADED = Metric(type="degraded")

Totals = tuple[float, float]


async def read(admin_socket: Path, arms: Arms, *metrics: Metric) -> dict[str, tuple[Totals, Totals]]:
    """Requests and events of stable and of the canary, by metric."""
    client = open_client(seconds=30.0, sockets={ADMIN_URL: admin_socket})
    source = ScrapeSource(timeout=30.0, client=client)
    readings = await source.read(metrics, arms)
    await source.close()
    totals = {}
    for name, reading in readings.items():
        assert isinstance(reading, CounterReading), reading
        stable, canary = (
            (
                sum(sum(counters.requests.values()) for counters in scrape.values()),
                sum(sum(counters.events.values()) for counters in scrape.values()),
            )
            for scrape in (reading.stable, reading.canary)
        )
        totals[name] = stable, canary
    return totals


def ask(
    address: str,
    variant: str = "",
    rows: int = 1,
    path: str = "/v1/models/time-estimator:predict",
    *,
    grpc: bool = False,
    mark: str = "",
) -> int:
    """Status of a request; with a variant, it is pinned."""
    connection = HTTPConnection(address)
    row = {"athlete_id": "nobody", "current_pace": 330.0, "ts": "2005-04-03T12:00:00Z"}
    headers = {PINNED_VARIANT_HEADER: variant} if variant else {}
    headers |= {"content-type": "application/grpc"} if grpc else {}
    headers |= {HEADER: mark} if mark else {}
    connection.request("POST", path, json.dumps({"instances": [row] * rows}), headers)
    status = connection.getresponse().status
    connection.close()
    return status


async def test_a_local_stack(stack: LocalStack) -> None:
    stable, canary = (
        ArmLocation(
            service=name,
            clusters=(cluster_name(name, grpc=False), cluster_name(name, grpc=True)),
            pods=tuple((f"{name}-{index}", url) for index, url in enumerate(stack.metrics_urls[name])),
        )
        for name in ("v1", "v2")
    )
    arms = Arms(namespace="default", stable=stable, canary=canary, gateway=(("envoy", ADMIN_URL),))
    before = await read(stack.admin_socket, arms, GATEWAY, PODS, DEGRADED)
    for variant, rows in (("v1", [1] * 5), ("v2", [4, 6])):
        await asyncio.to_thread(stack.set_weights, {variant: 1})
        # a client cannot take its request out of the evidence
        assert {ask(stack.address, rows=count, mark="pinned") for count in rows} == {200}
        # nor can it choose a version and have that counted
        for pinned in ("v1", "v2"):
            assert ask(stack.address, pinned, mark="weighted") == 200
            path = f"/v1/models/time-estimator/versions/{pinned}:predict"
            assert ask(stack.address, path=path, mark="weighted") == 200
    after = await read(stack.admin_socket, arms, GATEWAY, PODS, DEGRADED)
    grown = {
        name: tuple((a - b, c - d) for (a, c), (b, d) in zip(after[name], before[name], strict=True)) for name in after
    }
    # nobody is in the store, so every row is degraded
    assert grown == {
        "errors": ((5, 0), (2, 0)),
        "errors-in-pods": ((5, 0), (2, 0)),
        "degraded": ((5, 5), (10, 10)),
    }


@pytest.fixture
async def upstream() -> AsyncIterator[int]:
    """A server that answers with the status that the path names; gives its port."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=int(request.path.strip("/")))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_clusters_that_are_called_as_envoy_gateway_calls_them(upstream: int, tmp_path: Path) -> None:
    stable, canary, longer = (f"httproute/models/est/rule/0/backend/{index}" for index in (0, 1, 11))
    (dead,) = free_ports(1)
    envoy = Envoy(
        [Upstream(name, (upstream,), (dead,)) for name in (stable, canary, longer)],
        model="est",
        versions=dict.fromkeys((stable, canary, longer), "v1"),
        weights={stable: 1},
        port=0,
        directory=tmp_path,
    )
    try:
        wait_until(envoy.ready, [envoy.child], seconds=30.0, what="Envoy to start")
        arms = Arms(
            namespace="models",
            stable=ArmLocation(service="est-a", clusters=_pinned(stable)),
            canary=ArmLocation(service="est-b", clusters=_pinned(canary)),
            gateway=(("envoy", ADMIN_URL),),
        )
        assert await read(envoy.admin_socket, arms, GATEWAY) == {"errors": ((0, 0), (0, 0))}
        address = f"127.0.0.1:{envoy.port()}"
        for variant, status in (
            (stable, 200),
            (canary, 200),
            (canary, 404),
            (canary, 500),
            (canary, 503),
            (longer, 500),
        ):
            assert await asyncio.to_thread(ask, address, variant, path=f"/{status}") == status
        # nobody listens for gRPC: Envoy itself answers, in the name of the cluster
        assert await asyncio.to_thread(ask, address, canary, path="/200", grpc=True) == 200
        assert await read(envoy.admin_socket, arms, GATEWAY) == {"errors": ((1, 0), (4, 3))}
    finally:
        stop([envoy.child])


def _pinned(variant: str) -> tuple[str, ...]:
    """Its clusters for requests that choose it."""
    return tuple(cluster_name(variant, grpc=grpc, pinned=True) for grpc in (False, True))
