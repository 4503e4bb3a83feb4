"""One connection to the store: redis-py connects and authenticates, then commands go straight to the transport.

redis-py's asyncio side reads from a stream and checks the connection before each command, which takes longer than the
round trip of a small lookup.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

END_S: Final = 1.0
"""Most seconds that the end of a connection is waited for."""

_ERRORS = {
    "NOAUTH": AuthenticationError,
    "WRONGPASS": AuthenticationError,
    "NOPERM": NoPermissionError,
    "NOSCRIPT": NoScriptError,
    "MOVED": MovedError,
    "ASK": AskError,
}


class RedisConnection(asyncio.Protocol):
    """A connection for one call at a time.

    Args:
        connection: Is connected and authenticated, and closes the transport.
        transport: Its transport.

    Attributes:
        usable: Whether it can take another call: the server has neither closed it nor sent what no call asked for.
    """

    def __init__(self, connection: AbstractConnection, transport: asyncio.WriteTransport) -> None:
        self.usable = True
        self._connection = connection
        self._transport = transport
        self._parser = hiredis.Reader()
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[list[Any]] | None = None
        self._expected = 0
        self._replies: list[Any] = []
        self._keeps_errors = False
        self._lost = asyncio.Event()

    @classmethod
    async def open(cls, connection: AbstractConnection) -> RedisConnection:
        """Connect and authenticate.

        Raises:
            RedisError: The server cannot be reached, or refuses.
        """
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        assert connection._writer is not None  # noqa: S101 (it is connected)
        transport = connection._writer.transport
        opened = cls(connection, transport)
        # all replies of the handshake are read, so that its stream has nothing left
        transport.set_protocol(opened)
        return opened

    def call(self, commands: bytes, replies: int) -> asyncio.Future[list[Any]]:
        """Send packed commands.

        Args:
            commands: One or more.
            replies: How many there are.

        Returns:
            Their replies. Fails with ``RedisError`` where the server refuses one of them, and with ``OSError`` where
            the connection is lost.
        """
        self._waiter = self._loop.create_future()
        self._expected, self._replies = replies, []
        self._transport.write(commands)
        return self._waiter

    async def call_each(self, commands: bytes, replies: int) -> list[Any]:
        """Send packed commands that may fail one by one.

        Returns:
            Their replies, in place of which may be a ``RedisError``.

        Raises:
            OSError: The connection is lost.
        """
        self._keeps_errors = True
        try:
            results = await self.call(commands, replies)
        finally:
            self._keeps_errors = False
        return [_exception(str(reply)) if isinstance(reply, hiredis.ReplyError) else reply for reply in results]

    async def close(self) -> None:
        """Close it, without waiting for replies."""
        self.usable = False
        await self._connection.disconnect(nowait=True)

    async def end(self) -> None:
        """Close it, and wait until it is closed: with TLS, both sides say so."""
        await self.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await self._lost.wait()

    def data_received(self, data: bytes) -> None:
        """Take replies."""
        waiter = self._waiter
        if waiter is None:
            # most likely the reason why the server closes the connection
            self.usable = False
            return
        try:
            self._parser.feed(data)
            while len(self._replies) < self._expected:
                reply = self._parser.gets()
                if reply is False:
                    return
                self._replies.append(reply)
        except hiredis.HiredisError as error:
            self._fail(ConnectionError(str(error)))
            return
        self._waiter = None
        if not waiter.done():
            refusal = next((reply for reply in self._replies if isinstance(reply, hiredis.ReplyError)), None)
            if refusal is None or self._keeps_errors:
                waiter.set_result(self._replies)
            else:
                waiter.set_exception(_exception(str(refusal)))

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed the connection, or it broke."""
        self._lost.set()
        self._fail(exc if isinstance(exc, OSError) else ConnectionError("the connection was closed"))

    def _fail(self, error: OSError) -> None:
        self.usable = False
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)


def _exception(message: str) -> RedisError:
    """The exception that redis-py raises for an error of the server."""
    word, _, text = message.partition(" ")
    kind = _ERRORS.get(word)
    return ResponseError(message) if kind is None else kind(text)
