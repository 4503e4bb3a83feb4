"""gRPC calls whose framing is right, with anything in their messages and metadata."""

from __future__ import annotations

import asyncio
import gzip
import struct
from dataclasses import dataclass
from random import Random
from typing import Final

from benchmarks.fuzz import http2
from benchmarks.fuzz.http2 import DATA, END_HEADERS, END_STREAM, GREETING, HEADERS, Connection, frame, literal
from benchmarks.fuzz.mutations import choose, mutate
from benchmarks.fuzz.seeds import GRPC_SERVICE, Call

IN_FLIGHT: Final = 16
STREAMS: Final = 3000
"""Calls of one connection; then comes a new one."""

_VISIBLE: Final = bytes(code if 0x21 <= code < 0x7F else 0x78 for code in range(256))
_METADATA: Final = (
    (b"grpc-timeout", (b"1S", b"1m", b"0n", b"99999999H", b"1", b"S", b"-1S", b"123456789S")),
    (b"grpc-encoding", (b"gzip", b"deflate", b"identity", b"br")),
    (b"grpc-accept-encoding", (b"gzip", b"identity, deflate", b"x")),
    (b"x-request-id", (b"a" * 500, b"1 2", b"")),
    (b"traceparent", (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"00-0-0-0")),
    (b"user-agent", (b"fuzz", b"x" * 3000)),
    (b"x-data-bin", (b"AAAA", b"AA", b"!!")),
)
_FRAME: Final = 16_384


@dataclass(frozen=True, slots=True)
class CallCase:
    """One call.

    Attributes:
        name: ``SURFACE:NUMBER``.
        block: Header block.
        content: What its stream holds: a message with its prefix.
    """

    name: str
    block: bytes
    content: bytes

    def frames(self, stream: int) -> bytes:
        """Its frames, where it is the call of this stream."""
        parts = [frame(HEADERS, END_HEADERS, stream, self.block)]
        parts += [
            frame(DATA, 0 if at + _FRAME < len(self.content) else END_STREAM, stream, self.content[at : at + _FRAME])
            for at in range(0, max(len(self.content), 1), _FRAME)
        ]
        return b"".join(parts)


def framed(random: Random, seeds: tuple[Call, ...], name: str) -> CallCase:
    """A call that must be answered."""
    call = seeds[int(random.random() * len(seeds))]
    path, message, extra = call.path, call.message, b""
    part = random.random()
    if part < 0.85:
        message = mutate(random, message)[:60_000]
    elif part < 0.9:
        path = b"/" + mutate(random, path, 2).translate(_VISIBLE)
    if part >= 0.8:
        header, values = _METADATA[int(random.random() * len(_METADATA))]
        value = choose(random, values)
        extra = literal(header, value if random.random() < 0.7 else mutate(random, value, 1).translate(_VISIBLE))
    content = http2.prefixed(message)
    if part >= 0.95:
        content = mutate(random, content, 1)
    elif part >= 0.93:
        packed = gzip.compress(message, 1, mtime=0)
        packed = packed if random.random() < 0.5 else mutate(random, packed, 1)
        extra, content = literal(b"grpc-encoding", b"gzip"), struct.pack(">BI", 1, len(packed)) + packed
    return CallCase(name, http2.head(path, extra), content[:60_000])


class CallConnection(Connection):
    """A connection with several calls at once.

    Attributes:
        pending: Calls without an answer, by stream.
        outcomes: Calls that are over, with their headers, or the code with which the stream was reset.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pending: dict[int, CallCase] = {}
        self.outcomes: list[tuple[CallCase, dict[str, str] | int]] = []
        self.opened = 0
        self._headers: dict[int, dict[str, str]] = {}
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say how we speak."""
        super().connection_made(transport)
        self.transport.write(GREETING)

    @property
    def usable(self) -> bool:
        """Whether it takes more calls."""
        return not self.closed and self.goaway is None and self.opened < STREAMS

    def call(self, case: CallCase) -> None:
        """Send a call."""
        stream = 2 * self.opened + 1
        self.opened += 1
        self.pending[stream] = case
        self.window -= len(case.content)
        self.transport.write(case.frames(stream))

    def news(self) -> asyncio.Future[None]:
        """Is done with the next thing that happens."""
        self._waiter = asyncio.get_running_loop().create_future()
        if self.closed or self.outcomes:
            self._waiter.set_result(None)
        return self._waiter

    def answered(self, stream: int, headers: dict[str, str], *, last: bool) -> None:
        """Headers or trailers have come."""
        block = self._headers.setdefault(stream, {})
        block.update(headers)
        if last:
            self._finish(stream, block)

    def was_reset(self, stream: int, code: int) -> None:
        """The server has given a call up, or needs no more of it after its answer."""
        self._finish(stream, code)

    def changed(self) -> None:
        """Something has happened."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _finish(self, stream: int, outcome: dict[str, str] | int) -> None:
        self._headers.pop(stream, None)
        if case := self.pending.pop(stream, None):
            self.outcomes.append((case, outcome))
            self.changed()


async def is_live(port: int) -> bool:
    """Whether a server answers ``ServerLive``."""
    connection = await http2.connect(port, CallConnection())
    try:
        connection.call(CallCase("live", http2.head(GRPC_SERVICE + b"ServerLive"), http2.prefixed(b"")))
        while not connection.outcomes and not connection.closed:
            await connection.news()
        return [outcome.get("grpc-status") for _, outcome in connection.outcomes if isinstance(outcome, dict)] == ["0"]
    finally:
        connection.transport.abort()
