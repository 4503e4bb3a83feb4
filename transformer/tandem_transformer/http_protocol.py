"""A short cut for predict requests through uvicorn's HTTP protocol.

uvicorn runs each request as a task through an ASGI application: a scope, a cycle, an event, two messages each way, and
one system call for the head of the response and another for its body. On the small requests of a predict route that is
most of the work there is. So a plain POST to one of these routes goes from the parser to its :class:`Exchange` and from
the answer to the socket at once. Whatever is not plain takes uvicorn's way, to the ASGI endpoint of the same route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tandem.oip.http1 import Http1Protocol
from tandem_transformer.exchange import Exchange, Headers, HttpResponse, is_number
from tandem_transformer.http import PredictEndpoint

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class PredictProtocol(Http1Protocol):
    """uvicorn's protocol with the short cut.

    Args:
        endpoints: Predict endpoints by path.
        options: Those of uvicorn's protocol.
    """

    def __init__(self, endpoints: Mapping[bytes, PredictEndpoint], **options: Any) -> None:
        super().__init__(**options)
        self._endpoints = endpoints

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._answered_at = self.loop.time()
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or was told to go."""
        super().connection_lost(exc)
        self._idle_timer.cancel()
        if isinstance(self.cycle, _Cycle):
            self.cycle.abandon()

    # what httptools calls while it reads a request

    def on_message_begin(self) -> None:
        """A request begins."""
        # uvicorn prepares a scope here, which the short cut does without
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_head(self) -> None:
        """Its head is there: take the short cut, or go on as uvicorn does."""
        endpoint = self._endpoints.get(self.url)
        headers = dict(self.headers)
        if endpoint is not None and self._is_plain(headers, endpoint.max_body_bytes):
            self.cycle = _Cycle(self, endpoint, headers)  # type: ignore[assignment]
            return
        url, collected, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(collected)
        super().on_head()

    def on_body(self, body: bytes) -> None:
        """A part of its body is there."""
        if isinstance(self.cycle, _Cycle):
            # its length is known and allowed: uvicorn would stop reading until somebody asks for more
            self.cycle.body += body
        else:
            super().on_body(body)

    def on_request(self) -> None:
        """It is there as a whole."""
        super().on_request()
        if isinstance(self.cycle, _Cycle):
            self.cycle.start()

    def on_response_complete(self) -> None:
        """A request is answered; uvicorn would set a timer for each, and cancel it at the next."""
        self._answered_at = self.loop.time()
        if self.pipeline or not isinstance(self.cycle, _Cycle):
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()

    def _close_if_idle(self) -> None:
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            left = self.timeout_keep_alive
        if left > 0:
            self._idle_timer = self.loop.call_later(left, self._close_if_idle)
        else:
            self.timeout_keep_alive_handler()

    def _is_plain(self, headers: Headers, max_body_bytes: int) -> bool:
        length = headers.get(b"content-length")
        return (
            length is not None
            and is_number(length)
            and int(length) <= max_body_bytes
            and not self.expect_100_continue
            and self.parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
        )


class _NoEvent:
    """uvicorn tells a cycle's task of news by an event; here no task waits."""

    def set(self) -> None:
        pass


class _Cycle:
    """One exchange on a connection, with the attributes that uvicorn's protocol looks at in a cycle of its own."""

    __slots__ = ("_exchange", "_protocol", "body", "disconnected", "keep_alive", "more_body", "response_complete")
    message_event = _NoEvent()

    def __init__(self, protocol: PredictProtocol, endpoint: PredictEndpoint, headers: Headers) -> None:
        self._protocol = protocol
        self._exchange = Exchange(endpoint.service, endpoint.codec, protocol.url.decode("latin-1"), headers)
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = protocol.parser.get_http_version() != "1.0" and protocol.parser.should_keep_alive()

    def abandon(self) -> None:
        """There will be no more; a request that is there as a whole is answered all the same."""
        if self.more_body:
            self.more_body = False
            self._exchange.abandon()

    def start(self) -> None:
        """The body is there."""
        try:
            self._exchange.admit()
            call = self._exchange.ask(self.body)
        except Exception as error:
            self._send(self._exchange.refuse(error))
        else:
            call.answer.add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        response = self._exchange.respond()
        if not self.disconnected:
            self._send(response)

    def _send(self, response: HttpResponse) -> None:
        lines = [_STATUS_LINES[response.status]]
        lines += [b"%b: %b\r\n" % header for header in response.headers]
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        lines.append(response.content)
        self.response_complete = True
        transport = self._protocol.transport
        transport.write(b"".join(lines))
        if not self.keep_alive:
            transport.close()
        self._protocol.on_response_complete()
