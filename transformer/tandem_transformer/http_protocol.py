"""A short cut for predict requests through uvicorn's HTTP protocol.

uvicorn runs each request as a task through an ASGI application: a scope, a cycle, an event, two messages each way, and
one system call for the head of the response and another for its body. On the small requests of a predict route that is
most of the work there is. So a plain POST to one of these routes goes from the parser to its :class:`Exchange` and from
the answer to the socket at once. Whatever is not plain takes uvicorn's way, to the ASGI endpoint of the same route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from http import HTTPStatus
from typing import Any

from tandem.errors import RequestError
from tandem.oip.http1 import Http1Protocol
from tandem.oip.http1_answers import Refusal
from tandem.oip.uploads import Uploads
from tandem_transformer.exchange import Exchange
from tandem_transformer.headers import Headers, request_id_of
from tandem_transformer.http import PredictEndpoint
from tandem_transformer.http_responses import HttpResponse, error_reply, log_error
from tandem_transformer.metrics import Recorder

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class PredictProtocol(Http1Protocol):
    """uvicorn's protocol with the short cut.

    Args:
        endpoints: Predict endpoints by path.
        uploads: Limits of the process.
        recorder: Counts requests that are refused before they are there.
        options: Those of uvicorn's protocol.
    """

    def __init__(
        self, endpoints: Mapping[bytes, PredictEndpoint], uploads: Uploads, recorder: Recorder, **options: Any
    ) -> None:
        super().__init__(uploads, **options)
        self._endpoints = endpoints
        self._recorder = recorder

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        # one timer for the whole connection, which looks again if there were answers since
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by the client or by the server."""
        super().connection_lost(exc)
        self._idle_timer.cancel()

    def on_request(self, body: bytes, held: int) -> None:
        """A request is there as a whole: take the short cut, or go on as uvicorn does."""
        endpoint = self._endpoints.get(self.url)
        if (
            endpoint is not None
            and self.parser.get_method() == b"POST"
            # a pipelined request has to wait for the answers before it, which uvicorn sees to
            and (self.cycle is None or self.cycle.response_complete)
        ):
            self.cycle = cycle = _Cycle(self, endpoint, dict(self.headers), held)  # type: ignore[assignment]
            cycle.start(body)
        else:
            super().on_request(body, held)

    def refusal(self, error: RequestError) -> Refusal:
        """Body and headers of the answer to a request that is refused before it is there."""
        request_id = request_id_of(dict(self.headers))
        log_error(error, request_id)
        if self.url in self._endpoints:
            self._recorder.refused(error.status)
        content, headers = error_reply(error, request_id)
        headers.append((b"x-request-id", request_id))
        return content, headers

    def on_response_complete(self) -> None:
        """A request is answered; uvicorn would set a timer for each, and cancel it at the next."""
        if self.pipeline or not isinstance(self.cycle, _Cycle):
            super().on_response_complete()
        else:
            self.idle_since = self.loop.time()
            self.server_state.total_requests += 1

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        """Run a part of a request that waits for something; the server ends no sooner."""
        task = self.loop.create_task(step)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def release(self, held: int) -> None:
        """The body of a request is not needed any more."""
        self._uploads.release(held)

    def _close_if_idle(self) -> None:
        remaining_s: float = self.timeout_keep_alive
        if self.is_idle():
            remaining_s += self.idle_since - self.loop.time()
        if remaining_s > 0:
            self._idle_timer = self.loop.call_later(remaining_s, self._close_if_idle)
        else:
            self.timeout_keep_alive_handler()


class _NoEvent:
    """uvicorn notifies the task of a cycle by an event; here no task waits."""

    def set(self) -> None:
        pass


class _Cycle:
    """One exchange on a connection, with the attributes that uvicorn's protocol looks at in a cycle of its own."""

    __slots__ = ("_exchange", "_held", "_protocol", "disconnected", "keep_alive", "response_complete")
    message_event = _NoEvent()

    def __init__(self, protocol: PredictProtocol, endpoint: PredictEndpoint, headers: Headers, held: int) -> None:
        self._protocol = protocol
        self._exchange = Exchange(endpoint.service, endpoint.codec, protocol.url, headers)
        self._held = held
        self.disconnected = False
        self.response_complete = False
        parser = protocol.parser
        self.keep_alive = parser.get_http_version() != "1.0" and parser.should_keep_alive() and not protocol.is_last

    def start(self, body: bytes) -> None:
        """Read the body and ask for an answer."""
        try:
            self._exchange.admit()
            if self._exchange.is_long(body):
                self._protocol.run(self._start_long(body))
                return
            call = self._exchange.ask(body)
        except Exception as error:
            self._send(self._exchange.refuse(error))
        else:
            call.answer.add_done_callback(self._answered)

    async def _start_long(self, body: bytes) -> None:
        try:
            call = await self._exchange.ask_long(body)
        except Exception as error:
            self._send(self._exchange.refuse(error))
        else:
            call.answer.add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        self._send(self._exchange.respond())

    def _send(self, response: HttpResponse) -> None:
        # ahead of all else: what a client that is gone has sent is not needed either
        if self._held:
            self._protocol.release(self._held)
        if self.disconnected:
            return
        # head and body in one write: one system call, and one packet for a small answer
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
