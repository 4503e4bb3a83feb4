"""uvicorn's HTTP protocol with one system call per answer instead of two.

uvicorn writes head and body of a response separately, and uvloop sends each at once: the transformer at the other end
would wake up twice for every answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from tandem.errors import RequestError
from tandem.oip.http1 import Http1Protocol
from tandem.oip.http1_answers import Refusal
from tandem.oip.uploads import Uploads


class CorkedProtocol(Http1Protocol):
    """uvicorn's protocol over a :class:`CorkedTransport`.

    Args:
        uploads: Limits of the process.
        count: Counts a request that is refused before it is there, by the code of the error.
        options: Those of uvicorn's protocol.
    """

    def __init__(self, uploads: Uploads, count: Callable[[str], None], **options: Any) -> None:
        super().__init__(uploads, **options)
        self._count = count

    def refusal(self, error: RequestError) -> Refusal:
        """Body and headers of the answer to a request that is refused before it is there."""
        self._count(error.code)
        return super().refusal(error)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(cast(asyncio.Transport, CorkedTransport(transport, self.loop)))


class CorkedTransport:
    """A transport that sends all that is written in one turn of the event loop at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send at the end of this turn."""
        if not self._parts:
            self._call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Send what is left, then close."""
        self._flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """How many bytes are not sent yet."""
        return sum(map(len, self._parts)) + self._transport.get_write_buffer_size()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
