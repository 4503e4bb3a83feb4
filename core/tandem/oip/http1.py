"""HTTP/1 as both containers serve it: uvicorn's protocol, which takes no offer of an upgrade, with errors in JSON.

A client may offer another protocol with any request (RFC 9110, section 7.8), as the HTTP clients of Java and Spring and
``curl --http2`` do with their first one. A server that does not take the offer answers the request as it is. The parser
stops at the end of such a head, and what follows would be read as another request although it is the body of this one.
So the head is parsed once more without the offer, by a parser that then reads the body.

Needs the packages uvicorn and httptools, which the containers have.
"""

from __future__ import annotations

from typing import Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tandem.errors import MalformedRequest

_OFFER: Final = frozenset((b"upgrade", b"http2-settings"))


class Http1Protocol(HttpToolsProtocol):
    """uvicorn's protocol for one connection, without upgrades."""

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; a request whose framing is wrong ends the connection."""
        self._unset_keepalive_if_required()
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
                return

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("CONNECT asks for a tunnel, which only a proxy can be")
        if not self.parser.should_upgrade():
            self.on_head()

    def on_head(self) -> None:
        """The head of a request is there, and no offer in it."""
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is there as a whole."""
        if not self.parser.should_upgrade():
            self.on_request()

    def on_request(self) -> None:
        """A request is there as a whole, and no offer in it."""
        super().on_message_complete()

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
        """Answer 400 and close; only close where the answer could be taken for that of another request."""
        cycle = self.cycle
        if (
            cycle is None
            or cycle.response_complete
            or (not self.pipeline and cycle.more_body and not cycle.response_started)
        ):
            self.send_400_response("the request is not valid HTTP/1.1")
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer 400 and close.

        Args:
            msg: What is wrong.
        """
        content = msgspec.json.encode(MalformedRequest(msg).body())
        headers = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(content)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (headers, content))
        self.transport.close()
