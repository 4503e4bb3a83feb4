"""HTTP/2: a client's connection, and sequences of frames that are changed anywhere."""

from __future__ import annotations

import asyncio
import struct
from random import Random
from typing import Final, TypeVar

from hpack import Decoder, HPACKError

from benchmarks.fuzz.http1 import Case
from benchmarks.fuzz.mutations import TOKENS, choose, mutate
from benchmarks.fuzz.seeds import Call

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
LAST: Final = b"the last"
"""What the last ping of a sequence says."""

GREETING: Final = PREFACE + bytes.fromhex(
    "00000c 04 00 00000000 0001 00000000 0004 00100000"  # no header table, 1 MiB for each stream
    "000004 08 00 00000000 3fff0000"  # 1 GiB for all of them
)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header outside of the table (RFC 7541, section 6.2.2)."""
    return b"\0" + _text(name) + _text(value)


def _text(value: bytes) -> bytes:
    length = len(value)
    if length < 127:
        return bytes((length,)) + value
    length, octets = length - 127, [127]
    while length >= 128:
        octets.append(length % 128 + 128)
        length //= 128
    return bytes((*octets, length)) + value


def head(path: bytes, extra: bytes = b"") -> bytes:
    """The header block of a call: POST, http, and what gRPC asks for."""
    about = literal(b":path", path) + literal(b":authority", b"a")
    return b"\x83\x86" + about + literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers") + extra


def prefixed(message: bytes) -> bytes:
    """A gRPC message in its stream."""
    return struct.pack(">BI", 0, len(message)) + message


def raw(random: Random, seeds: tuple[Call, ...], name: str) -> Case:
    """A few calls and other frames on one connection, changed anywhere; a ping is the last frame."""
    frames = [frame(SETTINGS, 0, 0, _settings(random))]
    for stream in range(1, 2 + 2 * int(random.random() * 3), 2):
        call = seeds[int(random.random() * len(seeds))]
        path = call.path if random.random() < 0.85 else mutate(random, call.path, 2)
        extra = literal(choose(random, TOKENS), choose(random, TOKENS)) if random.random() < 0.1 else b""
        block, message = head(path, extra), prefixed(call.message)
        if random.random() < 0.3:
            block = mutate(random, block, 2)
        cut = int(random.random() * len(block)) if random.random() < 0.2 else 0
        if cut:
            frames.append(frame(HEADERS, 0, stream, block[:cut]))
            frames.append(frame(CONTINUATION, END_HEADERS, stream, block[cut:]))
        else:
            frames.append(frame(HEADERS, END_HEADERS, stream, block))
        frames.append(frame(DATA, END_STREAM, stream, message))
    for _ in range(int(random.random() * 4)):
        frames.insert(int(random.random() * (len(frames) + 1)), _other(random))
    if random.random() < 0.5:
        at = int(random.random() * len(frames))
        frames[at] = _changed(random, frames[at])
    sent = b"".join(frames)
    if random.random() < 0.3:
        sent = mutate(random, sent, 2)
    preface = PREFACE if random.random() < 0.98 else mutate(random, PREFACE, 1)
    return Case(name, preface + sent + frame(PING, 0, 0, LAST))


def _settings(random: Random) -> bytes:
    values = (0, 1, 2**14, 65_535, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1)
    return b"".join(
        struct.pack(">HI", int(random.random() * 8), values[int(random.random() * len(values))])
        for _ in range(int(random.random() * 3))
    )


def _other(random: Random) -> bytes:
    stream = (0, 1, 3, 2, 5, 7, 2**31 - 1, 2**31)[int(random.random() * 8)]
    payload = (b"", b"\0" * 4, b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\0" * 8, b"\xff" * 5)[int(random.random() * 6)]
    kind, flags = int(random.random() * 12), int(random.random() * 256) & int(random.random() * 256)
    return frame(kind, flags, stream, payload if random.random() < 0.8 else choose(random, TOKENS))


def _changed(random: Random, content: bytes) -> bytes:
    part = random.random()
    if part < 0.2:  # twice
        return content + content
    if part < 0.3:
        return b""
    at = int(random.random() * 9)
    return content[:at] + bytes((int(random.random() * 256),)) + content[at + 1 :]


class Connection(asyncio.Protocol):
    """A client's connection; what comes is handed to the methods below."""

    closed = False
    goaway: int | None = None
    pinged = False

    def __init__(self) -> None:
        self.decoder = Decoder(max_header_list_size=2**20)
        self._rest = b""
        self._block: tuple[int, int, bytes] | None = None
        self._known: dict[bytes, dict[str, str]] = {}
        self._received = 0
        self.window = 65_535

    def answered(self, stream: int, headers: dict[str, str], *, last: bool) -> None:
        """Headers or trailers have come."""

    def was_reset(self, stream: int, code: int) -> None:
        """The server has given a stream up."""

    def changed(self) -> None:
        """The connection was closed, or a ping was answered, or a window opened."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed."""
        self.closed = True
        self.changed()

    def data_received(self, data: bytes) -> None:
        """Take whole frames off what has come."""
        content = self._rest + data
        at, end = 0, len(content)
        while end - at >= 9:
            stop = at + 9 + int.from_bytes(content[at : at + 3], "big")
            if stop > end:
                break
            stream = int.from_bytes(content[at + 5 : at + 9], "big") & 0x7FFFFFFF
            self._take(content[at + 3], content[at + 4], stream, content[at + 9 : stop])
            at = stop
        self._rest = content[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._received += len(payload)
            if self._received > 2**20:
                self.transport.write(frame(WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
                self._received = 0
            if flags & END_STREAM:
                self.answered(stream, {}, last=True)
        elif kind == HEADERS:
            self._take_block(stream, flags, flags, payload)
        elif kind == CONTINUATION and self._block is not None:
            self._take_block(self._block[0], self._block[1], flags, self._block[2] + payload)
        elif kind == RST_STREAM:
            self.was_reset(stream, int.from_bytes(payload, "big"))
        elif kind == SETTINGS and not flags & ACK:
            self.transport.write(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING:
            if flags & ACK:
                self.pinged |= payload == LAST
                self.changed()
            else:
                self.transport.write(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and stream == 0:
            self.window += int.from_bytes(payload, "big")
            self.changed()
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
            self.changed()

    def _take_block(self, stream: int, first: int, flags: int, block: bytes) -> None:
        if not flags & END_HEADERS:
            self._block = (stream, first, block)
            return
        self._block = None
        self.answered(stream, self._decode(block), last=bool(first & END_STREAM))

    def _decode(self, block: bytes) -> dict[str, str]:
        """Headers by name. Servers say the same thing again and again, and are asked to use no table."""
        headers = self._known.get(block)
        if headers is None:
            try:
                decoded = self.decoder.decode(block, raw=True)
            except HPACKError as error:
                return {":status": f"undecodable: {error}"}
            headers = {bytes(name).decode("latin-1"): bytes(value).decode("latin-1") for name, value in decoded}
            if not self.decoder.header_table.dynamic_entries and len(self._known) < 1000:
                self._known[block] = headers
        return headers


C = TypeVar("C", bound=Connection)


async def connect(port: int, connection: C) -> C:
    """Connect to a server on this machine.

    Raises:
        OSError: Nobody listens.
    """
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
    return connection


class RawConnection(Connection):
    """Sends one sequence of frames, and waits for what comes of it.

    Attributes:
        outcomes: Headers of streams and codes with which they were reset.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[dict[str, str] | int] = []
        self._streams: dict[int, dict[str, str]] = {}
        self._over = asyncio.get_running_loop().create_future()

    def send(self, case: Case) -> asyncio.Future[None]:
        """Send it; the result is there when the last ping is answered or the connection over."""
        self.transport.write(case.sent)
        return self._over

    def answered(self, stream: int, headers: dict[str, str], *, last: bool) -> None:
        """Headers or trailers have come."""
        block = self._streams.setdefault(stream, {})
        block.update(headers)
        if last:
            self.outcomes.append(block)

    def was_reset(self, stream: int, code: int) -> None:
        """The server has given a stream up."""
        self.outcomes.append(code)

    def changed(self) -> None:
        """Nothing more will come of it."""
        if (self.closed or self.pinged or self.goaway is not None) and not self._over.done():
            self._over.set_result(None)
