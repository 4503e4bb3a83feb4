"""Our own HTTP/2: the server of the predictor and the client of the transformer."""

from __future__ import annotations

import socket

from benchmarks.hop.stack import MAX_MESSAGE, Call, Handler
from tandem.oip.grpc_methods import CallContext, Method
from tandem.oip.grpc_server import GrpcServer
from tandem.oip.protobuf import INFER_METHOD
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.http2_connection import CallingConnection


async def serve(port: int, handler: Handler) -> GrpcServer:
    """Answer calls."""

    async def answer(message: bytes, _: CallContext) -> bytes:
        return await handler(message)

    server = GrpcServer({INFER_METHOD: Method(answer, MAX_MESSAGE)})
    await server.start(socket.create_server(("127.0.0.1", port)))
    return server


async def connect(port: int) -> Call:
    """A connection."""
    connection = await CallingConnection.open(Address(f"127.0.0.1:{port}"), INFER_METHOD, connect_s=10.0)

    async def call(message: bytes) -> bytes:
        response = await connection.call(message)
        if response.status:
            raise ConnectionError(f"status {response.status}: {response.message}")
        return response.content

    return call
