"""The client whose latency counts: ``python -m benchmarks.fairness.client``, with the order as JSON on stdin.

It asks in an open loop, at fixed times whatever comes of it, every other time over HTTP and over gRPC; latency is from
when a request was due. One that fails counts as one that took :data:`FAILED_MS`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Final

import msgspec
import uvloop

from benchmarks.fuzz import grpc, http1, http2
from benchmarks.fuzz.seeds import GRPC_SERVICE

FAILED_MS: Final = 5_000.0


class Order(msgspec.Struct):
    """What to do.

    Attributes:
        port: Of HTTP.
        grpc_port: Of gRPC.
        request: A request over HTTP/1.1.
        message: A ``ModelInferRequest``.
        per_second: Requests.
        seconds: For how long.
    """

    port: int
    grpc_port: int
    request: bytes
    message: bytes
    per_second: float
    seconds: float


class Outcome(msgspec.Struct):
    """What was measured.

    Attributes:
        milliseconds: Of each request.
        failures: How many of them failed, by kind.
    """

    milliseconds: list[float]
    failures: dict[str, int]


@dataclass
class _Client:
    order: Order
    outcome: Outcome = field(default_factory=lambda: Outcome([], {}))
    idle: list[http1.Connection] = field(default_factory=list)
    calls: list[grpc.CallConnection] = field(default_factory=list)

    async def ask(self, due: float, number: int) -> None:
        await asyncio.sleep(due - time.perf_counter())
        try:
            async with asyncio.timeout(FAILED_MS / 1e3):
                failure = await (self._http() if number % 2 else self._grpc())
        except (OSError, TimeoutError) as error:
            failure = type(error).__name__
        if failure:
            self.outcome.failures[failure] = self.outcome.failures.get(failure, 0) + 1
        self.outcome.milliseconds.append(FAILED_MS if failure else 1e3 * (time.perf_counter() - due))

    async def _http(self) -> str:
        connection = self.idle.pop() if self.idle else await http1.connect(self.order.port)
        await connection.send([http1.Case("", self.order.request)])
        if not connection.answers:
            return "HTTP: no answer"
        if not connection.closed:
            self.idle.append(connection)
        status = connection.answers[0].status
        return "" if status == 200 else f"HTTP: {status}"

    async def _grpc(self) -> str:
        """One call at a time on a connection, so that its news is this call's."""
        connection = self.calls.pop() if self.calls else None
        if connection is None or not connection.usable:
            connection = await http2.connect(self.order.grpc_port, grpc.CallConnection())
        connection.call(grpc.CallCase("", http2.head(GRPC_SERVICE + b"ModelInfer"), http2.prefixed(self.order.message)))
        while not connection.outcomes and not connection.closed:
            await connection.news()
        if not connection.outcomes:
            return "gRPC: no answer"
        _, result = connection.outcomes.pop()
        self.calls.append(connection)
        status = f"reset {result}" if isinstance(result, int) else result.get("grpc-status")
        return "" if status == "0" else f"gRPC: {status}"


async def _run(order: Order) -> Outcome:
    client = _Client(order)
    begin = time.perf_counter() + 0.1
    count = round(order.seconds * order.per_second)
    await asyncio.gather(*(client.ask(begin + number / order.per_second, number) for number in range(count)))
    return client.outcome


if __name__ == "__main__":
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_run(task))))
