"""A kept-alive HTTP/1.1 connection to the predictor, on httptools.

aiohttp spends more than twice as much of the processor on a call, and this is the hop of every batch.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

import httptools

from tandem_transformer.predictors.address import Address


@dataclass(slots=True)
class ReceivedResponse:
    """An answer.

    Attributes:
        status: HTTP status.
        headers: By lower-case name.
        body: The body.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class HttpPool:
    """Connections to one address; each carries one request at a time.

    Args:
        address: Where they lead.
        tls: Call over TLS, and verify the other end so.
        connect_s: Seconds that a connection may take to be made.
    """

    def __init__(self, address: Address, tls: ssl.SSLContext | None, connect_s: float) -> None:
        self._address = address
        self._tls = tls
        self._connect_s = connect_s
        self._idle: list[_Connection] = []

    async def request(self, data: bytes) -> ReceivedResponse:
        """Send a whole request and read its answer.

        A kept-alive connection that the server has just closed is replaced, once.

        Raises:
            OSError: if the host cannot be reached or breaks off.
        """
        connection = self._take()
        if connection is not None:
            try:
                return await self._exchange(connection, data)
            except _ClosedWhileIdle:
                pass
        return await self._exchange(await self._connect(), data)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            connection.transport.close()
        self._idle.clear()

    def _take(self) -> _Connection | None:
        while self._idle:
            # the one used last: it is least likely to have been closed by the server
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        return await self._address.connect(lambda: _Connection(loop), self._tls, self._connect_s)

    async def _exchange(self, connection: _Connection, data: bytes) -> ReceivedResponse:
        try:
            response = await connection.exchange(data)
        except BaseException:
            # an answer may still be on its way: it must not meet the next request
            connection.transport.abort()
            raise
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.transport.close()
        return response


class _ClosedWhileIdle(ConnectionError):
    """The server closed the connection before the first byte of an answer."""


@dataclass(slots=True, eq=False)
class _Connection(asyncio.Protocol):
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport = field(init=False)
    reusable: bool = True
    _answer: asyncio.Future[ReceivedResponse] | None = None
    _parser: httptools.HttpResponseParser = field(init=False)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _body: list[bytes] = field(default_factory=list)
    _begun: bool = False
    _used: bool = False

    def exchange(self, data: bytes) -> asyncio.Future[ReceivedResponse]:
        self._answer = self.loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body, self._begun = {}, [], False
        self.transport.write(data)
        return self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the answer is not HTTP: {error}"))
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        # a new connection that breaks off is a failure: the server did not just close an idle one
        broken_off = _ClosedWhileIdle if self._used and not self._begun else ConnectionError
        self._fail(broken_off("the connection was closed before the answer was complete"))

    # what httptools calls while it reads an answer

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._used = True
        self.reusable = self._parser.should_keep_alive()
        # most answers arrive in one piece, which is then not copied
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(ReceivedResponse(self._parser.get_status_code(), self._headers, body))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
