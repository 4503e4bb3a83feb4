"""Connections that nobody uses any more, and those that somebody does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from tandem import Bundle
from tandem.oip.uploads import Uploads
from tandem_transformer import exchange
from tandem_transformer.app import TransformerApp
from tandem_transformer.http_protocol import PredictProtocol
from tandem_transformer.service import Service

from .parts import make_service
from .world import good_row

BODY = json.dumps({"instances": [good_row()]}).encode()
PREDICT = b"POST /v1/models/parcels:predict HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
HEALTH = b"GET /v2/health/live HTTP/1.1\r\nHost: t\r\n\r\n"


def protocol_of(service: Service, keep_alive: float = 60, upload_timeout: float = 60) -> partial[PredictProtocol]:
    app = TransformerApp(service)
    config = uvicorn.Config(app, timeout_keep_alive=keep_alive, lifespan="off", log_config=None)  # type: ignore[arg-type]
    config.load()
    uploads = Uploads(max_body_bytes=service.config.max_body_bytes, timeout_s=upload_timeout)
    options = {"config": config, "server_state": ServerState(), "app_state": {}}
    return partial(PredictProtocol, app.endpoints, uploads, service.recorder, **options)


@asynccontextmanager
async def connection(
    bundle: Bundle, keep_alive: float, service: Service | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    service = service or make_service(bundle)
    server = await asyncio.get_running_loop().create_server(protocol_of(service, keep_alive), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield reader, writer
        writer.close()


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(length.partition(b":")[2]))
    return head


async def test_a_connection_that_never_asks_is_closed(bundle: Bundle) -> None:
    async with connection(bundle, 0.01) as (reader, _):
        assert await reader.read() == b""


async def test_a_connection_is_closed_after_its_last_answer(bundle: Bundle) -> None:
    for request in (PREDICT, HEALTH):
        async with connection(bundle, 0.05) as (reader, writer):
            writer.write(request)
            assert b" 200 " in await answer(reader)
            assert await reader.read() == b""


async def test_requests_of_both_kinds_take_turns_on_one_connection(bundle: Bundle) -> None:
    async with connection(bundle, 60) as (reader, writer):
        for _ in range(3):
            for request in (PREDICT, HEALTH):
                writer.write(request)
                assert b" 200 " in await answer(reader)


async def test_the_time_of_an_upload_is_not_latency(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(exchange, "time", SimpleNamespace(perf_counter=lambda: now))
    service = make_service(bundle)
    async with connection(bundle, 60, service=service) as (reader, writer):
        for request in (PREDICT, PREDICT.replace(b":predict", b":predict?q")):
            writer.write(HEALTH + request[:-1])
            await answer(reader)  # so the other has begun
            now += 100.0
            writer.write(request[-1:])
            assert b" 200 " in await answer(reader)
    assert service.recorder.statistics().answered_s == 0.0


class SlowTransport(asyncio.Transport):
    """A transport whose client reads when it is told to.

    Attributes:
        left: Bytes that the client has not read.
        reads: Whether requests are read.
        resumed: Is set when requests are read again.
        aborted: Is set when the connection is cut off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left = 1000
        self.reads = True
        self.resumed = asyncio.Event()
        self.aborted = asyncio.Event()

    def is_closing(self) -> bool:
        return self.aborted.is_set()

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True
        self.resumed.set()

    def get_write_buffer_size(self) -> int:
        self.left -= 300
        return self.left

    def abort(self) -> None:
        self.aborted.set()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


async def test_a_client_that_does_not_read_its_answers_is_not_read_from(bundle: Bundle) -> None:
    transport, protocol = SlowTransport(), protocol_of(make_service(bundle))()
    protocol.connection_made(transport)
    protocol.pause_writing()
    assert not transport.reads
    protocol.resume_writing()
    assert transport.reads
    protocol.connection_lost(ConnectionResetError())


async def test_a_client_whose_body_comes_in_tiny_parts_is_not_read_from_for_a_while(bundle: Bundle) -> None:
    protocols = protocol_of(make_service(bundle))
    transport, usual_transport = SlowTransport(), SlowTransport()
    protocol, usual = protocols(), protocols()
    head = PREDICT.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    for client, connected in ((protocol, transport), (usual, usual_transport)):
        client.connection_made(connected)
        client.data_received(head)
    for _ in range(10):
        protocol.data_received(b"1\r\n \r\n" * 900)
    assert not transport.reads
    for _ in range(1000):
        usual.data_received(b"400\r\n%b\r\n" % bytes(1024))
    assert usual_transport.reads
    await transport.resumed.wait()
    for client in (protocol, usual):
        client.connection_lost(ConnectionResetError())


async def test_a_client_whose_request_comes_byte_by_byte_is_not_read_from_for_a_while(bundle: Bundle) -> None:
    protocols = protocol_of(make_service(bundle))
    transport, protocol = SlowTransport(), protocols()
    protocol.connection_made(transport)
    sent = 0
    while transport.reads:
        protocol.data_received(b"x" if sent else b"POST / HTTP/1.1\r\nx: ")
        sent += 1
        assert sent < 1000
    await transport.resumed.wait()
    protocol.connection_lost(ConnectionResetError())


async def test_a_client_that_reads_nothing_of_its_answers_is_cut_off(bundle: Bundle) -> None:
    transport, protocol = SlowTransport(), protocol_of(make_service(bundle), upload_timeout=0.001)()
    protocol.connection_made(transport)
    protocol.pause_writing()
    while transport.left > 0:  # it reads some
        assert not transport.aborted.is_set()
        await asyncio.sleep(0)
    transport.left = 10**9
    await transport.aborted.wait()
    protocol.connection_lost(ConnectionResetError())
