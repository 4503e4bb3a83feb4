"""The client that asks while the faults happen: ``python -m benchmarks.chaos.client FILE``.

It reads its order from stdin and writes the samples to the file, both as JSON. It asks in an open loop, at fixed times
whatever comes of it; latency is from when a request was due. Without a rate it measures what a closed loop gets: a
fixed number of connections that ask again as soon as they are answered.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks.fuzz import http1
from benchmarks.fuzz.judge import FAULTS, Judge, documented

NO_ANSWER_S: Final = 5.0
"""A request without an answer after this time counts as unanswered."""

_CONNECTIONS: Final = 64

_MOST_CONNECTIONS: Final = 1000
"""A request that finds all of them busy waits for one: a client has a pool, too, and this time counts as latency."""


class Order(msgspec.Struct):
    """What to do.

    Attributes:
        port: Of the transformer.
        path: Of the requests.
        bodies: JSON, sent in turn.
        deadline_ms: That each request brings.
        per_second: Requests; 0 to measure the maximum.
        seconds: For how long.
    """

    port: int
    path: str
    bodies: list[str]
    deadline_ms: float
    per_second: float
    seconds: float


class Sample(msgspec.Struct, array_like=True):
    """One request.

    Attributes:
        at: When it was due, in seconds of the monotonic clock, which all processes of a machine share.
        ms: Milliseconds to its answer.
        outcome: ``ok``, ``degraded``, the code of a documented error, ``unanswered``, or what is not documented.
        documented: Whether the answer is documented.
        prediction_id: Under which the prediction is logged; empty where it is not.
    """

    at: float
    ms: float
    outcome: str
    documented: bool = True
    prediction_id: str = ""


@dataclass
class _Client:
    order: Order
    judge: Judge
    samples: list[Sample] = field(default_factory=list)
    idle: list[http1.Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pool = asyncio.Semaphore(_MOST_CONNECTIONS)
        head = f"POST {self.order.path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        head += f"x-envoy-expected-rq-timeout-ms: {self.order.deadline_ms:.0f}\r\ncontent-length: "
        self.requests = [
            [http1.Case("", f"{head}{len(body)}\r\n\r\n{body}".encode())] for body in map(str, self.order.bodies)
        ]

    async def ask(self, number: int, due: float) -> None:
        try:
            async with asyncio.timeout(NO_ANSWER_S), self.pool:
                sample = await self._exchange(number, due)
        except (OSError, TimeoutError):
            sample = Sample(due, 1e3 * (time.monotonic() - due), "unanswered")
        self.samples.append(sample)

    async def _exchange(self, number: int, due: float) -> Sample:
        connection = await self._connection()
        try:
            await connection.send(self.requests[number % len(self.requests)])
        except BaseException:
            connection.abort()
            raise
        ms = 1e3 * (time.monotonic() - due)
        if not connection.answers:
            return Sample(due, ms, "unanswered")
        answer = connection.answers[0]
        if not answer.closes:
            self.idle.append(connection)
        fault = self.judge.http(answer.status, answer.headers, answer.body, headless=False)
        if fault and fault not in FAULTS:
            return Sample(due, ms, fault, documented=False)
        if answer.status != 200:
            return Sample(due, ms, str(msgspec.json.decode(answer.body)["code"]))
        outcome = "degraded" if b'"degraded"' in answer.body else "ok"
        return Sample(due, ms, outcome, prediction_id=answer.headers.get("x-prediction-id", ""))

    async def _connection(self) -> http1.Connection:
        while self.idle:
            connection = self.idle.pop()
            if not connection.closed:
                return connection
        return await http1.connect(self.order.port)

    async def open_loop(self) -> None:
        begin = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        for number in range(round(self.order.seconds * self.order.per_second)):
            due = begin + number / self.order.per_second
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self.ask(number, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def closed_loop(self) -> None:
        until = time.monotonic() + self.order.seconds

        async def again(number: int) -> None:
            while (now := time.monotonic()) < until:
                await self.ask(number, now)
                number += _CONNECTIONS

        await asyncio.gather(*map(again, range(_CONNECTIONS)))


async def _run(order: Order) -> list[Sample]:
    client = _Client(order, documented("transformer"))
    await (client.open_loop() if order.per_second else client.closed_loop())
    return client.samples


if __name__ == "__main__":
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(uvloop.run(_run(task))))
