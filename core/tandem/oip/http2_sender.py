"""What one end of a connection sends: frames, and what streams have to say as far as flow control lets it go out.

What answers frames that have come together goes out together. What the windows do not hold, or the other end does not
read, waits with its stream, not with the transport.

Source: RFC 9113, sections 5.2 and 6.9.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from tandem.oip.http2 import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    MAX_FRAME,
    MAX_STREAMS,
    ProtocolError,
    frame,
)
from tandem.oip.http2_stream import Http2Stream
from tandem.oip.http2_writer import FrameWriter

_LEAST_FRAME_SIZE: Final = 16_384


class Sender(FrameWriter):
    """One end of a connection, as far as it sends.

    Attributes:
        max_streams: Streams that the other end takes at once.
        stream_window: Bytes that the other end takes of a new stream.
        paused: The transport takes no more for now, since the other end does not read.
    """

    __slots__ = ("_blocked", "_frame_size", "_window", "max_streams", "paused", "stream_window")

    def __init__(self) -> None:
        super().__init__()
        self.max_streams = LARGEST_STREAM
        self.stream_window = DEFAULT_WINDOW
        self.paused = False
        self._window = DEFAULT_WINDOW
        self._frame_size = _LEAST_FRAME_SIZE
        self._blocked: dict[int, Http2Stream] = {}

    @property
    def blocked(self) -> int:
        """How many streams have something that waits."""
        return len(self._blocked)

    def takes(self, stream: Http2Stream) -> bool:
        """Whether the windows have room for anything of a stream."""
        return stream.window > 0 and self._window > 0

    # streams

    def send(self, stream: Http2Stream, head: bytes, content: bytes, trailers: bytes = b"") -> None:
        """Send all of a stream; what the windows do not hold is left in it, and follows by itself.

        Args:
            stream: Where it goes.
            head: Header block before the content.
            content: The content.
            trailers: Header block after it; without one the data ends the stream.
        """
        stream.unsent, stream.offset = content, 0
        stream.trailers = trailers
        self._send([frame(HEADERS, END_HEADERS, stream.number, head)], stream)

    def send_part(self, stream: Http2Stream, head: bytes, content: bytes) -> bool:
        """Send what is not the end of a stream.

        Args:
            stream: Where it goes.
            head: Header block before the content, if nothing of the stream has been sent.
            content: The content.

        Returns:
            Whether how much of the stream waits has to be counted anew.
        """
        frames = [] if stream.open else [frame(HEADERS, END_HEADERS, stream.number, head)]
        stream.unsent, stream.offset = stream.unsent[stream.offset :] + content, 0
        stream.open = True
        return self._send(frames, stream)

    def send_end(self, stream: Http2Stream, trailers: bytes) -> bool:
        """End a stream of which parts have been sent.

        Args:
            stream: Which.
            trailers: Header block after all of it.

        Returns:
            Whether how much of the stream waits has to be counted anew.
        """
        stream.trailers = trailers
        stream.open = False
        return self._send([], stream)

    def resume(self, stream: Http2Stream) -> bool:
        """Send what waits of a stream, as far as there is room now, and return whether something did wait."""
        return stream.number in self._blocked and self._send([], stream)

    def resume_all(self, streams: Mapping[int, Http2Stream]) -> Iterator[Http2Stream]:
        """Send what waits of all streams, as far as there is room now, and yield those that go on.

        Args:
            streams: By number, all that are not over.
        """
        for number, stream in list(self._blocked.items()):
            if self._window <= 0 or self.paused:
                return
            # given up since: only here is it dropped
            if number not in streams:
                del self._blocked[number]
            elif stream.window > 0:
                self._send([], stream)
                yield stream

    # window updates of the other end

    def widen(self, increment: int) -> None:
        """The other end takes more on the whole connection.

        Raises:
            ProtocolError: The window is too large, or not enlarged.
        """
        self._window += increment
        if not 0 < increment <= LARGEST_WINDOW or self._window > LARGEST_WINDOW:
            raise ProtocolError("a window is too large, or is not enlarged", FLOW_CONTROL_ERROR)

    def adopt(self, settings: bytes, streams: Mapping[int, Http2Stream]) -> None:
        """Apply the other end's settings.

        Args:
            settings: Payload of a frame.
            streams: By number, all that are not over.

        Raises:
            ProtocolError: A window is too large.
            struct.error: They are not whole.
        """
        for name, value in struct.iter_unpack(">HI", settings):
            if name == INITIAL_WINDOW:
                if value > LARGEST_WINDOW:
                    raise ProtocolError("a window is too large", FLOW_CONTROL_ERROR)
                for stream in streams.values():
                    # may fall below zero (RFC 9113, section 6.9.2)
                    stream.window += value - self.stream_window
                self.stream_window = value
            elif name == MAX_FRAME:
                # no end may announce less (RFC 9113, section 6.5.2)
                self._frame_size = max(value, _LEAST_FRAME_SIZE)
            elif name == MAX_STREAMS:
                self.max_streams = value

    def _send(self, frames: list[bytes], stream: Http2Stream) -> bool:
        """Send some frames and as much of a stream as the windows allow, with its trailers after the last of it.

        Returns:
            Whether something of it waits, or did.
        """
        unsent, start, end = stream.unsent, stream.offset, len(stream.unsent)
        while start < end and (size := min(end - start, self._frame_size, self._window, stream.window)) > 0:
            if self.paused:
                break
            part = unsent if size == end else unsent[start : start + size]
            start += size
            self._window -= size
            stream.window -= size
            ends = start == end and not stream.trailers and not stream.open
            frames.append(frame(DATA, END_STREAM if ends else 0, stream.number, part))
        if start < end:
            stream.offset = start
            self._blocked[stream.number] = stream
            waits = True
        else:
            stream.unsent, stream.offset = b"", 0
            waits = self._blocked.pop(stream.number, None) is not None
            if stream.trailers:
                frames.append(frame(HEADERS, END_HEADERS | END_STREAM, stream.number, stream.trailers))
                stream.trailers = b""
        if frames:
            # one write: head, data and trailers of a small answer are one packet
            self.write(b"".join(frames))
        return waits
