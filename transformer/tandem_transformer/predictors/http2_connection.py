"""A connection for unary gRPC calls of one method over HTTP/2."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from tandem.errors import RequestTooLarge
from tandem.oip import grpc_messages, http2
from tandem.oip.header_blocks import NO_TABLE, indexed, literal
from tandem.oip.http2_connection import Http2Connection
from tandem.oip.http2_stream import Http2Stream
from tandem_transformer.predictors.address import CONNECT_S, Address


class GrpcResponse(msgspec.Struct, frozen=True):
    """Answer to a unary call.

    Attributes:
        status: gRPC status code; 0 is OK.
        message: What the server says about another status.
        content: The serialised response.
        code: The code of the error, of a server that has codes.
    """

    status: int
    message: str
    content: bytes
    code: str = ""


class CallingConnection(Http2Connection):
    """One connection; calls share it.

    Args:
        authority: ``host:port``, as sent in ``:authority``.
        path: Full path of the method.
        scheme: ``http`` or ``https``.
    """

    def __init__(self, authority: str, path: str, scheme: str) -> None:
        super().__init__(http2.PREFACE, [(http2.ENABLE_PUSH, 0)])
        self._loop = asyncio.get_running_loop()
        self._head = _request_headers(authority, path, scheme)
        self._answers: dict[int, asyncio.Future[GrpcResponse]] = {}
        self._next_stream = 1
        self._going_away = False

    @classmethod
    async def open(
        cls, address: Address, path: str, tls: ssl.SSLContext | None = None, connect_s: float = CONNECT_S
    ) -> CallingConnection:
        """Connect.

        Args:
            address: Where to.
            path: Full path of the method.
            tls: Call over TLS, and verify the other end so.
            connect_s: Seconds that it may take.

        Raises:
            OSError: if it cannot be reached.
        """
        scheme = "https" if tls else "http"
        return await address.connect(lambda: cls(address.host, path, scheme), tls, connect_s)

    @property
    def usable(self) -> bool:
        """Whether a further call can be made here."""
        return (
            self.connected
            and not self._going_away
            # numbers of streams are not used again (RFC 9113, section 5.1.1)
            and self._next_stream < http2.LARGEST_STREAM
            and len(self.streams) < self.sender.max_streams
        )

    def retire(self) -> None:
        """Make no further calls here, and close once those under way are answered."""
        self._going_away = True
        if not self.streams and self.connected:
            self.close()

    async def call(self, message: bytes, timeout_ms: int = 0) -> GrpcResponse:
        """Send a serialised request and wait for its answer.

        Args:
            message: The request.
            timeout_ms: Milliseconds that the server is given; 0 for no limit.

        Raises:
            OSError: if the connection breaks off before the answer is complete, or has done so already.
        """
        if self._going_away:
            raise ConnectionError("the server is going away")
        number = self._next_stream
        self._next_stream += 2
        stream = self.streams[number] = Http2Stream(number, self.sender.stream_window)
        answer: asyncio.Future[GrpcResponse] = self._loop.create_future()
        self._answers[number] = answer
        head = self._head + _timeout_header(timeout_ms) if timeout_ms else self._head
        self.sender.send(stream, head, grpc_messages.pack(message))
        try:
            return await answer
        finally:
            del self._answers[number]
            # given up before its answer: the server need not go on with it
            if self.streams.pop(number, None) is not None and self.connected:
                self.sender.write(http2.reset(number, http2.CANCEL))
            if self._going_away:
                self.retire()

    def finished(self, stream: Http2Stream) -> None:
        """An answer is complete."""
        del self.streams[stream.number]
        answer = self._answers[stream.number]
        # an answer without a status, such as a proxy's, is UNKNOWN
        status = int(stream.headers.get("grpc-status", 2))
        try:
            content = grpc_messages.unpack(stream.content, "identity", http2.LARGEST_WINDOW) if status == 0 else b""
        except (grpc_messages.BadFraming, RequestTooLarge) as error:
            self._fail(stream.number, ConnectionError(f"the answer cannot be read: {error}"))
            return
        if not answer.done():
            if status:
                code = stream.headers.get("tandem-error-code", "")
                answer.set_result(GrpcResponse(status, _message_of(stream.headers), content, code))
            else:
                answer.set_result(GrpcResponse(status, "", content))

    def given_up(self, number: int, code: int) -> None:
        """The server will not answer a call."""
        if self.streams.pop(number, None) is None:
            return
        self._fail(number, ConnectionError(f"the server cancelled the call with code {code}"))

    def leaving(self, last: int) -> None:
        """The server answers no calls after the one of stream ``last``."""
        # the server has not begun these, so they may be made elsewhere (RFC 9113, section 6.8)
        for number in [number for number in self.streams if number > last]:
            del self.streams[number]
            self._fail(number, ConnectionError("the server is going away"))
        self.retire()

    def broken_off(self, error: Exception) -> None:
        """Nothing that is under way will be answered."""
        self._going_away = True
        self.streams.clear()
        for number in self._answers:
            self._fail(number, error)

    def _fail(self, number: int, error: Exception) -> None:
        answer = self._answers.get(number)
        if answer is not None and not answer.done():
            answer.set_exception(error)


@functools.lru_cache(1024)
def _timeout_header(milliseconds: int) -> bytes:
    # at most eight digits (PROTOCOL-HTTP2.md, TimeoutValue)
    return literal("grpc-timeout", f"{min(milliseconds, 99_999_999)}m")


def _message_of(headers: Mapping[str, str]) -> str:
    """What the server says about a status that is not OK."""
    return unquote(headers.get("grpc-message", f"HTTP status {headers.get(':status')}"))


def _request_headers(authority: str, path: str, scheme: str) -> bytes:
    """The header block of every call; numbers are those of HPACK's static table."""
    return (
        NO_TABLE
        + bytes([0x83, 0x87 if scheme == "https" else 0x86])  # :method POST, :scheme
        + indexed(4, path)
        + indexed(1, authority)
        + indexed(31, "application/grpc")
        + literal("te", "trailers")
    )
