"""A gRPC server on an event loop. Needs the extra ``grpc``."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from tandem.oip import protobuf
from tandem.oip.budgets import Allowance, Backlog, shared_overhead
from tandem.oip.grpc_connection import ServingConnection
from tandem.oip.grpc_methods import CallContext, Method, StreamHandler
from tandem.oip.health import SERVICE as HEALTH
from tandem.oip.health import Health
from tandem.oip.reflection import SERVICES as REFLECTION
from tandem.oip.reflection import reflect

IDLE_S: Final = 3700
"""An idle connection is closed after this time, later than any gateway in front would do it (Envoy: an hour)."""

_CHECKS: Final = 6


class GrpcServer:
    """Serves calls.

    Args:
        methods: What answers unary calls, by the full path of the method; responses have no limit.
        streams: What answers other calls, by the full path of the method.
        max_buffered_bytes: Bytes of unfinished requests and of answers that are not taken that may be held at once, and
            as many of requests that are being answered.
        timeout_s: Seconds for a client to send a request, or to take an answer; about that, since it is looked for what
            clients have left lying six times in it.
        max_connections: Connections at once; of more, the one that was idle for longest is closed.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        streams: Mapping[str, StreamHandler] = MappingProxyType({}),
        *,
        max_buffered_bytes: int = 2**27,
        timeout_s: float = 30.0,
        max_connections: int = 4096,
    ) -> None:
        self._methods = methods
        self._streams = streams
        self._check_s = max(timeout_s / _CHECKS, 0.1)
        self._max_connections = max_connections
        self._backlog = Backlog(max_buffered_bytes)
        self._connections: dict[ServingConnection, None] = {}  # the oldest first
        self._overhead: Allowance
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._all_closed = asyncio.Event()

    async def start(self, listener: socket.socket) -> None:
        """Serve the connections that a listening socket accepts."""
        self._overhead = shared_overhead(asyncio.get_running_loop().time)
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=listener)
        self._check_connections()

    async def stop(self, grace: float) -> None:
        """Let calls under way end, for at most ``grace`` seconds; clients are asked to connect elsewhere."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            try:
                await asyncio.wait_for(self._all_closed.wait(), grace)
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()
        if self._timer is not None:
            self._timer.cancel()

    def _check_connections(self) -> None:
        for connection in list(self._connections):
            connection.check(int(IDLE_S / self._check_s))
        self._timer = asyncio.get_running_loop().call_later(self._check_s, self._check_connections)

    def _connection(self) -> ServingConnection:
        connection = ServingConnection(self._methods, self._streams, self._backlog, self._overhead, self._closed)
        self._connections[connection] = None
        # a client whose connection comes in while others close is waited for too
        self._all_closed.clear()
        # not at once: asyncio calls this before the newcomer has a transport
        if len(self._connections) > self._max_connections:
            asyncio.get_running_loop().call_soon(self._make_room, connection)
        return connection

    def _make_room(self, newcomer: ServingConnection) -> None:
        idle = [connection for connection in self._connections if connection.connected and not connection.streams]
        if idle:
            max(idle, key=lambda connection: connection.quiet_checks).retire()
        else:
            # one turn later: only then has asyncio told the newcomer that it is connected
            asyncio.get_running_loop().call_soon(newcomer.retire)

    def _closed(self, connection: ServingConnection) -> None:
        self._connections.pop(connection, None)
        if not self._connections:
            self._all_closed.set()


def method(answer: Callable[[Any], Awaitable[Any]], request: Any) -> Method:
    """A method that infers nothing.

    Args:
        answer: From a request to a response, both as protobuf messages.
        request: The class of the request.
    """

    async def handler(message: bytes, _: CallContext) -> bytes:
        response: bytes = (await answer(protobuf.parse(request, message))).SerializeToString()
        return response

    return Method(handler)


def health_methods(health: Health) -> Mapping[str, Method]:
    """Unary methods of health checks, by their full path."""

    async def check(message: bytes, _: CallContext) -> bytes:
        return await health.check(message)

    async def list_all(message: bytes, _: CallContext) -> bytes:
        return await health.list(message)

    return {f"/{HEALTH}/Check": Method(check), f"/{HEALTH}/List": Method(list_all)}


def stream_handlers(health: Health) -> Mapping[str, StreamHandler]:
    """All methods that stream, of health checks and of reflection, by their full path."""
    reflection = {f"/{name}/ServerReflectionInfo": reflect for name in REFLECTION}
    return {f"/{HEALTH}/Watch": health.watch, **reflection}
