"""HTTP/1: requests whose framing is right with anything in them, and requests whose bytes are anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from benchmarks.fuzz.mutations import choose, mutate
from benchmarks.fuzz.seeds import Request

METHODS: Final = (b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"TRACE", b"LOCK", b"M-SEARCH")
_VISIBLE: Final = bytes(code if 0x21 <= code < 0x7F and code != 0x23 else 0x78 for code in range(256))
_VALUE: Final = bytes(code if 0x20 <= code < 0x7F else 0x79 for code in range(256))

_HEADERS: Final = (
    (b"content-type", (b"application/json", b"text/plain", b"application/json; charset=utf-16", b"", b"*/*")),
    (b"content-encoding", (b"gzip", b"deflate", b"br", b"identity", b"gzip, gzip", b"x")),
    (b"accept-encoding", (b"gzip", b"deflate;q=0.5", b"*;q=0", b"gzip;q=x", b"br")),
    (b"inference-header-content-length", (b"0", b"1", b"-1", b"99999999999999999999", b"10", b"1e3", b"x")),
    (b"x-envoy-expected-rq-timeout-ms", (b"0", b"1", b"1.5", b"-1", b"nan", b"99999999999999", b"x")),
    (b"x-request-id", (b"a" * 300, b"", b"1 2")),
    (b"traceparent", (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"00-0-0-0", b"ff")),
    (b"x-explain", (b"vector", b"x")),
    (b"expect", (b"100-continue", b"x")),
    (b"upgrade", (b"h2c", b"websocket")),
    (b"accept", (b"text/html", b"x")),
)

_RAW: Final = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\xff", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/1.1"),
    *(b"content-length: 0\r\n", b"content-length: 5\r\n", b"Content-Length: -1\r\n", b"content-length: 1, 1\r\n"),
    *(b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip, chunked\r\n", b"Transfer-Encoding : chunked\r\n"),
    *(
        b"connection: close\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"expect: 100-continue\r\n",
        b" folded\r\n",
    ),
    *(
        b"host: a\r\n",
        b"a: " + b"b" * 9000 + b"\r\n",
        b"x:\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"5\r\nhello\r\n",
    ),
    *(b"GET / HTTP/1.1\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"*", b"//[::1"),
)


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection after it."""
        return self.headers.get("connection", "").lower() == "close"


@dataclass(frozen=True, slots=True)
class Case:
    """One request as it is sent.

    Attributes:
        name: ``SURFACE:NUMBER``.
        sent: All of its bytes.
        headless: Whether its answer has no body.
    """

    name: str
    sent: bytes
    headless: bool = False


def framed(random: Random, seeds: tuple[Request, ...], name: str) -> Case:
    """A request whose framing is right: it must be answered."""
    request = seeds[int(random.random() * len(seeds))]
    method, path, headers, body = request.method, request.path, request.headers, request.body
    part = random.random()
    if body and part < 0.75:
        body = mutate(random, body)
    elif part < 0.8:
        path = b"/" + mutate(random, path, 2).translate(_VISIBLE)
    if not 0.1 < part < 0.75:
        header, values = _HEADERS[int(random.random() * len(_HEADERS))]
        value = choose(random, values)
        if random.random() < 0.3:
            value = mutate(random, value, 2).translate(_VALUE)
        headers = (*headers, (header, value))
    if part >= 0.95:
        method = choose(random, METHODS)
    lines = [b"%b %b HTTP/1.1\r\nhost: 127.0.0.1\r\n" % (method, path)]
    lines += [b"%b: %b\r\n" % header for header in headers]
    if random.random() < 0.05:
        lines.append(b"transfer-encoding: chunked\r\n\r\n" + _chunked(random, body))
    else:
        lines.append(b"content-length: %d\r\n\r\n%b" % (len(body), body))
    return Case(name, b"".join(lines), method == b"HEAD")


def raw(random: Random, seeds: tuple[Request, ...], name: str) -> Case:
    """A request whose bytes are changed anywhere, its framing included."""
    sent = framed(random, seeds, name).sent
    for _ in range(1 + int(random.random() * 3)):
        if random.random() < 0.5:
            end = sent.find(b"\r\n\r\n") + 4
            at = int(random.random() * end)
            sent = sent[:at] + choose(random, _RAW) + sent[at + int(random.random() * 4) :]
        else:
            sent = mutate(random, sent, 1)
    return Case(name, sent)


def _chunked(random: Random, body: bytes) -> bytes:
    parts = []
    while body:
        size = 1 + int(random.random() * 200)
        part, body = body[:size], body[size:]
        parts.append(b"%x\r\n%b\r\n" % (len(part), part))
    return b"".join((*parts, b"0\r\n\r\n"))


class Connection(asyncio.Protocol):
    """A client's connection.

    Attributes:
        answers: To what was last sent.
        closed: Whether the server has closed it.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.closed = False
        self._expected: list[Case] = []
        self._buffer = b""
        self._waiter: asyncio.Future[None] | None = None

    def send(self, cases: list[Case]) -> asyncio.Future[None]:
        """Send requests, one after the other; the result is there with the last answer or the end of the connection."""
        self.answers, self._expected = [], cases
        self._waiter = asyncio.get_running_loop().create_future()
        if self.closed:
            self._waiter.set_result(None)
        else:
            self._transport.write(b"".join([case.sent for case in cases]))
        return self._waiter

    def abort(self) -> None:
        """Close it."""
        self.closed = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Take whole answers off what has come."""
        self._buffer += data
        while len(self.answers) < len(self._expected) and self._buffer:
            headless = self._expected[len(self.answers)].headless
            pair = take(self._buffer, headless)
            if pair is None:
                return
            answer, self._buffer = pair
            if answer.status >= 200:  # 100 goes before the answer
                self.answers.append(answer)
        if len(self.answers) == len(self._expected):
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def take(content: bytes, headless: bool) -> tuple[Answer, bytes] | None:
    """The first answer and what follows it; None where it is not whole.

    Raises:
        ValueError: It is not HTTP.
    """
    end = content.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = content[:end].split(b"\r\n")
    status = int(lines[0][9:12])
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        headers[name.lower().decode("latin-1")] = value.strip().decode("latin-1")
    end += 4
    if headless or status < 200 or status in (204, 304):
        return Answer(status, headers, b""), content[end:]
    if "chunked" in headers.get("transfer-encoding", ""):
        return _take_chunks(status, headers, content, end)
    stop = end + int(headers.get("content-length", 0))
    return (Answer(status, headers, content[end:stop]), content[stop:]) if len(content) >= stop else None


def _take_chunks(status: int, headers: dict[str, str], content: bytes, at: int) -> tuple[Answer, bytes] | None:
    parts: list[bytes] = []
    while (line := content.find(b"\r\n", at)) >= 0:
        size = int(content[at:line], 16)
        at = line + 4 + size
        if len(content) < at:
            return None
        if not size:
            return Answer(status, headers, b"".join(parts)), content[at:]
        parts.append(content[line + 2 : at - 2])
    return None


async def connect(port: int, make: Callable[[], Connection] = Connection) -> Connection:
    """A new connection to a server on this machine.

    Raises:
        OSError: Nobody listens.
    """
    _, connection = await asyncio.get_running_loop().create_connection(make, "127.0.0.1", port)
    return connection


async def is_live(port: int) -> bool:
    """Whether a server says that it is live."""
    connection = await connect(port)
    try:
        await connection.send([Case("live", b"GET /v2/health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")])
        return [answer.status for answer in connection.answers] == [200]
    finally:
        connection.abort()
