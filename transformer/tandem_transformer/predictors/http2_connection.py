"""A connection for unary gRPC calls over HTTP/2, just as much of it as the hop to the predictor takes.

grpcio's asyncio client spends twice as much of the processor on a call, hands it from thread to thread
four times, and contends for the interpreter's lock with the event loop that waits for it.

Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK), and gRPC's ``PROTOCOL-HTTP2.md``. We announce a header table of size 0, so
that header blocks never refer to earlier ones, and windows so large that the server need not wait for us.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from dataclasses import dataclass, field
from urllib.parse import unquote

from hpack import Decoder, HPACKError

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_ACK = _END_STREAM = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_STREAMS, _INITIAL_WINDOW, _MAX_FRAME = 1, 2, 3, 4, 5
_DEFAULT_WINDOW = 65_535
_LARGEST_WINDOW = 2**31 - 1
_LARGEST_FRAME = 2**24 - 1
_LAST_STREAM = 2**31 - 1
_CANCEL = 8
"""Error code with which a stream is given up."""


@dataclass(frozen=True)
class GrpcResponse:
    """Answer to a unary call.

    Attributes:
        status: gRPC status code; 0 is OK.
        message: What the server says about another status.
        content: The serialised response.
    """

    status: int
    message: str
    content: bytes


@dataclass(slots=True, eq=False)
class _Stream:
    answer: asyncio.Future[GrpcResponse]
    window: int
    unsent: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content: list[bytes] = field(default_factory=list)


class Http2Connection(asyncio.Protocol):
    """One connection; calls share it.

    Args:
        authority: ``host:port``, as sent in ``:authority``.
        path: Full path of the method.
        scheme: ``http`` or ``https``.
    """

    def __init__(self, authority: str, path: str, scheme: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._request_headers = _request_headers(authority, path, scheme)
        self._decoder = Decoder()
        self._decoder.max_allowed_table_size = 0
        self._known_blocks: dict[bytes, dict[str, str]] = {}
        self._streams: dict[int, _Stream] = {}
        self._next_stream = 1
        self._window = _DEFAULT_WINDOW
        self._stream_window = _DEFAULT_WINDOW
        self._frame_size = 16_384
        self._max_streams = _LAST_STREAM
        self._buffer = bytearray()
        self._block = b""
        self._block_ends_stream = False
        self._received = 0
        self._going_away = False
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, host: str, path: str, tls: ssl.SSLContext | None) -> Http2Connection:
        """Connect to ``host:port``.

        Raises:
            OSError: if it cannot be reached.
        """
        name, _, port = host.rpartition(":")
        scheme = "https" if tls else "http"
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: cls(host, path, scheme), name.strip("[]"), int(port), ssl=tls
        )
        return connection

    @property
    def usable(self) -> bool:
        """Whether a further call can be made here."""
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and not self._going_away
            and self._next_stream < _LAST_STREAM
            and len(self._streams) < self._max_streams
        )

    async def call(self, message: bytes) -> GrpcResponse:
        """Send a serialised request and wait for its answer.

        Raises:
            OSError: if the connection breaks off before the answer is complete.
        """
        number = self._next_stream
        self._next_stream += 2
        framed = b"\0" + struct.pack(">I", len(message)) + message
        stream = self._streams[number] = _Stream(self._loop.create_future(), self._stream_window, framed)
        self._write(_frame(_HEADERS, _END_HEADERS, number, self._request_headers) + self._data(number, stream))
        try:
            return await stream.answer
        finally:
            if self._streams.pop(number, None) is not None and self.usable:
                self._write(_frame(_RST_STREAM, 0, number, struct.pack(">I", _CANCEL)))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: say how we speak."""
        self._transport = transport  # type: ignore[assignment]
        settings = (
            (_HEADER_TABLE_SIZE, 0),
            (_ENABLE_PUSH, 0),
            (_INITIAL_WINDOW, _LARGEST_WINDOW),
            (_MAX_FRAME, _LARGEST_FRAME),
        )
        self._write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, b"".join(struct.pack(">HI", *setting) for setting in settings))
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _LARGEST_WINDOW - _DEFAULT_WINDOW))
        )

    def data_received(self, data: bytes) -> None:
        """Take whole frames off what has come."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= 9:
            length = int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) - at < 9 + length:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            number = int.from_bytes(buffer[at + 5 : at + 9], "big") & _LAST_STREAM
            payload = bytes(buffer[at + 9 : at + 9 + length])
            at += 9 + length
            try:
                self._take(kind, flags, number, payload)
            except (HPACKError, struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
                self._break_off(ConnectionError(f"the server does not speak HTTP/2: {error}"))
                return
        del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whatever was not answered."""
        self._break_off(exc or ConnectionError("the connection was closed before the answer was complete"))

    # frames that come in

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _DATA:
            self._take_data(flags, number, payload)
        elif kind in (_HEADERS, _CONTINUATION):
            self._take_headers(kind, flags, number, payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._take_settings(payload)
            self._write(_frame(_SETTINGS, _ACK, 0, b""))
            self._send_unsent()
        elif kind == _WINDOW_UPDATE:
            (increment,) = struct.unpack(">I", payload)
            if number == 0:
                self._window += increment
            elif stream := self._streams.get(number):
                stream.window += increment
            self._send_unsent()
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _RST_STREAM:
            self._fail(
                number, ConnectionError(f"the server gave up the call with code {int.from_bytes(payload, 'big')}")
            )
        elif kind == _GOAWAY:
            self._going_away = True
            last = int.from_bytes(payload[:4], "big") & _LAST_STREAM
            for unanswered in [stream for stream in self._streams if stream > last]:
                self._fail(unanswered, ConnectionError("the server is going away"))

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > _LARGEST_WINDOW // 2:
            self._write(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0
        stream = self._streams.get(number)
        if stream is not None:
            stream.content.append(_unpadded(flags, payload))
            if flags & _END_STREAM:
                self._finish(number, stream)

    def _take_headers(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _HEADERS:
            payload = _unpadded(flags, payload)
            self._block = payload[5:] if flags & _PRIORITY else payload
            self._block_ends_stream = bool(flags & _END_STREAM)
        else:
            self._block += payload
        if not flags & _END_HEADERS:
            return
        headers = self._decode(self._block)
        stream = self._streams.get(number)
        if stream is not None:
            stream.headers |= headers
            if self._block_ends_stream:
                self._finish(number, stream)

    def _decode(self, block: bytes) -> dict[str, str]:
        """Headers of a block. A server says the same thing again and again, and blocks stand on their own."""
        headers = self._known_blocks.get(block)
        if headers is None:
            headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
            if len(self._known_blocks) < 100:
                self._known_blocks[block] = headers
        return headers

    def _take_settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            name, value = struct.unpack(">HI", payload[at : at + 6])
            if name == _INITIAL_WINDOW:
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
            elif name == _MAX_FRAME:
                self._frame_size = value
            elif name == _MAX_STREAMS:
                self._max_streams = value

    def _finish(self, number: int, stream: _Stream) -> None:
        status = int(stream.headers.get("grpc-status", 2))
        del self._streams[number]
        if stream.answer.done():
            return
        content = b"".join(stream.content)
        if status == 0 and (len(content) < 5 or content[0] or len(content) != 5 + int.from_bytes(content[1:5], "big")):
            stream.answer.set_exception(ConnectionError("the answer is not one uncompressed message"))
            return
        message = unquote(stream.headers.get("grpc-message", f"HTTP status {stream.headers.get(':status')}"))
        stream.answer.set_result(GrpcResponse(status, message, content[5:]))

    # what goes out

    def _data(self, number: int, stream: _Stream) -> bytes:
        """DATA frames for as much of a request as the windows allow."""
        frames = []
        while stream.unsent and (size := min(len(stream.unsent), self._frame_size, self._window, stream.window)) > 0:
            part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            self._window -= size
            stream.window -= size
            frames.append(_frame(_DATA, 0 if stream.unsent else _END_STREAM, number, part))
        return b"".join(frames)

    def _send_unsent(self) -> None:
        for number, stream in self._streams.items():
            if stream.unsent and (frames := self._data(number, stream)):
                self._write(frames)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _fail(self, number: int, error: Exception) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None and not stream.answer.done():
            stream.answer.set_exception(error)

    def _break_off(self, error: Exception) -> None:
        self._going_away = True
        for number in list(self._streams):
            self._fail(number, error)
        if self._transport is not None:
            self._transport.abort()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame: length (24 bits), type, flags, stream, payload (RFC 9113, section 4.1)."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def _unpadded(flags: int, payload: bytes) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload


def _request_headers(authority: str, path: str, scheme: str) -> bytes:
    """The header block of every call: indexed fields, and literals without indexing (RFC 7541, section 6)."""
    scheme_index = 0x87 if scheme == "https" else 0x86
    named = [
        (4, path),
        (1, authority),
        (31, "application/grpc"),
    ]  # names of the static table: path, authority, content type
    block = bytes([0x83, scheme_index])
    block += b"".join(_literal_index(index) + _literal(value) for index, value in named)
    return block + b"\0" + _literal("te") + _literal("trailers")


def _literal_index(index: int) -> bytes:
    """Index of a name in four bits and what does not fit there (RFC 7541, section 5.1)."""
    return bytes([index]) if index < 15 else bytes([15, index - 15])


def _literal(text: str) -> bytes:
    octets = text.encode()
    if len(octets) < 127:
        return bytes([len(octets)]) + octets
    rest, length = len(octets) - 127, [127]
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes([*length, rest]) + octets
