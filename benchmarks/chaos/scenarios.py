"""The faults, and what each of them may do to clients."""

from __future__ import annotations

import asyncio
import os
import random
import resource
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import Final

from benchmarks.chaos.parts import LOG_BYTES, Log, Pair, Part

FAULT_S: Final = 3.0
"""For how long a fault lasts."""

_JUMP_S: Final = 3600.0
_OVERLOAD_S: Final = 60.0
_KILLS: Final = 20
_KILLS_S: Final = 90.0

Fault = Callable[[Pair], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A fault under load.

    Attributes:
        name: What happens.
        fault: Makes it happen, and undoes it before it returns.
        answered: Whether every request must be answered with 200 by its deadline.
        stays_degraded: Whether answers stay degraded after the fault.
        unanswered: Whether requests may stay without an answer during the fault: the process that answers is gone.
        load: Requests per second, in terms of the measured maximum.
        load_s: For how long; 0 for the usual time.
        log: Kind of the transformer's prediction log.
    """

    name: str
    fault: Fault
    answered: bool = False
    stays_degraded: bool = False
    unanswered: bool = False
    load: float = 0.5
    load_s: float = 0.0
    log: Log = "none"


async def _pause(part: Part) -> None:
    part.send(SIGSTOP)
    await asyncio.sleep(FAULT_S)
    part.send(SIGCONT)


async def _kill(part: Part, after_s: float = FAULT_S) -> None:
    part.end(SIGKILL)
    await asyncio.sleep(after_s)
    await part.start()


async def _restart(part: Part) -> None:
    await asyncio.to_thread(part.end, SIGTERM)
    await part.start()


async def _behave(pair: Pair, line: str) -> None:
    pair.proxy.say(line)
    await asyncio.sleep(FAULT_S)
    pair.proxy.say("pass")


async def _restart_empty(pair: Pair) -> None:
    pair.saved.unlink()
    await _kill(pair.store)


async def _jump(clock: Path) -> None:
    for seconds in (_JUMP_S, -_JUMP_S, 0.0):
        await asyncio.to_thread(clock.write_text, f"{seconds}")
        await asyncio.sleep(FAULT_S / 3)


async def _overload(pair: Pair) -> None:
    await asyncio.sleep(_OVERLOAD_S)


async def _fill_log(pair: Pair) -> None:
    ballast = pair.log / "ballast"
    ballast.touch()
    # its size counts, and it takes no room
    os.truncate(ballast, LOG_BYTES)
    await asyncio.sleep(FAULT_S)
    ballast.unlink()


async def _refuse_writes(part: Part) -> None:
    part.limit_file_bytes(0)
    await asyncio.sleep(FAULT_S)
    part.limit_file_bytes(resource.RLIM_INFINITY)


async def _kill_often(part: Part) -> None:
    for _ in range(_KILLS):
        await asyncio.sleep(random.random())
        await _kill(part, 0.0)


SCENARIOS: Final = (
    Scenario("store paused 3 s", lambda pair: _pause(pair.store), answered=True),
    Scenario("store killed, back after 3 s", lambda pair: _kill(pair.store), answered=True),
    Scenario("store restarted empty", _restart_empty, answered=True, stays_degraded=True),
    Scenario("store slow in 1 % of calls", lambda pair: _behave(pair, "slow 0.01 0.4"), answered=True),
    Scenario("store answers garbage", lambda pair: _behave(pair, "garbage"), answered=True),
    Scenario("predictor killed, back after 3 s", lambda pair: _kill(pair.predictor)),
    Scenario("predictor paused 3 s", lambda pair: _pause(pair.predictor)),
    Scenario("predictor restarted", lambda pair: _restart(pair.predictor)),
    Scenario("transformer killed and restarted", lambda pair: _kill(pair.transformer, 0.0), unanswered=True),
    Scenario("transformer restarted", lambda pair: _restart(pair.transformer), unanswered=True),
    Scenario("clock jumps by an hour, both ways", lambda pair: _jump(pair.clock), answered=True),
    Scenario("overload 2x for 60 s", _overload, load=2.0, load_s=_OVERLOAD_S + FAULT_S),
    Scenario("log: sink killed, back after 3 s", lambda pair: _kill(pair.sink), answered=True, log="delivered"),
    Scenario("log: directory full", _fill_log, answered=True, log="default"),
    Scenario("log: disk refuses writes", lambda pair: _refuse_writes(pair.transformer), answered=True, log="default"),
    Scenario("durable log: disk refuses writes", lambda pair: _refuse_writes(pair.transformer), log="durable"),
    Scenario(
        f"durable log: transformer killed {_KILLS} times",
        lambda pair: _kill_often(pair.transformer),
        unanswered=True,
        load_s=_KILLS_S,
        log="durable",
    ),
)
"""In this order."""
