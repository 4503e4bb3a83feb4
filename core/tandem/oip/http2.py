"""HTTP/2 framing for unary gRPC calls: what both ends of the hop have in common. Needs the extra ``grpc``.

grpcio spends two to three times as much of the processor on a call at either end, hands it from thread to thread, and
contends for the interpreter's lock with the event loop. A unary call needs little of HTTP/2: frames, header blocks and
flow control.

Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK), and gRPC's ``PROTOCOL-HTTP2.md``. What is sent needs no header table; what
comes in may use one of the default size, as some peers do whatever is announced. Either end announces windows so large
that the other end need not wait.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from hpack import HPACKError

from tandem.oip import grpc_messages
from tandem.oip.header_blocks import HeaderBlocks

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113, section 3.4)."""

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 2, 3, 4, 5
NO_ERROR, PROTOCOL_ERROR, CANCEL = 0, 1, 8

DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_STREAM: Final = 2**31 - 1

NO_TABLE: Final = b"\x20"
"""How each first header block of a stream begins: the sender's header table has size 0 (RFC 7541, section 6.3)."""

_FRAME_SIZE: Final = 2**18
"""Longest frame that we take: large messages come in few frames, and none is put together from many reads."""

_BLOCK_SIZE: Final = 2**16
_FRAME_HEAD: Final = struct.Struct(">IBI").pack


class ProtocolError(Exception):
    """The other end breaks the protocol."""


@dataclass(slots=True, eq=False)
class Stream:
    """One call on a connection.

    Attributes:
        number: Of the stream.
        window: Bytes that the other end still takes.
        unsent: What has not been sent for want of window.
        trailers: Header block that ends the stream when all is sent; empty where the last data does.
        open: More will be sent than is known yet.
        headers: Received so far.
        content: Received so far.
        size: Length of ``content``.
    """

    number: int
    window: int
    unsent: bytes = b""
    trailers: bytes = b""
    open: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    content: list[bytes] = field(default_factory=list)
    size: int = 0

    def joined(self) -> bytes:
        """All of what was received."""
        return self.content[0] if len(self.content) == 1 else b"".join(self.content)


class Http2Connection(asyncio.Protocol):
    """One end of a connection. Subclasses say what a stream means.

    Args:
        greeting: What is sent before anything else, besides the size of the windows.
        settings: Settings to announce, besides those that both ends announce.
    """

    def __init__(self, greeting: bytes = b"", settings: Iterable[tuple[int, int]] = ()) -> None:
        announced = (
            (INITIAL_WINDOW, LARGEST_WINDOW),
            (MAX_FRAME, _FRAME_SIZE),
            *settings,
        )
        self._greeting = (
            greeting
            + frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *setting) for setting in announced))
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGEST_WINDOW - DEFAULT_WINDOW))
        )
        self.streams: dict[int, Stream] = {}
        self.max_streams = LARGEST_STREAM
        self.stream_window = DEFAULT_WINDOW
        self._transport: asyncio.Transport | None = None
        self._window = DEFAULT_WINDOW
        self._frame_size = 16_384
        self._rest = b""
        self._header_blocks = HeaderBlocks()
        self._block: tuple[int, bool, bytes] | None = None
        self._received = 0

    # what a subclass does with it

    def opened(self, number: int) -> Stream | None:
        """The stream that headers arrive for; None if they concern nobody any more."""
        return self.streams.get(number)

    def grown(self, stream: Stream) -> None:
        """Data has arrived."""

    def ended(self, stream: Stream) -> None:
        """All of a stream has arrived."""
        raise NotImplementedError

    def sent(self, stream: Stream) -> None:
        """All of a stream that has trailers has been sent."""

    def given_up(self, stream: Stream, code: int) -> None:
        """The other end has reset a stream, which is forgotten already."""
        raise NotImplementedError

    def leaving(self, last: int) -> None:
        """The other end takes no streams after ``last``."""

    def pinged_back(self) -> None:
        """The other end has answered a ping."""

    def broken_off(self, error: Exception) -> None:
        """The connection is over, or must be."""
        raise NotImplementedError

    def refuse(self, error: ProtocolError) -> None:
        """Close a connection whose other end breaks the protocol."""
        self.abort()

    # what a subclass calls

    @property
    def connected(self) -> bool:
        """Whether something can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send frames."""
        if self._transport is not None:
            self._transport.write(data)

    def message(
        self, stream: Stream, head: bytes, content: bytes, trailers: bytes = b"", encoding: str = "identity"
    ) -> bytes:
        """Frames of a gRPC message that is all of a stream, as many as the windows allow; the rest follows by itself.

        Args:
            stream: Where it goes.
            head: Header block before it.
            content: Serialised message.
            trailers: Header block after it; without one the data ends the stream.
            encoding: How to compress it; the head must say so.
        """
        stream.unsent = grpc_messages.pack(content, encoding)
        stream.trailers = trailers
        return frame(HEADERS, END_HEADERS, stream.number, head) + self._data(stream)

    def further(self, stream: Stream, content: bytes = b"", trailers: bytes = b"") -> bytes:
        """Frames of what goes on or ends in a stream whose head has been sent.

        Args:
            stream: Where it goes.
            content: Message with its prefix.
            trailers: Header block that ends it; nothing may follow then.
        """
        stream.unsent += content
        stream.trailers = trailers
        stream.open = not trailers
        return self._data(stream)

    def close(self) -> None:
        """Send what was written, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: say how we speak."""
        self._transport = transport  # type: ignore[assignment]
        self.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        """Take whole frames off what has come."""
        try:
            data = self._rest + data if self._rest else data
            at, end = 0, len(data)
            while end - at >= 9:
                length = int.from_bytes(data[at : at + 3], "big")
                if length > _FRAME_SIZE:
                    raise ProtocolError(f"a frame of {length} bytes")
                stop = at + 9 + length
                if stop > end:
                    break
                number = int.from_bytes(data[at + 5 : at + 9], "big") & LARGEST_STREAM
                self._take(data[at + 3], data[at + 4], number, data[at + 9 : stop])
                at = stop
            self._rest = data[at:]
        except (ProtocolError, HPACKError, struct.error, IndexError, ValueError) as error:
            self.broken_off(ConnectionError(f"the other end does not speak HTTP/2: {error}"))
            self.refuse(ProtocolError(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was not answered will not be."""
        self.broken_off(exc or ConnectionError("the connection was closed before the answer was complete"))

    def pause_writing(self) -> None:
        """The other end does not read: nor do we, or what we have to tell it would pile up."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The other end reads again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # frames that come in

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and (kind != CONTINUATION or number != self._block[0]):
            raise ProtocolError("a header block is interrupted")
        if kind == DATA:
            self._take_data(flags, number, payload)
        elif kind == HEADERS:
            fragment = _unpadded(flags, payload)
            fragment = fragment[5:] if flags & _PRIORITY else fragment
            self._take_block(number, bool(flags & END_STREAM), fragment, last=bool(flags & END_HEADERS))
        elif kind == CONTINUATION:
            if self._block is None:
                raise ProtocolError("a header block goes on that never began")
            _, ends_stream, begun = self._block
            self._take_block(number, ends_stream, begun + payload, last=bool(flags & END_HEADERS))
        elif kind == SETTINGS:
            self._take_settings(flags, payload)
        elif kind == WINDOW_UPDATE:
            self._take_window(number, payload)
        elif kind == PING:
            if flags & ACK:
                self.pinged_back()
            else:
                self.write(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            if stream := self.streams.pop(number, None):
                self.given_up(stream, int.from_bytes(payload, "big"))
        elif kind == GOAWAY:
            self.leaving(int.from_bytes(payload[:4], "big") & LARGEST_STREAM)

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > LARGEST_WINDOW // 2:
            self.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0
        stream = self.streams.get(number)
        if stream is None:
            return
        content = _unpadded(flags, payload)
        stream.content.append(content)
        stream.size += len(content)
        if flags & END_STREAM:
            self.ended(stream)
        else:
            self.grown(stream)

    def _take_block(self, number: int, ends_stream: bool, block: bytes, *, last: bool) -> None:
        if len(block) > _BLOCK_SIZE:
            raise ProtocolError("a header block is too long")
        self._block = None if last else (number, ends_stream, block)
        if not last:
            return
        headers = self._header_blocks.decode(block)
        stream = self.opened(number)
        if stream is not None:
            stream.headers |= headers
            if ends_stream:
                self.ended(stream)

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            return
        for name, value in struct.iter_unpack(">HI", payload):
            if name == INITIAL_WINDOW:
                for stream in self.streams.values():
                    stream.window += value - self.stream_window
                self.stream_window = value
            elif name == MAX_FRAME:
                self._frame_size = max(value, 16_384)
            elif name == MAX_STREAMS:
                self.max_streams = value
        self.write(frame(SETTINGS, ACK, 0, b""))
        self._send_unsent()

    def _take_window(self, number: int, payload: bytes) -> None:
        (increment,) = struct.unpack(">I", payload)
        if number == 0:
            self._window += increment
        elif stream := self.streams.get(number):
            stream.window += increment
        self._send_unsent()

    # what goes out

    def _data(self, stream: Stream) -> bytes:
        """Frames for as much of a message as the windows allow, and its trailers after the last of it."""
        frames = []
        while stream.unsent and (size := min(len(stream.unsent), self._frame_size, self._window, stream.window)) > 0:
            if size == len(stream.unsent):
                part, stream.unsent = stream.unsent, b""
            else:
                part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            self._window -= size
            stream.window -= size
            ends = not stream.unsent and not stream.trailers and not stream.open
            frames.append(frame(DATA, END_STREAM if ends else 0, stream.number, part))
        if not stream.unsent and stream.trailers:
            frames.append(frame(HEADERS, END_HEADERS | END_STREAM, stream.number, stream.trailers))
            stream.trailers = b""
            self.sent(stream)
        return b"".join(frames)

    def _send_unsent(self) -> None:
        for stream in list(self.streams.values()):
            if stream.unsent and (frames := self._data(stream)):
                self.write(frames)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame: length (24 bits), type, flags, stream, payload (RFC 9113, section 4.1)."""
    return _FRAME_HEAD(len(payload) << 8 | kind, flags, stream) + payload


def indexed(index: int, value: str) -> bytes:
    """A literal header whose name is in the static table, for no table (RFC 7541, section 6.2.2)."""
    name = bytes([index]) if index < 15 else bytes([15, index - 15])
    return name + _literal(value)


def literal(name: str, value: str) -> bytes:
    """A literal header, for no table (RFC 7541, section 6.2.2)."""
    return b"\0" + _literal(name) + _literal(value)


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def _literal(text: str) -> bytes:
    octets = text.encode()
    if len(octets) < 127:
        return bytes([len(octets)]) + octets
    rest, length = len(octets) - 127, [127]
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes([*length, rest]) + octets
