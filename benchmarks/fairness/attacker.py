"""The attacker's process: ``python -m benchmarks.fairness.attacker``, with the order as JSON on stdin, until killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import msgspec
import uvloop

from benchmarks.fairness.attacks import ATTACKS, Victim
from benchmarks.fairness.peer import Rate

_REOPEN_S = 0.01


class Order(msgspec.Struct):
    """What to do.

    Attributes:
        server: ``transformer`` or ``predictor``.
        attack: Its name.
        victim: Where.
        per_second: Bytes.
    """

    server: str
    attack: str
    victim: Victim
    per_second: float


async def _run(order: Order) -> None:
    attack, count = ATTACKS[order.server][order.attack]
    rate = Rate(order.per_second)

    async def go_on() -> None:
        while True:
            with contextlib.suppress(OSError):
                await attack(order.victim, rate)
            await asyncio.sleep(_REOPEN_S)

    await asyncio.gather(*(go_on() for _ in range(count)))


if __name__ == "__main__":
    # an attacker has a machine of its own: where there is none, it gets what the servers and the other client leave
    os.nice(19)
    uvloop.run(_run(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
