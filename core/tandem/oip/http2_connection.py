"""HTTP/2 for unary gRPC calls: what both ends, transformer and predictor, have in common. Needs the extra ``grpc``.

grpcio spends two to three times as much of the processor on a call at either end, hands it from thread to thread, and
contends for the interpreter's lock with the event loop. A unary call needs little of HTTP/2: frames, header blocks and
flow control.

    http2             frames                      FrameReader
    header_blocks     headers                     HeaderBlocks
    http2_writer      the transport               FrameWriter
    http2_sender      what goes out, windows      Sender
    http2_events      what a subclass makes of it ConnectionEvents

Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK), and gRPC's ``PROTOCOL-HTTP2.md``. What is sent needs no header table; what
comes in may use one of the default size, as some peers do whatever is announced. Either end announces windows so large
that the other end need not wait; how much may be held for a peer is up to the subclasses.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from functools import partial

from hpack import HPACKError

from tandem.oip import http2
from tandem.oip.budgets import FREE_HEADERS, SHORT_DATA, STREAMS_PER_UNIT, WINDOW_COST
from tandem.oip.header_blocks import LONGEST, HeaderBlocks
from tandem.oip.http2 import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ProtocolError,
)
from tandem.oip.http2_events import ConnectionEvents
from tandem.oip.http2_sender import Sender

_UNREADABLE = (ProtocolError, HPACKError, struct.error, IndexError, ValueError)
_MAX_SETTINGS = 32
_PREFIXED = PADDED | PRIORITY


def _announcement(settings: Iterable[tuple[int, int]]) -> bytes:
    announced = (
        (http2.INITIAL_WINDOW, LARGEST_WINDOW),
        (http2.MAX_FRAME, http2.FRAME_SIZE),
        (http2.MAX_HEADERS, LONGEST),
        *settings,
    )
    frame = http2.frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *setting) for setting in announced))
    # settings do not change the window of the connection as a whole (RFC 9113, section 6.9.2)
    return frame + http2.window_update(0, LARGEST_WINDOW - http2.DEFAULT_WINDOW)


class Http2Connection(ConnectionEvents, asyncio.Protocol):
    """One end of a connection.

    Args:
        greeting: What is sent before anything else, besides the size of the windows.
        settings: Settings to announce, besides those that both ends announce.

    Attributes:
        sender: What is sent goes through it.
        reader: What is received comes through it.
    """

    def __init__(self, greeting: bytes = b"", settings: Iterable[tuple[int, int]] = ()) -> None:
        super().__init__()
        self._greeting = greeting + _announcement(settings)
        self.sender = Sender()
        self.reader = http2.FrameReader()
        self._header_blocks = HeaderBlocks()
        self._received = 0

    @property
    def connected(self) -> bool:
        """Whether something can still be sent."""
        return self.sender.connected

    def close(self) -> None:
        """Send what was written, then close."""
        self.sender.close()

    def abort(self) -> None:
        """Close at once."""
        if self.sender.transport is not None:
            self.sender.transport.abort()

    def refuse(self, error: ProtocolError) -> None:
        """Close a connection whose other end breaks the protocol."""
        self.abort()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: send the settings."""
        self.sender.transport = transport  # type: ignore[assignment]
        self.sender.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        """Take whole frames off what has come."""
        self.sender.cork()
        try:
            self.resume()
            self.reader.feed(data, self._take)
        except _UNREADABLE as error:
            # where the next frame begins is not known any more
            self.reader.clear()
            self.broken_off(ConnectionError(f"the other end does not speak HTTP/2: {error}"))
            self.refuse(error if isinstance(error, ProtocolError) else ProtocolError(str(error)))
        finally:
            self.sender.uncork()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was not answered will not be."""
        self.broken_off(exc or ConnectionError("the connection was closed before the answer was complete"))

    def pause_writing(self) -> None:
        """The other end does not read."""
        self.sender.paused = True

    def resume_writing(self) -> None:
        """The other end reads again."""
        self.sender.paused = False
        if self.connected:
            self._resume_all()

    # frames that come in

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == DATA:
            self._take_data(flags, number, payload)
        elif kind == HEADERS:
            block = http2.header_fragment(flags, payload) if flags & _PREFIXED else payload
            self._take_headers(flags, number, block)
        elif kind == WINDOW_UPDATE:
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
        # all of it counts, padding and data of streams that are over too (RFC 9113, sections 5.1 and 6.1)
        self._received += len(payload)
        # seldom, since the window is large: a frame for each message would be one more to write and to read
        if self._received > LARGEST_WINDOW // 2:
            self.sender.write(http2.window_update(0, self._received))
            self._received = 0
        stream = self.streams.get(number)
        if stream is None:
            if number == 0 or self.is_idle(number):
                raise ProtocolError("data for a stream that was never opened")
            self.spend()
            return
        if stream.ended:
            self.violated(stream, http2.STREAM_CLOSED)
            return
        content = http2.unpadded(flags, payload) if flags & PADDED else payload
        # most messages come in one frame, which is then not copied
        if stream.content:
            stream.receive(content)
        else:
            stream.content = content
        if flags & END_STREAM:
            stream.ended = True
            self.finished(stream)
        else:
            if len(content) < SHORT_DATA:
                self.spend()
            self.grown(stream)

    def _take_headers(self, flags: int, number: int, block: bytes) -> None:
        if len(block) > http2.BLOCK_SIZE:
            raise ProtocolError("a header block is too long", http2.ENHANCE_YOUR_CALM)
        if len(block) > FREE_HEADERS and self.postponed(len(block), partial(self._read_headers, flags, number, block)):
            return
        self._read_headers(flags, number, block)

    def _read_headers(self, flags: int, number: int, block: bytes) -> None:
        # decoded even where the stream is over: it may change the table that later blocks refer to (RFC 9113, section
        # 4.3)
        headers = self._header_blocks.decode(block)
        stream = self.streams.get(number)
        if stream is not None and stream.ended:
            self.violated(stream, http2.STREAM_CLOSED)
        elif headers is None:
            self.refused(number, len(block))
        elif (stream := self.opened(number, headers, len(block))) is not None and flags & END_STREAM:
            stream.ended = True
            self.finished(stream)

    def _take_window(self, number: int, payload: bytes) -> None:
        self.spend(WINDOW_COST if number else 1 + self.sender.blocked // STREAMS_PER_UNIT)
        (increment,) = struct.unpack(">I", payload)
        if number == 0:
            self.sender.widen(increment)
            self._resume_all()
            self.widened(0)
        elif stream := self.streams.get(number):
            stream.window += increment
            if not 0 < increment <= LARGEST_WINDOW or stream.window > LARGEST_WINDOW:
                self.violated(stream, http2.FLOW_CONTROL_ERROR)
            elif self.sender.resume(stream):
                self.progressed(stream)
            else:
                self.widened(number)
        elif self.is_idle(number):
            raise ProtocolError("room for a stream that was never opened")

    def _take_settings(self, flags: int, payload: bytes) -> None:
        # each has a name of two bytes and a value of four
        if len(payload) > 6 * _MAX_SETTINGS:
            raise ProtocolError("too many settings", http2.ENHANCE_YOUR_CALM)
        self.spend(1 + len(self.streams) // STREAMS_PER_UNIT)
        if flags & ACK:
            return
        # applied before they are acknowledged (RFC 9113, section 6.5.3)
        self.sender.adopt(payload, self.streams)
        self.sender.write(http2.frame(SETTINGS, ACK, 0, b""))
        self._resume_all()
        # a larger first window is room for streams that had none
        self.widened(0)

    def _take_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ProtocolError("a ping has 8 bytes", http2.FRAME_SIZE_ERROR)
        self.spend()
        if flags & ACK:
            self.pinged_back()
        else:
            self.sender.write(http2.frame(PING, ACK, 0, payload))

    def _resume_all(self) -> None:
        for stream in self.sender.resume_all(self.streams):
            self.progressed(stream)
