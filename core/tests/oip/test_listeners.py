"""Ports that are asked whether they answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip import protobuf
from tandem.oip.grpc_server import GrpcServer, method
from tandem.oip.listeners import Listener, grpc_listener, http_listener, watch


async def answer_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def both() -> AsyncIterator[tuple[GrpcServer, asyncio.Server, list[Listener]]]:
    async def live(_: object) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    rpc = GrpcServer({f"/{protobuf.SERVICE}/ServerLive": method(live, pb.ServerLiveRequest)})
    listener = socket.create_server(("127.0.0.1", 0))
    ports = [listener.getsockname()[1]]
    await rpc.start(listener)
    http = await asyncio.start_server(answer_http, "127.0.0.1", 0)
    ports.append(http.sockets[0].getsockname()[1])
    yield rpc, http, [grpc_listener("0.0.0.0", ports[0]), http_listener("127.0.0.1", ports[1])]
    http.close()
    await rpc.stop(0)


async def test_ports_that_answer_are_there() -> None:
    async with both() as (_, _, listeners):
        rounds: list[bool] = []

        async def sleep(_: float) -> None:
            if len(rounds) == 5:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await watch(listeners, rounds.append, sleep=sleep)
        assert rounds == [True] * 5


@pytest.mark.parametrize("index", [0, 1])
async def test_a_port_that_is_lost_is_told_at_once_and_given_up_after_three_rounds(index: int) -> None:
    async with both() as (rpc, http, listeners):
        rounds: list[bool] = []

        async def sleep(_: float) -> None:
            if len(rounds) == 2:
                await rpc.stop(0) if index == 0 else http.close()

        with pytest.raises(ConnectionError, match=f"port {listeners[index].port} does not answer any more"):
            await watch(listeners, rounds.append, sleep=sleep)
        assert rounds == [True, True, False, False]


async def test_a_port_that_hangs_up_is_lost() -> None:
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    listener = http_listener("127.0.0.1", server.sockets[0].getsockname()[1])
    with pytest.raises(ConnectionError):
        await watch([listener], lambda _: None, sleep=lambda _: asyncio.sleep(0))
    server.close()
