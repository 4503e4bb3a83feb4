"""HTTP/2 framing for unary gRPC calls: what both ends of the hop have in common. Needs the extra ``grpc``.

grpcio spends two to three times as much of the processor on a call at either end, hands it from thread to thread, and
contends for the interpreter's lock with the event loop. A unary call needs little of HTTP/2: frames, header blocks and
flow control.

Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK), and gRPC's ``PROTOCOL-HTTP2.md``. What is sent needs no header table; what
comes in may use one of the default size, as some peers do whatever is announced. Either end announces windows so large
that the other end need not wait; how much may be held for a peer is up to the subclasses.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hpack import HPACKError

from tandem.oip import grpc_messages
from tandem.oip.header_blocks import LONGEST, HeaderBlocks
from tandem.oip.http2_stream import Stream

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113, section 3.4)."""

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADERS = 2, 3, 4, 5, 6
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 3, 5, 6
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 7, 8, 11

DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_STREAM: Final = 2**31 - 1

_FRAME_SIZE: Final = 2**18
"""Longest frame that we take: large messages come in few frames, and none is put together from many reads."""

_BLOCK_SIZE: Final = 2**16
_MAX_FRAGMENTS: Final = 64
_MAX_SETTINGS: Final = 32
_MAX_REPLIES: Final = 1000

# In units of what a frame costs that brings no call forward.
_WINDOW_COST: Final = 3
_STREAMS_PER_UNIT: Final = 16
_SHORT_DATA: Final = 2**8
_FRAME_HEAD: Final = struct.Struct(">IBI").pack


class ProtocolError(Exception):
    """The other end breaks the protocol.

    Attributes:
        code: What it is told (RFC 9113, section 7).
    """

    def __init__(self, message: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class _Block:
    """A header block of which not all fragments have come."""

    number: int
    ends_stream: bool
    fragments: list[bytes]
    size: int
    waits: int = 0


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
            (MAX_HEADERS, LONGEST),
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
        self._rest: bytes | bytearray = b""
        self._awaited = 0
        self._header_blocks = HeaderBlocks()
        self._block: _Block | None = None
        self._received = 0
        self._blocked: dict[int, Stream] = {}
        self._paused = False
        self._frames = 0
        self._waits = False
        self._replies: list[bytes] | None = None

    # what a subclass does with it

    def opened(self, number: int, headers: dict[str, str], size: int) -> Stream | None:
        """The stream that headers arrive for, which it has from now on; None if they concern nobody any more.

        Args:
            number: Of the stream.
            headers: The headers.
            size: Bytes of their block.
        """
        if stream := self.streams.get(number):
            stream.headers |= headers
        return stream

    def refused(self, number: int, size: int) -> None:
        """Headers are longer than is allowed: the stream, if it is one, is not to go on.

        Args:
            number: Of the stream.
            size: Bytes of their block.
        """
        raise ProtocolError("the headers are too long", ENHANCE_YOUR_CALM)

    def grown(self, stream: Stream) -> None:
        """Data has arrived."""

    def finished(self, stream: Stream) -> None:
        """All of a stream has arrived."""
        raise NotImplementedError

    def sent(self, stream: Stream) -> None:
        """All of a stream that has trailers has been sent."""

    def held_up(self, stream: Stream) -> None:
        """The other end has no room for the rest of a stream, or has made some."""

    def given_up(self, number: int, code: int) -> None:
        """The other end has reset a stream."""
        raise NotImplementedError

    def violated(self, stream: Stream, code: int) -> None:
        """The other end breaks the rules of one stream."""
        raise ProtocolError(f"stream {stream.number} breaks the protocol", code)

    def is_idle(self, number: int) -> bool:
        """Whether a stream has not been opened yet."""
        return False

    def spend(self, cost: int = 1) -> None:
        """A frame has come that brings no call forward. Whoever calls :meth:`wait` then takes no more for a while."""

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
        """Send frames; what answers frames that have come together goes out together."""
        if self._replies is not None and len(self._replies) < _MAX_REPLIES:
            self._replies.append(data)
        elif self._transport is not None:
            self._flush()
            self._transport.write(data)

    def wait(self) -> None:
        """Take no more frames until :meth:`go_on` is called."""
        self._waits = True
        if self._transport is not None and self.connected:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Take the frames that have come meanwhile, and others."""
        self._waits = False
        if self._transport is not None and self.connected:
            if not self._paused:
                self._transport.resume_reading()
            self.data_received(b"")

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
        stream.unsent, stream.offset = grpc_messages.pack(content, encoding), 0
        stream.trailers = trailers
        return frame(HEADERS, END_HEADERS, stream.number, head) + self._data(stream)

    def further(self, stream: Stream, content: bytes = b"", trailers: bytes = b"") -> bytes:
        """Frames of what goes on or ends in a stream whose head has been sent.

        Args:
            stream: Where it goes.
            content: Message with its prefix.
            trailers: Header block that ends it; nothing may follow then.
        """
        stream.unsent, stream.offset = stream.unsent[stream.offset :] + content, 0
        stream.trailers = trailers
        stream.open = not trailers
        return self._data(stream)

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
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
        if self._rest:
            self._rest += data
            if self._waits or len(self._rest) < self._awaited:
                return
            data = bytes(self._rest)
        self._replies = []
        try:
            at, end = 0, len(data)
            self._awaited = 9
            while end - at >= 9 and not self._waits:
                length = int.from_bytes(data[at : at + 3], "big")
                if length > _FRAME_SIZE:
                    raise ProtocolError(f"a frame of {length} bytes", FRAME_SIZE_ERROR)
                stop = at + 9 + length
                if stop > end:
                    self._awaited = stop - at
                    break
                number = int.from_bytes(data[at + 5 : at + 9], "big") & LARGEST_STREAM
                self._take(data[at + 3], data[at + 4], number, data[at + 9 : stop])
                at = stop
            # to be grown in place: a frame that comes in many pieces is not copied with each of them
            self._rest = bytearray(data[at:]) if at < end else b""
        except (ProtocolError, HPACKError, struct.error, IndexError, ValueError) as error:
            self._rest = b""
            self.broken_off(ConnectionError(f"the other end does not speak HTTP/2: {error}"))
            self.refuse(error if isinstance(error, ProtocolError) else ProtocolError(str(error)))
        finally:
            self._flush()
            self._replies = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was not answered will not be."""
        self.broken_off(exc or ConnectionError("the connection was closed before the answer was complete"))

    def pause_writing(self) -> None:
        """The other end does not read: what it asked for waits with its stream, not with the transport."""
        self._paused = True

    def resume_writing(self) -> None:
        """The other end reads again."""
        self._paused = False
        if self.connected:
            self._send_blocked()

    def _flush(self) -> None:
        if self._replies and self._transport is not None:
            replies, self._replies = b"".join(self._replies), []
            self._transport.write(replies)

    # frames that come in

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        self._frames += 1
        if self._block is not None and (kind != CONTINUATION or number != self._block.number):
            raise ProtocolError("a header block is interrupted")
        if kind == DATA:
            self._take_data(flags, number, payload)
        elif kind == HEADERS:
            fragment = _unpadded(flags, payload)
            fragment = fragment[5:] if flags & _PRIORITY else fragment
            if flags & END_HEADERS:
                self._take_headers(number, bool(flags & END_STREAM), fragment)
            else:
                self._block = _Block(number, bool(flags & END_STREAM), [fragment], len(fragment))
        elif kind == CONTINUATION:
            self._take_continuation(flags, payload)
        elif kind == WINDOW_UPDATE:
            self.spend(_WINDOW_COST if number else 1 + len(self._blocked) // _STREAMS_PER_UNIT)
            self._take_window(number, payload)
        elif kind == SETTINGS:
            self._take_settings(flags, payload)
        elif kind == PING:
            self._take_ping(flags, payload)
        elif kind == RST_STREAM:
            if number == 0 or self.is_idle(number) or len(payload) != 4:
                raise ProtocolError("a stream that was never opened is reset")
            self.given_up(number, int.from_bytes(payload, "big"))
        elif kind == GOAWAY:
            self.leaving(int.from_bytes(payload[:4], "big") & LARGEST_STREAM)
        elif kind == PUSH_PROMISE:
            raise ProtocolError("nothing may be pushed here")
        else:
            self.spend()

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > LARGEST_WINDOW // 2:
            self.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0
        stream = self.streams.get(number)
        if stream is None:
            if number == 0 or self.is_idle(number):
                raise ProtocolError("data for a stream that was never opened")
            self.spend()
            return
        if stream.ended:
            self.violated(stream, STREAM_CLOSED)
            return
        content = _unpadded(flags, payload)
        if not stream.content:
            stream.content = content
        else:
            if isinstance(stream.content, bytes):
                stream.content = bytearray(stream.content)
            stream.content += content
        if flags & END_STREAM:
            stream.ended = True
            self.finished(stream)
        else:
            if len(content) < _SHORT_DATA:
                self.spend()
            self.grown(stream)

    def _take_continuation(self, flags: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ProtocolError("a header block goes on that never began")
        block.fragments.append(payload)
        block.size += len(payload)
        if len(block.fragments) > _MAX_FRAGMENTS or block.size > _BLOCK_SIZE:
            raise ProtocolError("a header block is too long", ENHANCE_YOUR_CALM)
        if flags & END_HEADERS:
            self._block = None
            self._take_headers(block.number, block.ends_stream, b"".join(block.fragments))

    def _take_headers(self, number: int, ends_stream: bool, block: bytes) -> None:
        if len(block) > _BLOCK_SIZE:
            raise ProtocolError("a header block is too long", ENHANCE_YOUR_CALM)
        headers = self._header_blocks.decode(block)
        known = self.streams.get(number)
        if known is not None and known.ended:
            self.violated(known, STREAM_CLOSED)
        elif headers is None:
            self.refused(number, len(block))
        elif (stream := self.opened(number, headers, len(block))) is not None and ends_stream:
            stream.ended = True
            self.finished(stream)

    def _take_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ProtocolError("a ping has 8 bytes", FRAME_SIZE_ERROR)
        self.spend()
        if flags & ACK:
            self.pinged_back()
        else:
            self.write(frame(PING, ACK, 0, payload))

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if len(payload) > 6 * _MAX_SETTINGS:
            raise ProtocolError("too many settings", ENHANCE_YOUR_CALM)
        self.spend(1 + len(self.streams) // _STREAMS_PER_UNIT)
        if flags & ACK:
            return
        for name, value in struct.iter_unpack(">HI", payload):
            if name == INITIAL_WINDOW:
                if value > LARGEST_WINDOW:
                    raise ProtocolError("a window is too large", FLOW_CONTROL_ERROR)
                for stream in self.streams.values():
                    stream.window += value - self.stream_window
                self.stream_window = value
            elif name == MAX_FRAME:
                self._frame_size = max(value, 16_384)
            elif name == MAX_STREAMS:
                self.max_streams = value
        self.write(frame(SETTINGS, ACK, 0, b""))
        self._send_blocked()

    def _take_window(self, number: int, payload: bytes) -> None:
        (increment,) = struct.unpack(">I", payload)
        if number == 0:
            self._window += increment
            if not 0 < increment <= LARGEST_WINDOW or self._window > LARGEST_WINDOW:
                raise ProtocolError("a window is too large, or is not enlarged", FLOW_CONTROL_ERROR)
            self._send_blocked()
        elif stream := self.streams.get(number):
            stream.window += increment
            if not 0 < increment <= LARGEST_WINDOW or stream.window > LARGEST_WINDOW:
                self.violated(stream, FLOW_CONTROL_ERROR)
            elif number in self._blocked and (frames := self._data(stream)):
                self.write(frames)
        elif self.is_idle(number):
            raise ProtocolError("room for a stream that was never opened")

    # what goes out

    def _data(self, stream: Stream) -> bytes:
        """Frames for as much of a message as the windows allow, and its trailers after the last of it."""
        frames = []
        unsent, at, end = stream.unsent, stream.offset, len(stream.unsent)
        while at < end and (size := min(end - at, self._frame_size, self._window, stream.window)) > 0:
            if self._paused:
                break
            part = unsent if size == end else unsent[at : at + size]
            at += size
            self._window -= size
            stream.window -= size
            ends = at == end and not stream.trailers and not stream.open
            frames.append(frame(DATA, END_STREAM if ends else 0, stream.number, part))
        if at < end:
            stream.offset = at
            self._blocked[stream.number] = stream
            self.held_up(stream)
        else:
            stream.unsent, stream.offset = b"", 0
            if stream.number in self._blocked:
                del self._blocked[stream.number]
                self.held_up(stream)
            if stream.trailers:
                frames.append(frame(HEADERS, END_HEADERS | END_STREAM, stream.number, stream.trailers))
                stream.trailers = b""
                self.sent(stream)
        return b"".join(frames)

    def _send_blocked(self) -> None:
        for number, stream in list(self._blocked.items()):
            if self._window <= 0 or self._paused:
                return
            if number not in self.streams:
                del self._blocked[number]
            elif stream.window > 0:
                self.write(self._data(stream))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame: length (24 bits), type, flags, stream, payload (RFC 9113, section 4.1)."""
    return _FRAME_HEAD(len(payload) << 8 | kind, flags, stream) + payload


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("more padding than payload")
    return payload[1 : len(payload) - payload[0]]
