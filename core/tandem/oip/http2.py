"""Frames of HTTP/2: their types, flags and codes, how one is written, and how they are read as bytes come in.

Source: RFC 9113.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113, section 3.4)."""

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADERS = 2, 3, 4, 5, 6
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 3, 5, 6
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 7, 8, 11

DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_STREAM: Final = 2**31 - 1

FRAME_SIZE: Final = 2**18
"""Longest frame that is taken: large messages come in few frames, and none is put together from many reads."""

BLOCK_SIZE: Final = 2**16
"""Longest header block that is taken."""

# empty fragments take no room, and would never end
_MAX_FRAGMENTS: Final = 64
_HEAD_SIZE: Final = 9
# struct has no number of 24 bits: length and type share one of 32
_HEAD: Final = struct.Struct(">IBI").pack

Take = Callable[[int, int, int, bytes], None]
"""What is done with a frame: type, flags, stream, payload."""


class ProtocolError(Exception):
    """The other end breaks the protocol.

    Attributes:
        code: The error code (RFC 9113, section 7).
    """

    def __init__(self, message: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class HeaderBlock:
    """A header block of which not all fragments have come.

    Attributes:
        number: Of the stream.
        flags: Of the frame that began it.
        fragments: Those that have come.
        size: Their bytes.
        waits: How often it has been seen to wait for the next one.
    """

    number: int
    flags: int
    fragments: list[bytes]
    size: int
    waits: int = 0


class FrameReader:
    """Splits incoming bytes into whole frames. A header block in several frames becomes one frame of type ``HEADERS``.

    Attributes:
        count: Frames that have come.
        paused: Frames are left where they are for now.
        block: A header block that is not complete.
    """

    __slots__ = ("_awaited", "_rest", "block", "count", "paused")

    def __init__(self) -> None:
        self.count = 0
        self.paused = False
        self.block: HeaderBlock | None = None
        self._rest: bytes | bytearray = b""
        self._awaited = 0

    @property
    def within_frame(self) -> bool:
        """Whether something has come that has not been taken."""
        return bool(self._rest)

    def feed(self, data: bytes, take: Take) -> None:
        """Take the frames that are complete with some more bytes.

        Args:
            data: What has come.
            take: Is called with each frame.

        Raises:
            ProtocolError: It is not a valid frame, or must not come now. Of what ``take`` raises nothing is caught.
        """
        if self._rest:
            self._rest += data
            # bytes of a long frame are only collected until all of it is there
            if self.paused or len(self._rest) < self._awaited:
                return
            data = bytes(self._rest)
        start, end = 0, len(data)
        self._awaited = _HEAD_SIZE
        while end - start >= _HEAD_SIZE and not self.paused:
            length = int.from_bytes(data[start : start + 3], "big")
            if length > FRAME_SIZE:
                raise ProtocolError(f"a frame of {length} bytes", FRAME_SIZE_ERROR)
            stop = start + _HEAD_SIZE + length
            if stop > end:
                self._awaited = stop - start
                break
            kind, flags = data[start + 3], data[start + 4]
            # the first bit is reserved, and to be ignored (RFC 9113, section 4.1)
            number = int.from_bytes(data[start + 5 : start + 9], "big") & LARGEST_STREAM
            payload = data[start + _HEAD_SIZE : stop]
            self.count += 1
            if self.block is None and kind != CONTINUATION and (kind != HEADERS or flags & END_HEADERS):
                take(kind, flags, number, payload)
            elif (block := self._joined(kind, flags, number, payload)) is not None:
                take(HEADERS, block.flags & END_STREAM | END_HEADERS, number, b"".join(block.fragments))
            start = stop
        # to be grown in place: a frame that comes in many pieces is not copied with each of them
        self._rest = bytearray(data[start:]) if start < end else b""

    def clear(self) -> None:
        """Drop what has come and was not taken."""
        self._rest = b""

    def _joined(self, kind: int, flags: int, number: int, payload: bytes) -> HeaderBlock | None:
        """The header block that a fragment completes."""
        block = self.block
        if block is None:
            if kind == CONTINUATION:
                raise ProtocolError("a header block goes on that never began")
            fragment = header_fragment(flags, payload)
            self.block = HeaderBlock(number, flags, [fragment], len(fragment))
            return None
        # nothing may come between fragments, not even of other streams (RFC 9113, section 6.10)
        if kind != CONTINUATION or number != block.number:
            raise ProtocolError("a header block is interrupted")
        block.fragments.append(payload)
        block.size += len(payload)
        # refused while it comes, not once it is there: it might never end
        if len(block.fragments) > _MAX_FRAGMENTS or block.size > BLOCK_SIZE:
            raise ProtocolError("a header block is too long", ENHANCE_YOUR_CALM)
        if not flags & END_HEADERS:
            return None
        self.block = None
        return block


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame: length (24 bits), type, flags, stream, payload (RFC 9113, section 4.1)."""
    return _HEAD(len(payload) << 8 | kind, flags, stream) + payload


def reset(stream: int, code: int) -> bytes:
    """A frame that gives up a stream."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def goaway(last: int, code: int) -> bytes:
    """A frame that says which stream was the last to be taken, and why."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code))


def window_update(stream: int, increment: int) -> bytes:
    """A frame that makes room for more bytes, of one stream or, with 0, of all."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def unpadded(flags: int, payload: bytes) -> bytes:
    """A payload without its padding.

    Raises:
        ProtocolError: There is more padding than payload.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def header_fragment(flags: int, payload: bytes) -> bytes:
    """What a frame of type ``HEADERS`` has of a header block.

    Raises:
        ProtocolError: There is more padding than payload.
    """
    fragment = unpadded(flags, payload)
    # priorities are read past: they mean nothing any more (RFC 9113, section 5.3.2)
    return fragment[5:] if flags & PRIORITY else fragment
