"""HTTP/1 as both containers serve it: uvicorn's protocol, which starts a request once it is there as a whole.

A client may take its time with a request, and that is nobody's load: a request counts, is admitted and is measured from
its last byte on. Until then it costs what :class:`~tandem.oip.uploads.Uploads` allows: it has a deadline, and its bytes
have a budget. A request that is refused before its end is answered at once, and what follows of it is dropped.

A client may offer another protocol with any request (RFC 9110, section 7.8), as the HTTP clients of Java and Spring and
``curl --http2`` do with their first one. A server that does not take the offer answers the request as it is. The parser
stops at the end of such a head, and what follows would be read as another request although it is the body of this one.
So the head is parsed once more without the offer, by a parser that then reads the body.

Needs the packages uvicorn and httptools, which the containers have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tandem.errors import HeadTooLarge, MalformedRequest, RequestError, UploadTimeout
from tandem.oip.uploads import MAX_HEAD_BYTES, Uploads

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

Refusal = tuple[bytes, list[tuple[bytes, bytes]]]
"""Body and headers of an error."""

_OFFER: Final = frozenset((b"upgrade", b"http2-settings"))
_UNSTARTABLE: Final = (httptools.HttpParserError, UnicodeError)
"""What uvicorn raises for a head that the parser has taken, such as a target that is no URL."""

_BETWEEN, _HEAD, _BODY, _REFUSED = range(4)
"""Where in a request a connection is: between two, in the head, in the body, in what follows of one that is refused."""


class Http1Protocol(HttpToolsProtocol):
    """uvicorn's protocol for one connection, without upgrades.

    Args:
        uploads: Limits of the process.
        options: Those of uvicorn's protocol.

    Attributes:
        idle_since: When the last answer was complete, on the event loop's clock.
        is_last: Whether the server stops, and takes no request after the one that is on its way.
    """

    def __init__(self, uploads: Uploads, **options: Any) -> None:
        super().__init__(**options)
        self.idle_since = self.loop.time()
        self.headers = []
        self._uploads = uploads
        self._place = _BETWEEN
        self._body: bytes | bytearray = b""
        self._held = 0
        self._read_size = 0
        self._unread = 0
        self._announced = False
        self.is_last = False
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    # what the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        if len(self.connections) > self._uploads.max_connections:
            idle = [other for other in self.connections if isinstance(other, Http1Protocol) and other.is_idle()]
            min(idle, key=lambda other: other.idle_since).transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or was told to go."""
        super().connection_lost(exc)
        self._forget()
        if self._stuck is not None:
            self._stuck.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; a request whose framing is wrong ends the connection."""
        self._unset_keepalive_if_required()
        self._read_size = len(data)
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                self._parse_without_offer()
                rest = rest[offer.args[0] :]
            except httptools.HttpParserError:
                self._refuse()
                return
            else:
                break
        if self._place != _BETWEEN:
            self._unread += self._read_size
            self._or_end(self._wait_for_rest)

    def pause_writing(self) -> None:
        """The client does not read its answers: read no more requests of it, nor wait for it forever."""
        super().pause_writing()
        if not self.transport.is_closing():
            self.flow.pause_reading()
        self._stuck = self.loop.call_later(self._uploads.timeout_s, self._abort_if_stuck, self._left_to_write())

    def resume_writing(self) -> None:
        """The client has read most of its answers."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
        if not self.pipeline and not self.transport.is_closing():
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """The server stops: a request of which something has arrived is the last one."""
        if self._place in (_HEAD, _BODY):
            self.is_last = True
        else:
            super().shutdown()

    def is_idle(self) -> bool:
        """Whether there is neither a request on its way nor an answer."""
        return self._place == _BETWEEN and (self.cycle is None or self.cycle.response_complete)

    # what httptools calls while it reads a request

    def on_message_begin(self) -> None:
        """A request begins."""
        # uvicorn prepares a scope here, which comes once the request is there
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._body = b""
        self._unread = -self._read_size
        self._announced = False
        self._place = _HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is there; one that follows a body says nothing (RFC 9110, section 6.5.1)."""
        if self._place == _HEAD:
            # as uvicorn does; a call of its method for each header would cost more than the rest
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("CONNECT asks for a tunnel, which only a proxy can be")
        if self.parser.should_upgrade():
            return
        self._place = _BODY
        if max(self._unread, 0) + self._read_size > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            self._refuse_rest(_head_too_large(), keep_alive=False)

    def on_body(self, body: bytes) -> None:
        """A part of its body is there."""
        self._unread = -self._read_size
        if self._place != _BODY:
            return
        if not self._body:
            self._body = body
        elif isinstance(self._body, bytes):
            self._body = bytearray(self._body) + body
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """A request is there as a whole."""
        if self.parser.should_upgrade():
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        place, self._place = self._place, _BETWEEN
        if place == _REFUSED:
            self.cycle.more_body = False
            return
        try:
            self._uploads.check_length(len(self._body))
        except RequestError as error:
            self._refuse_rest(error)
            self.cycle.more_body = False
            self._place = _BETWEEN
            return
        body, held = self._body, self._held
        self._body, self._held = b"", 0
        self.on_request(body if isinstance(body, bytes) else bytes(body), held)

    # what comes of it

    def on_request(self, body: bytes, held: int) -> None:
        """A request is there as a whole: start the application.

        Args:
            body: Its body.
            held: Bytes to release in ``uploads`` when it is answered.
        """
        run: Application = self.app
        if held:
            run = partial(_run_and_release, run, self._uploads, held)
        self._start(run)
        self.cycle.body = body  # type: ignore[assignment]
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def refusal(self, error: RequestError) -> Refusal:
        """Body and headers of the answer to a request that is refused before it is there.

        Args:
            error: Why.
        """
        headers = [(b"content-type", b"application/json")]
        if error.retry_after is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
        return msgspec.json.encode(error.body()), headers

    def on_response_complete(self) -> None:
        """A request is answered."""
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def _start(self, run: Application) -> None:
        """Let an application answer, after those of earlier requests on this connection."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.scope["headers"] = self.headers = headers
        own, self.app = self.app, run
        try:
            super().on_headers_complete()
        finally:
            self.app = own
        if self.is_last:
            self.cycle.keep_alive = False

    def _wait_for_rest(self) -> None:
        """A request has arrived in part: see that the rest comes in time, and that it does not become too much."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._uploads.timeout_s, self._expire)
        if self._unread > MAX_HEAD_BYTES and self._place != _REFUSED:
            # of the head, or what a client adds to chunks and after them, none of which is body
            self._end(_head_too_large())
        elif self._place == _BODY:
            try:
                if not self._announced:
                    self._read_announcement()
                self._uploads.check_length(len(self._body))
                self._uploads.reserve(len(self._body) - self._held)
                self._held = len(self._body)
            except RequestError as error:
                # a client that waits to be asked for the body may not send it now, but another request
                self._refuse_rest(error, keep_alive=not self.expect_100_continue)

    def _read_announcement(self) -> None:
        """What the head says of a body that is not there yet.

        Raises:
            RequestTooLarge: The body will be too long.
        """
        self._announced = True
        length = dict(self.headers).get(b"content-length")
        if length is not None:
            self._uploads.check_length(int(length))
        if self.expect_100_continue and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse_rest(self, error: RequestError, *, keep_alive: bool = True) -> None:
        """Answer a request before its end, and drop what follows of it."""
        self._body = b""
        self._release()
        content, headers = self.refusal(error)
        headers.append((b"content-length", b"%d" % len(content)))
        self._start(partial(_answer, error.status, headers, content))
        self._place = _REFUSED
        if not keep_alive:
            self.cycle.keep_alive = False

    def _expire(self) -> None:
        """The request did not come in time."""
        self._deadline = None
        error = UploadTimeout(f"the request did not arrive within {self._uploads.timeout_s:g} seconds")
        if self._place == _BODY:
            self._or_end(partial(self._refuse_rest, error, keep_alive=False))
        else:
            self._end(error)

    def _or_end(self, step: Callable[[], None]) -> None:
        """Go on with a request; one that uvicorn cannot start ends the connection, as it does among the callbacks."""
        try:
            step()
        except _UNSTARTABLE:
            self._refuse()

    def _forget(self) -> None:
        """Nothing more will come of the request that is on its way."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._body = b""
        self._release()

    def _release(self) -> None:
        self._uploads.release(self._held)
        self._held = 0

    def _left_to_write(self) -> int:
        return self.transport.get_write_buffer_size()

    def _abort_if_stuck(self, before: int) -> None:
        left = self._left_to_write()
        if left >= before:
            self.transport.abort()
        else:
            self._stuck = self.loop.call_later(self._uploads.timeout_s, self._abort_if_stuck, left)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _parse_without_offer(self) -> None:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                value = b", ".join(option for option in options if option.lower() not in _OFFER)
            if name not in _OFFER:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        # as uvicorn sets its own parser: what follows the last request of a connection is not an error of it
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join((*lines, b"", b"")))

    def _refuse(self) -> None:
        self._end(MalformedRequest("the request is not valid HTTP/1.1"))

    def _end(self, error: RequestError) -> None:
        """Answer with an error and close; only close where the answer could be taken for that of another request."""
        if self._place != _REFUSED and (self.cycle is None or self.cycle.response_complete):
            content, headers = self.refusal(error)
            headers += [(b"content-length", b"%d" % len(content)), (b"connection", b"close")]
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[error.status], lines, content))
        self.transport.close()
        self._place = _REFUSED
        self._forget()


async def _answer(
    status: int, headers: list[tuple[bytes, bytes]], content: bytes, scope: Any, receive: Receive, send: Send
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _run_and_release(
    run: Application, uploads: Uploads, held: int, scope: Any, receive: Receive, send: Send
) -> None:
    try:
        await run(scope, receive, send)
    finally:
        uploads.release(held)


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"the request line and headers are longer than {MAX_HEAD_BYTES} bytes")
