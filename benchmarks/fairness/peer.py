"""An attacker's connection and its rate."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_BURST_S: Final = 0.05
_PIECE: Final = 65_536


class Rate:
    """Bytes that one client may send, over all of its connections.

    Args:
        per_second: Bytes.
    """

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._due = time.monotonic()
        self.sent = 0

    async def take(self, size: int) -> None:
        """Wait until so many bytes more may be sent."""
        self.sent += size
        now = time.monotonic()
        self._due = max(self._due, now - _BURST_S) + size / self._per_second
        await asyncio.sleep(max(0.0, self._due - now))


class Peer:
    """A connection to the server.

    Args:
        rate: Of the client.
        reader: What the server sends.
        writer: What the server is sent.
    """

    def __init__(self, rate: Rate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._rate, self._reader, self._writer = rate, reader, writer

    async def send(self, data: bytes, *, piece: int = _PIECE) -> None:
        """Send at the client's rate, in pieces of some size, each a segment of its own.

        Raises:
            ConnectionError: The server has closed.
        """
        for at in range(0, len(data), piece):
            part = data[at : at + piece]
            await self._rate.take(len(part))
            if self._reader.at_eof() or self._writer.is_closing():
                raise ConnectionError("closed")
            self._writer.write(part)
            await self._writer.drain()

    async def read(self) -> None:
        """Wait for something of an answer.

        Raises:
            ConnectionError: The server has closed.
        """
        if not await self._reader.read(_PIECE):
            raise ConnectionError("closed")

    async def ignore(self) -> None:
        """Read whatever comes, for as long as something does."""
        while await self._reader.read(_PIECE):
            pass

    async def hold(self) -> None:
        """Read nothing and send nothing until the server closes.

        Raises:
            ConnectionError: It has.
        """
        await self.ignore()
        raise ConnectionError("closed")


@asynccontextmanager
async def connected(port: int, rate: Rate, *, reads: bool = True) -> AsyncIterator[Peer]:
    """A connection.

    Args:
        port: Of the server.
        rate: Of the client.
        reads: Whether what comes is read beside what is sent; otherwise the attack says when.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer = Peer(rate, reader, writer)
    reading = asyncio.create_task(peer.ignore()) if reads else None
    try:
        yield peer
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
            reading.cancelled() or reading.exception()
        writer.transport.abort()
