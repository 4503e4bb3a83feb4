"""Load generator: a closed loop over keep-alive connections, in a process of its own.

It shares the machine with what it measures, so it does next to nothing per request: request bytes are made before, an
answer's status and end are found by searching, and its latency goes into an array that is there already. One answer in
:data:`SAMPLE` is kept and handed back, so that answers given under load can be checked too.

Run as ``python -m benchmarks.load``; the order comes as JSON on stdin, the result goes as JSON to stdout.
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from dataclasses import dataclass, field

import msgspec
import uvloop

from benchmarks import cpu

CAPACITY = 2_000_000
SAMPLE = 64


class Order(msgspec.Struct):
    """What to do.

    Attributes:
        port: Where, on loopback.
        path: Of the POST.
        bodies: JSON bodies, taken in turn.
        clients: Connections, each with one request in flight.
        warmup: Seconds before measuring.
        seconds: Seconds of measuring.
        pids: Processes whose CPU time is read, by role.
    """

    port: int
    path: str
    bodies: list[str]
    clients: int
    warmup: float
    seconds: float
    pids: dict[str, int]


class Outcome(msgspec.Struct):
    """What was found.

    Attributes:
        answers: Good answers within the measured time.
        seconds: The measured time.
        errors: Answers with another status than 200 and lost connections, at any time.
        first_error: The beginning of the first of them.
        milliseconds: Latency of the good answers at some percentiles, and their mean.
        cpu_seconds: CPU time used within the measured time, by role; ``load`` is the generator's own.
        samples: Some answers, each with the index of the body that it answers.
    """

    answers: int
    seconds: float
    errors: int
    first_error: str
    milliseconds: dict[str, float]
    cpu_seconds: dict[str, float]
    samples: list[tuple[int, str]]


@dataclass
class Tally:
    """What all connections write to."""

    requests: list[bytes]
    latencies: array[float] = field(default_factory=lambda: array("d", bytes(8 * CAPACITY)))
    turn: int = 0
    count: int = 0
    errors: int = 0
    first_error: str = ""
    samples: list[tuple[int, bytes]] = field(default_factory=list)
    over: bool = False

    def fail(self, answer: bytes) -> None:
        """Count an error, keep the first."""
        self.errors += 1
        self.first_error = self.first_error or answer[:500].decode(errors="replace")


class Connection(asyncio.Protocol):
    """One client: sends a request, waits for the whole answer, sends the next."""

    __slots__ = ("_buffer", "_clock", "_index", "_sent", "_tally", "_transport")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = b""
        self._clock = time.perf_counter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take what came; when the answer is whole, note it and send the next request."""
        answer = self._buffer + data if self._buffer else data
        if find_body(answer) is None:
            self._buffer = answer
            return
        self._buffer = b""
        tally = self._tally
        if answer.startswith(b"HTTP/1.1 200"):
            tally.latencies[tally.count] = self._clock() - self._sent
            tally.count += 1
            if tally.count % SAMPLE == 0:
                tally.samples.append((self._index, answer))
        else:
            tally.fail(answer)
        if not tally.over:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """A server that hangs up before the end is an error."""
        if not self._tally.over:
            self._tally.fail(f"connection lost: {exc}".encode())

    def stop(self, deadline: float) -> None:
        """Hang up; a request sent before the deadline and still without an answer is an error."""
        if self._sent < deadline:
            self._tally.fail(b"no answer")
        self._transport.abort()

    def _send(self) -> None:
        tally = self._tally
        index = self._index = tally.turn
        tally.turn = index + 1 if index + 1 < len(tally.requests) else 0
        self._sent = self._clock()
        self._transport.write(tally.requests[index])


def find_body(answer: bytes) -> int | None:
    """Where the body of an answer begins, once the answer is whole; None before.

    Raises:
        ValueError: if the answer says neither how long it is nor that it comes in chunks, or is longer than it says.
    """
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return None
    at = answer.find(b"\r\ncontent-length: ", 0, end + 2)
    if at >= 0:
        length = int(answer[at + 18 : answer.index(b"\r", at + 18)])
    else:
        head = answer[: end + 2].lower()
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            return end + 4 if answer.endswith(b"0\r\n\r\n") else None
        at = head.index(b"\r\ncontent-length:")
        length = int(head[at + 17 : head.index(b"\r", at + 17)])
    missing = end + 4 + length - len(answer)
    if missing < 0:
        raise ValueError(f"{-missing} bytes follow the answer")
    return end + 4 if missing == 0 else None


def content(answer: bytes) -> str:
    """The body of a whole answer, taken out of its chunks where it came in chunks."""
    start = find_body(answer)
    if start is None:
        raise ValueError("the answer is not whole")
    body = answer[start:]
    if b"\r\ncontent-length:" in answer[:start].lower():
        return body.decode()
    pieces, at = [], 0
    while size := int(body[at : (line := body.index(b"\r\n", at))].partition(b";")[0], 16):
        pieces.append(body[line + 2 : line + 2 + size])
        at = line + 4 + size
    return b"".join(pieces).decode()


def render(path: str, body: str) -> bytes:
    """The bytes of one request."""
    encoded = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded


async def run(order: Order) -> Outcome:
    """Put the load on, and measure."""
    tally = Tally([render(order.path, body) for body in order.bodies])
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(tally), "127.0.0.1", order.port))[1]
        for _ in range(order.clients)
    ]
    await asyncio.sleep(order.warmup)
    tally.samples.clear()
    first, started, before = tally.count, time.perf_counter(), _cpu(order)
    await asyncio.sleep(order.seconds)
    last, stopped, after = tally.count, time.perf_counter(), _cpu(order)
    tally.over = True
    for connection in connections:
        connection.stop(stopped - order.seconds)
    return Outcome(
        answers=last - first,
        seconds=stopped - started,
        errors=tally.errors,
        first_error=tally.first_error,
        milliseconds=summary(sorted(tally.latencies[first:last])),
        cpu_seconds={role: after[role] - before[role] for role in after},
        samples=[(index, content(answer)) for index, answer in tally.samples],
    )


def _cpu(order: Order) -> dict[str, float]:
    return {**cpu.seconds(order.pids), "load": time.process_time()}


def summary(ordered: list[float]) -> dict[str, float]:
    """Milliseconds at some percentiles, and the mean, of latencies in seconds in rising order; empty without any."""
    if not ordered:
        return {}
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    quantiles = {name: ordered[min(int(share * len(ordered)), len(ordered) - 1)] for name, share in shares.items()}
    return {name: 1e3 * value for name, value in (quantiles | {"mean": sum(ordered) / len(ordered)}).items()}


if __name__ == "__main__":
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(task))))
