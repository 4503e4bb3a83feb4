"""HTTP/1 as both containers serve it: uvicorn's protocol, which starts a request once it is there as a whole.

A slow upload is not load: a request counts, is admitted and is measured from its last byte on. Until then it costs
what :class:`~tandem.oip.uploads.Uploads` allows: it has a deadline, and its bytes have a budget. A request that is
refused before its end is answered at once, and what follows of it is dropped.

    http1_connection    uvicorn's protocol, without upgrades        Http1Connection
    uploads             what requests on their way may cost         Uploads, Upload
    http1_heads         heads of requests
    http1_parts         the cost of requests in many small parts    PartMeter
    http1_answers       errors, and whether clients read answers    AnswerWatch

Needs the packages uvicorn and httptools, which the containers have.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import httptools

from tandem.errors import MalformedRequest, RequestError, UploadTimeout
from tandem.oip import http1_answers, http1_heads
from tandem.oip.http1_answers import Refusal
from tandem.oip.http1_connection import Http1Connection
from tandem.oip.http1_parts import PartMeter
from tandem.oip.uploads import MAX_HEAD_BYTES, Upload, Uploads

_UNSTARTABLE: Final = (httptools.HttpParserError, UnicodeError)
"""What uvicorn raises for a head that the parser has taken, such as a target that is not a URL."""

_BETWEEN, _HEAD, _BODY, _REFUSED = range(4)
"""Where in a request a connection is: between two, in the head, in the body, in what follows of one that is refused."""


class Http1Protocol(Http1Connection):
    """A connection whose requests start once they are there as a whole.

    Args:
        uploads: Limits of the process.
        options: Those of uvicorn's protocol.
    """

    def __init__(self, uploads: Uploads, **options: Any) -> None:
        super().__init__(uploads, **options)
        self.headers = []
        self._upload = Upload(uploads)
        self._place = _BETWEEN
        self._read_size = 0
        self._unread = 0
        self._announced = False
        self._meter = PartMeter(uploads.overhead)

    # what the transport calls

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by the client or by the server."""
        super().connection_lost(exc)
        self._upload.abandon()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; a request whose framing is wrong ends the connection."""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._read_size = len(data)
        try:
            self.parse(data)
        except httptools.HttpParserError:
            self._refuse()
            return
        if self._place != _BETWEEN:
            self._unread += self._read_size
            self._meter.count_read(self._read_size)
            self._or_end(self._wait_for_rest)
        # what arrives during a pause is read at once, and so costs less
        if self._meter.parts and (seconds := self._meter.charge()):
            self.pause_reading(seconds)

    def shutdown(self) -> None:
        """The server stops: a request of which something has arrived is the last one."""
        if self._place in (_HEAD, _BODY):
            self.is_last = True
        else:
            super().shutdown()

    def is_idle(self) -> bool:
        """Whether there is neither a request on its way nor an answer."""
        return self._place == _BETWEEN and self.has_answered

    # what httptools calls while it reads a request

    def on_message_begin(self) -> None:
        """A request begins."""
        # uvicorn prepares a scope here, which comes once the request is there
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        # the read that brought this is added when all of it is parsed: only later ones count
        self._unread = -self._read_size
        self._announced = False
        self._meter.short_reads = 0
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
        # what a callback raises becomes an error of the parser, which ends the connection
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("CONNECT asks for a tunnel, which only a proxy can be")
        # the same head is parsed once more without its offer, and comes here again
        if self.parser.should_upgrade():
            return
        self._place = _BODY
        # the headers are added up only where so much was read that they can be too long
        read = max(self._unread, 0) + self._read_size
        if read > MAX_HEAD_BYTES and http1_heads.head_bytes(self.url, self.headers) > MAX_HEAD_BYTES:
            self._refuse_rest(http1_heads.head_too_large(), keep_alive=False)

    def on_body(self, body: bytes) -> None:
        """A part of its body is there."""
        self._unread = -self._read_size
        # most bodies come in one part, which is then not copied
        if self._place == _BODY and not self._upload.body:
            self._upload.body = body
            return
        self._meter.parts += 1
        if self._place == _BODY:
            self._upload.add(body)

    def on_message_complete(self) -> None:
        """A request is there as a whole."""
        # the parser stops behind a head with an offer, but the body is still to come
        if self.parser.should_upgrade():
            return
        if self._upload.deadline is not None:
            self._upload.stop_waiting()
        place, self._place = self._place, _BETWEEN
        if place == _REFUSED:
            self.cycle.more_body = False
            return
        try:
            body, size = self._upload.take()
        except RequestError as error:
            self._refuse_rest(error)
            self.cycle.more_body = False
            self._place = _BETWEEN
        else:
            self.on_request(body, size)

    # what comes of it

    def on_request(self, body: bytes, held: int) -> None:
        """A request is there as a whole: start the application.

        Args:
            body: Its body.
            held: Bytes to release in ``uploads`` when it is answered.
        """
        self.start(http1_answers.releasing(self.app, self._uploads, held) if held else self.app)
        self.cycle.body = body  # type: ignore[assignment]
        self.cycle.more_body = False
        # uvicorn's application would wait for the body otherwise
        self.cycle.message_event.set()

    def refusal(self, error: RequestError) -> Refusal:
        """Body and headers of the answer to a request that is refused before it is there.

        Args:
            error: Why.
        """
        return http1_answers.refusal_of(error)

    def _wait_for_rest(self) -> None:
        """A request has arrived in part: see that the rest comes in time, and that it does not become too much."""
        self._upload.wait(self.loop, self._expire)
        if self._unread > MAX_HEAD_BYTES and self._place != _REFUSED:
            # of the head, or what a client adds to chunks and after them, none of which is body
            self._end(http1_heads.head_too_large())
        elif self._place == _BODY:
            try:
                # before 100 Continue: a client that asks first does not send what is too long (RFC 9110, 10.1.1)
                if not self._announced:
                    self._announced = True
                    self._uploads.check_length(http1_heads.content_length(self.headers))
                    # not into the middle of the answer to an earlier request
                    if self.expect_100_continue and self.has_answered:
                        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._upload.reserve()
            except RequestError as error:
                # a client that waits to be asked for the body may not send it now, but another request
                self._refuse_rest(error, keep_alive=not self.expect_100_continue)

    def _refuse_rest(self, error: RequestError, *, keep_alive: bool = True) -> None:
        """Answer a request before its end, and drop what follows of it."""
        self._upload.drop()
        self.start(http1_answers.refusing(error.status, self.refusal(error)))
        self._place = _REFUSED
        if not keep_alive:
            self.cycle.keep_alive = False

    def _expire(self) -> None:
        """The request did not come in time."""
        self._upload.stop_waiting()
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

    def _refuse(self) -> None:
        self._end(MalformedRequest("the request is not valid HTTP/1.1"))

    def _end(self, error: RequestError) -> None:
        """Answer with an error and close; only close where the answer could be taken for that of another request."""
        if self._place != _REFUSED and self.has_answered:
            self.transport.write(http1_answers.last_response(error.status, self.refusal(error)))
        self.transport.close()
        self._place = _REFUSED
        self._upload.abandon()
