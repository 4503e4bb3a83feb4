"""Connections that nobody uses any more, and those that somebody does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from uvicorn.server import ServerState

from tandem import Bundle
from tandem.oip.uploads import Uploads
from tandem_transformer.app import App
from tandem_transformer.http_protocol import PredictProtocol

from .parts import make_service
from .world import good_row

BODY = json.dumps({"instances": [good_row()]}).encode()
PREDICT = b"POST /v1/models/parcels:predict HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
HEALTH = b"GET /v2/health/live HTTP/1.1\r\nHost: t\r\n\r\n"


@asynccontextmanager
async def connection(
    bundle: Bundle, keep_alive: float
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    service = make_service(bundle)
    app = App(service)
    config = uvicorn.Config(app, timeout_keep_alive=keep_alive, lifespan="off", log_config=None)  # type: ignore[arg-type]
    config.load()
    uploads = Uploads(max_body_bytes=service.config.max_body_bytes)
    protocol = partial(PredictProtocol, app.endpoints, uploads, service.recorder)
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
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
