"""grpcio's asyncio server and client; messages are handed over as bytes."""

from __future__ import annotations

from typing import Any, Final, cast

import grpc

from benchmarks.hop.stack import MAX_MESSAGE, Call, Handler
from tandem.oip.protobuf import INFER_METHOD, SERVICE

_OPTIONS: Final = (("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE))


async def serve(port: int, handler: Handler) -> object:
    """Answer calls."""

    async def answer(message: bytes, _: Any) -> bytes:
        return await handler(message)

    methods = {INFER_METHOD.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(answer)}
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server


async def connect(port: int) -> Call:
    """A connection."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)
    await channel.channel_ready()
    return cast(Call, channel.unary_unary(INFER_METHOD))  # type: ignore[call-arg]
