"""The calling process: a closed loop with some calls in flight on one connection.

Run as ``python -m benchmarks.hop.client``; the order comes as JSON on stdin, the outcome goes as JSON to stdout.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import uvloop

from benchmarks import cpu
from benchmarks.hop import messages, stack
from benchmarks.load import summary


class Order(msgspec.Struct):
    """What to do.

    Attributes:
        stack: Name of the stack.
        port: Where its server is, on loopback.
        rows: Rows of each request.
        calls: Calls in flight.
        warmup: Seconds before measuring.
        seconds: Seconds of measuring.
        server: Process id of the server.
    """

    stack: str
    port: int
    rows: int
    calls: int
    warmup: float
    seconds: float
    server: int


class Outcome(msgspec.Struct):
    """What was measured.

    Attributes:
        answers: Answers within the measured time; each was compared with the right one.
        seconds: The measured time.
        milliseconds: Latency at some percentiles, and its mean.
        cpu_us: Microseconds of processor for each answer, of ``client`` and ``server``.
    """

    answers: int
    seconds: float
    milliseconds: dict[str, float]
    cpu_us: dict[str, float]


async def run(order: Order) -> Outcome:
    """Call, and measure.

    Raises:
        ValueError: An answer is wrong.
    """
    call = await stack.load(order.stack).connect(order.port)
    request, right = messages.request(order.rows), messages.answer(order.rows)
    latencies: list[float] = []
    clock = time.perf_counter

    async def client() -> None:
        while True:
            start = clock()
            if await call(request) != right:
                raise ValueError("an answer is wrong")
            latencies.append(clock() - start)

    async def window() -> Outcome:
        await asyncio.sleep(order.warmup)
        first, start, before = len(latencies), clock(), _cpu(order)
        await asyncio.sleep(order.seconds)
        last, end, after = len(latencies), clock(), _cpu(order)
        return Outcome(
            answers=last - first,
            seconds=end - start,
            milliseconds=summary(sorted(latencies[first:last])),
            cpu_us={role: 1e6 * (after[role] - before[role]) / max(last - first, 1) for role in after},
        )

    clients = [asyncio.create_task(client()) for _ in range(order.calls)]
    measuring = asyncio.create_task(window())
    await asyncio.wait([*clients, measuring], return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in clients if task.done()]
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    for task in failed:
        task.result()
    return await measuring


def _cpu(order: Order) -> dict[str, float]:
    return {**cpu.seconds({"server": order.server}), "client": time.process_time()}


if __name__ == "__main__":
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(task))))
