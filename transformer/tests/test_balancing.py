"""Pods come and go behind one name: real servers at several addresses, with a name system of the test's own."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest

from tandem import Bundle
from tandem.errors import Unavailable
from tandem.inputs import Tensors
from tandem.oip import InferResponse, Tensor, http2, protobuf, rest
from tandem.oip.header_blocks import NO_TABLE, literal
from tandem_transformer.config import TransformerConfig
from tandem_transformer.predictors import PredictorClient, connect
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.grpc import GrpcPredictor
from tandem_transformer.predictors.rest import RestPredictor

from . import broken
from .dns import Names
from .servers import free_port, predictor

HOPS = ["v2", "grpc-v2"]
IPS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


@dataclass
class Pod:
    """A predictor that answers with its own number once it may."""

    number: int
    calls: int = 0
    connections: int = 0
    closed: int = 0
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def response(self) -> InferResponse:
        self.calls += 1
        self.busy.set()
        await self.open.wait()
        return InferResponse(model_name="m", outputs=[Tensor("y", "FP32", (1, 1), np.full((1, 1), self.number, "f4"))])

    async def serve_rest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await broken.read_request(reader)
                body, _ = rest.encode_response(await self.response())
                writer.write(broken.http(200, body))
        finally:
            self.closed += 1

    async def answer_grpc(self, message: bytes, context: Any) -> bytes:
        return protobuf.encode_response(await self.response())


@asynccontextmanager
async def serving(pod: Pod, hop: str, port: int) -> AsyncIterator[Pod]:
    """A pod at the address that has its number."""
    ip = IPS[pod.number]
    if hop == "v2":
        async with broken.listening(pod.serve_rest, ip, port=port):
            yield pod
        return
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(pod.answer_grpc)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(protobuf.SERVICE, {"ModelInfer": method}),))
    server.add_insecure_port(f"{ip}:{port}")
    await server.start()
    try:
        yield pod
    finally:
        await server.stop(0)


@dataclass
class World:
    """Three pods, and what calls those that the name system knows."""

    pods: list[Pod]
    names: Names
    predictor: PredictorClient
    counts: list[int]

    async def ask(self, calls: int = 1) -> list[int]:
        """Which pods answer, one call after the other."""
        return [int((await self.predictor.infer(vectors()))["y"][0, 0]) for _ in range(calls)]


def vectors() -> Tensors:
    return {"x": np.ones((1, 6), np.float32)}


def connected(bundle: Bundle, hop: str, host: str, names: Names, **options: Any) -> PredictorClient:
    config = TransformerConfig(model_dir=Path(bundle.path), predictor_protocol=hop, predictor_timeout_ms=20_000)
    return connect(bundle, config, resolution=names.resolution(host), **options)


@pytest.fixture(params=HOPS)
async def world(bundle: Bundle, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Three pods, of which the name system knows none so far."""
    hop, port, counts = request.param, free_port(), list[int]()
    names = Names()
    async with AsyncExitStack() as stack:
        pods = [await stack.enter_async_context(serving(Pod(number), hop, port)) for number in range(3)]
        predictor = connected(bundle, hop, f"pods.test:{port}", names, counted=counts.append)
        yield World(pods, names, predictor, counts)
        await predictor.close()


async def test_a_new_address_gets_its_share_over_the_connections_that_are_there(world: World) -> None:
    await world.names.change(*IPS[:2])
    assert sorted(await world.ask(10)) == [0] * 5 + [1] * 5
    await world.names.change(*IPS)
    assert sorted(await world.ask(12)) == [0] * 4 + [1] * 4 + [2] * 4
    assert world.counts == [2, 3]
    assert all(pod.connections <= 1 for pod in world.pods)


async def test_an_address_that_is_gone_gets_no_more_calls_and_those_under_way_are_answered(world: World) -> None:
    await world.names.change(IPS[0])
    gone = world.pods[0]
    gone.open.clear()
    under_way = asyncio.create_task(world.ask())
    await gone.busy.wait()
    await world.names.change(IPS[1])
    assert await world.ask(5) == [1] * 5
    assert gone.closed == 0
    gone.open.set()
    assert await under_way == [0]
    assert gone.calls == 1


async def test_connections_to_an_address_that_is_gone_are_closed(bundle: Bundle) -> None:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await Pod(0).serve_rest(reader, writer)
        finally:
            over.set()

    async with broken.listening(serve, IPS[0]) as host:
        names = Names(IPS[0])
        predictor = connected(bundle, "v2", f"pods.test:{host.rpartition(':')[2]}", names)
        await predictor.infer(vectors())
        assert not over.is_set()
        await names.change(IPS[1])
        await over.wait()
        await predictor.close()


async def test_an_outage_of_the_name_system_is_not_noticed(world: World) -> None:
    await world.names.change(*IPS[:2])
    await world.names.change(fault=OSError("no answer"))
    assert sorted(await world.ask(4)) == [0, 0, 1, 1]
    await world.names.change()
    assert sorted(await world.ask(4)) == [0, 0, 1, 1]
    assert world.counts == [2]


async def test_a_name_that_is_not_found_at_start(world: World) -> None:
    with pytest.raises(Unavailable) as error:
        await world.ask()
    assert (error.value.code, error.value.retry_after) == ("predictor_unavailable", 1)
    await world.names.change(IPS[2])
    assert await world.ask(3) == [2, 2, 2]


async def test_an_address_where_nobody_listens_costs_no_call(world: World) -> None:
    await world.names.change(IPS[0], "127.0.0.9")
    assert await world.ask(5) == [0] * 5


async def test_a_connection_that_breaks_off_before_the_answer_is_tried_elsewhere(bundle: Bundle) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await broken.read_request(reader)

    async with broken.listening(break_off, IPS[0]) as host:
        port = int(host.rpartition(":")[2])
        async with serving(Pod(1), "v2", port):
            names = Names(*IPS[:2])
            predictor = connected(bundle, "v2", f"pods.test:{port}", names)
            for _ in range(4):
                assert (await predictor.infer(vectors()))["y"].tolist() == [[1.0]]
            await predictor.close()


async def test_an_address_that_answers_nothing_leaves_time_for_another(bundle: Bundle) -> None:
    """What becomes of a pod's address once it is gone: a full backlog takes no connection, and refuses none."""
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server((IPS[0], 0), backlog=0))
        port = silent.getsockname()[1]
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((IPS[0], port))
        for kind, hop in ((RestPredictor, "v2"), (GrpcPredictor, "grpc-v2")):
            async with serving(Pod(1), hop, port):
                names = Names(*IPS[:2])
                config = TransformerConfig(
                    model_dir=Path(bundle.path), predictor_protocol=hop, predictor_timeout_ms=600
                )
                host = f"pods.test:{port}"
                predictor = connect(bundle, config, resolution=names.resolution(host))
                answers = await asyncio.gather(*(predictor.infer(vectors()) for _ in range(8)))
                assert [answer["y"].tolist() for answer in answers] == [[[1.0]]] * 8, kind
                await predictor.close()


@pytest.mark.parametrize("hop", HOPS)
async def test_a_predictor_that_ends_in_an_orderly_way_costs_no_call(bundle: Bundle, hop: str) -> None:
    """Calls go on while a pod ends that the name system still names, and another comes in its place."""
    ports = {"port": free_port(), "grpc_port": free_port()}
    host = f"pods.test:{ports['grpc_port' if hop == 'grpc-v2' else 'port']}"
    answered, enough = 0, asyncio.Semaphore(0)

    async def keep_asking(predictor: PredictorClient) -> None:
        nonlocal answered
        while True:
            await predictor.infer({"x": np.ones((1, len(bundle.signature.inputs[0].columns)), np.float32)})
            answered += 1
            enough.release()

    async def some_more() -> None:
        for _ in range(200):
            await enough.acquire()

    with ExitStack() as stack:
        first, _ = [stack.enter_context(predictor(bundle.path, host=ip, **ports)) for ip in IPS[:2]]
        names = Names(*IPS[:2])
        hop_to = connected(bundle, hop, host, names)
        async with asyncio.TaskGroup() as group:  # a call that fails ends the test
            asking = [group.create_task(keep_asking(hop_to)) for _ in range(6)]
            await some_more()
            first.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(first.process.wait, 60) == 0
            await some_more()
            await names.change(IPS[1])
            await some_more()
            for task in asking:
                task.cancel()
        await hop_to.close()
    assert answered >= 600


async def test_a_call_that_a_leaving_server_does_not_take_is_made_on_a_new_connection(bundle: Bundle) -> None:
    message = protobuf.encode_response(await Pod(0).response())
    answer = (
        http2.frame(http2.HEADERS, http2.END_HEADERS, 1, NO_TABLE + b"\x88")
        + http2.frame(http2.DATA, 0, 1, struct.pack(">BI", 0, len(message)) + message)
        + http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, literal("grpc-status", "0"))
    )
    goaway = http2.frame(http2.GOAWAY, 0, 0, struct.pack(">II", 1, http2.NO_ERROR))
    connections = 0

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"trailers")
        writer.write(http2.frame(http2.SETTINGS, 0, 0, b"") + answer)
        await reader.readuntil(b"trailers")  # the second call is on its way
        writer.write(goaway)
        await reader.read()  # until the other end has closed the connection

    async with broken.listening(leave) as host:
        predictor = GrpcPredictor(Address(host), bundle)
        for calls in (1, 2, 3):
            assert (await predictor.infer(vectors()))["y"].tolist() == [[0.0]]
            assert connections == calls
        await predictor.close()


@pytest.mark.parametrize("kind", [RestPredictor, GrpcPredictor])
async def test_requests_name_the_host_and_not_its_address(bundle: Bundle, kind: Any) -> None:
    head = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head.set_result(await reader.readuntil(b"octet-stream" if kind is RestPredictor else b"trailers"))

    async with broken.listening(listen, IPS[0]) as at:
        host = f"pods.test:{at.rpartition(':')[2]}"
        predictor = kind(Address(host, IPS[0]), bundle)
        with pytest.raises(Unavailable):
            await predictor.infer(vectors())
        await predictor.close()
    assert host.encode() in await head
    assert IPS[0].encode() not in await head


async def test_an_answer_that_closes_its_connection_is_the_last_on_it(bundle: Bundle) -> None:
    connections = 0

    async def last_words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await broken.read_request(reader)
        body, _ = rest.encode_response(await Pod(0).response())
        writer.write(broken.http(200, body, "connection: close"))
        await reader.read()  # until the other end has closed it

    async with broken.listening(last_words) as host:
        predictor = RestPredictor(Address(host), bundle)
        for calls in (1, 2, 3):
            await predictor.infer(vectors())
            assert connections == calls
        await predictor.close()
