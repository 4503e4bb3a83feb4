"""Answers that a server over HTTP/1 sends by itself, beside an application, and whether clients read them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from tandem.errors import RequestError
from tandem.oip.uploads import Uploads

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

Refusal = tuple[bytes, list[tuple[bytes, bytes]]]
"""Body and headers of an error."""


def refusal_of(error: RequestError) -> Refusal:
    """Body and headers of an error."""
    headers = [(b"content-type", b"application/json")]
    if error.retry_after is not None:
        # whole seconds (RFC 9110, section 10.2.3), and never 0, which would ask for the next try at once
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    return msgspec.json.encode(error.body()), headers


def refusing(status: int, refusal: Refusal) -> Application:
    """An application that answers with an error."""
    content, headers = refusal
    return partial(_answer, status, [*headers, (b"content-length", b"%d" % len(content))], content)


def last_response(status: int, refusal: Refusal) -> bytes:
    """An error after which the connection is closed, as it is sent."""
    content, headers = refusal
    fields = [*headers, (b"content-length", b"%d" % len(content)), (b"connection", b"close")]
    return b"%b%b\r\n%b" % (STATUS_LINE[status], b"".join(b"%b: %b\r\n" % field for field in fields), content)


def releasing(application: Application, uploads: Uploads, size: int) -> Application:
    """An application that answers as another does, and then holds the body of the request no longer.

    Args:
        application: The other.
        uploads: Where the body is counted.
        size: Bytes that are counted there.
    """
    return partial(_run_and_release, application, uploads, size)


class AnswerWatch:
    """Cuts off a client that reads nothing of its answers for too long.

    Args:
        timeout_s: Seconds in which it must have read something.
    """

    __slots__ = ("_timeout_s", "_timer")

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """The client does not read.

        Args:
            transport: Of its connection.
            loop: Tells the time.
        """
        size = transport.get_write_buffer_size()
        self._timer = loop.call_later(self._timeout_s, self._look, transport, loop, size)

    def stop(self) -> None:
        """The client reads again, or is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, size: int) -> None:
        # less than before means that the client reads, if slowly
        if transport.get_write_buffer_size() >= size:
            transport.abort()
        else:
            self.start(transport, loop)


async def _answer(
    status: int, headers: list[tuple[bytes, bytes]], content: bytes, scope: Any, receive: Receive, send: Send
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _run_and_release(
    application: Application, uploads: Uploads, size: int, scope: Any, receive: Receive, send: Send
) -> None:
    try:
        await application(scope, receive, send)
    finally:
        uploads.release(size)
