"""A client's connection over HTTP/1 as both containers serve it: uvicorn's protocol, without upgrades.

Needs the packages uvicorn and httptools, which the containers have.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tandem.oip import http1_heads
from tandem.oip.http1_answers import AnswerWatch, Application
from tandem.oip.uploads import Uploads

IS_GONE: Final = "tandem.is_gone"
"""Key of a request's scope: a function without arguments that says whether the client has closed the connection."""


class Http1Connection(HttpToolsProtocol):
    """uvicorn's protocol for a connection that gives way to others while it is idle, and whose client must read.

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
        self.is_last = False
        self._uploads = uploads
        self._watch = AnswerWatch(uploads.timeout_s)

    @property
    def has_answered(self) -> bool:
        """Whether all requests that were there are answered."""
        return self.cycle is None or self.cycle.response_complete

    def is_idle(self) -> bool:
        """Whether there is neither a request on its way nor an answer."""
        return self.has_answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        if len(self.connections) > self._uploads.max_connections:
            # the newcomer is among them and idle, so there always is one to close
            protocols = [protocol for protocol in self.connections if isinstance(protocol, Http1Connection)]
            idle = [protocol for protocol in protocols if protocol.is_idle()]
            min(idle, key=lambda protocol: protocol.idle_since).transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by the client or by the server."""
        super().connection_lost(exc)
        self._watch.stop()

    def pause_writing(self) -> None:
        """The client does not read its answers: read no more requests of it, nor wait for it forever."""
        super().pause_writing()
        if not self.transport.is_closing():
            self.flow.pause_reading()
        self._watch.start(self.transport, self.loop)

    def resume_writing(self) -> None:
        """The client has read most of its answers."""
        super().resume_writing()
        self._watch.stop()
        # requests that wait for their turn hold reading back too
        if not self.pipeline and not self.transport.is_closing():
            self.flow.resume_reading()

    def pause_reading(self, seconds: float) -> None:
        """Read nothing for some seconds."""
        if not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        # others have paused reading too: a client that does not read, and requests that wait for their turn
        if not (self.transport.is_closing() or self.flow.write_paused or self.pipeline):
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """A request is answered."""
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def start(self, application: Application) -> None:
        """Let an application answer the request whose head is there, after those of earlier requests.

        Args:
            application: In place of uvicorn's.

        Raises:
            HttpParserError: The target is not a URL.
            UnicodeError: Likewise.
        """
        url, headers = self.url, self.headers
        # sets URL and headers back, which the parser has brought already
        super().on_message_begin()
        self.url = url
        self.scope["headers"] = self.headers = headers
        self.scope[IS_GONE] = self.transport.is_closing  # type: ignore[typeddict-unknown-key]
        # uvicorn takes the application from the protocol, and this request alone gets another
        own, self.app = self.app, application
        try:
            super().on_headers_complete()
        finally:
            self.app = own
        if self.is_last:
            self.cycle.keep_alive = False

    def parse(self, data: bytes) -> None:
        """Parse what has come, as if no request offered another protocol.

        Raises:
            HttpParserError: It is not HTTP/1.
        """
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                self._parse_without_offer()
                rest = rest[offer.args[0] :]
            else:
                break

    def _parse_without_offer(self) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head = http1_heads.without_offer(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        # as uvicorn sets its own parser: what follows the last request of a connection is not an error of it
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(head)
