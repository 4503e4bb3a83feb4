"""What sends the cases of one surface to one server, and has the answers judged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from typing import Final

from benchmarks.fuzz import grpc, http1, http2
from benchmarks.fuzz.target import HANG_S, Target

SILENCE_S: Final = 0.1
"""What is not framed may leave a server waiting for more, and rightly so: nobody waits longer for an answer to it."""

_PIPELINED: Final = 4


def random_of(seed: int, surface: str, number: int) -> Random:
    """Decides about one case, which can be made again without those before it."""
    return Random(f"{seed} {surface} {number}")


async def send_http1(target: Target, surface: str, numbers: Iterator[int]) -> None:
    """Requests over HTTP/1 whose framing is right, several on a connection, some without waiting for the answer."""
    seed, seeds = target.tally.seed, target.seeds.requests
    connection: http1.Connection | None = None
    repeated: list[http1.Case] = []
    while True:
        cases = repeated
        for number in numbers:
            random = random_of(seed, surface, number)
            cases.append(http1.framed(random, seeds, f"{surface}:{number}"))
            if len(cases) >= 1 + int(random.random() * _PIPELINED):
                break
        if not cases:
            break
        try:
            if connection is None or connection.closed:
                connection = await http1.connect(target.port)
            repeated = await _exchange(target, surface, connection, cases)
        except OSError:
            repeated = cases
            await target.revive()
    if connection is not None:
        connection.abort()


async def _exchange(
    target: Target, surface: str, connection: http1.Connection, cases: list[http1.Case]
) -> list[http1.Case]:
    """Send some requests and judge their answers; those that were not read are to be sent again."""
    target.in_flight[connection] = [(case.name, case.sent) for case in cases]
    hangs = False
    try:
        async with asyncio.timeout(HANG_S):
            await connection.send(cases)
    except TimeoutError:
        hangs = True
    answers = connection.answers
    for case, answer in zip(cases, answers, strict=False):
        fault = target.judge.http(answer.status, answer.headers, answer.body, headless=case.headless)
        target.tally.answered(surface, str(answer.status))
        if fault:
            target.tally.report("undocumented", target.name, fault, [(case.name, case.sent)])
    rest = cases[len(answers) :]
    if rest and not (answers and answers[-1].closes):
        # framed as they are, all of them must be answered
        outcome = "no answer" if hangs else "the connection ends without an answer"
        connection.abort()
        await target.revive()
        target.tally.answered(surface, outcome)
        target.tally.report("hang" if hangs else "undocumented", target.name, outcome, [(rest[0].name, rest[0].sent)])
        rest = rest[1:]
    del target.in_flight[connection]
    return rest


async def send_raw_http1(target: Target, surface: str, numbers: Iterator[int]) -> None:
    """Requests over HTTP/1 with their framing changed too, each on a connection of its own."""
    for number in numbers:
        case = http1.raw(random_of(target.tally.seed, surface, number), target.seeds.requests, f"{surface}:{number}")
        try:
            connection = await http1.connect(target.port)
        except OSError:
            await target.revive()
            continue
        target.in_flight[connection] = [(case.name, case.sent)]
        answer = "silence"
        try:
            async with asyncio.timeout(SILENCE_S):
                await connection.send([case])
        except TimeoutError:
            pass
        else:
            answer = "closed"
        connection.abort()
        if connection.answers:
            status, headers, body = connection.answers[0]
            answer = str(status)
            if fault := target.judge.http(status, headers, body, headless=False):
                target.tally.report("undocumented", target.name, fault, [(case.name, case.sent)])
        target.tally.answered(surface, answer)
        del target.in_flight[connection]


async def send_raw_http2(target: Target, surface: str, numbers: Iterator[int]) -> None:
    """Sequences of frames, each on a connection of its own."""
    for number in numbers:
        case = http2.raw(random_of(target.tally.seed, surface, number), target.seeds.calls, f"{surface}:{number}")
        try:
            connection = await http2.connect(target.grpc_port, http2.RawConnection())
        except OSError:
            await target.revive()
            continue
        target.in_flight[connection] = [(case.name, case.sent)]
        answer = "silence"
        try:
            async with asyncio.timeout(SILENCE_S):
                await connection.send(case)
            if not connection.closed and number % 2:
                await asyncio.sleep(0.005)  # what was pinged last may be answered before what was asked first
        except TimeoutError:
            pass
        else:
            answer = "ping" if connection.pinged else "closed"
        connection.transport.abort()
        for outcome in connection.outcomes:
            _judge_http2(target, case.name, case.sent, outcome)
        if connection.goaway is not None:
            answer = f"GOAWAY {connection.goaway}"
            _judge_http2(target, case.name, case.sent, connection.goaway)
        target.tally.answered(surface, answer)
        del target.in_flight[connection]


async def send_grpc(target: Target, surface: str, numbers: Iterator[int]) -> None:
    """Calls whose framing is right, many at once on a connection."""
    seed, seeds = target.tally.seed, target.seeds.calls
    repeated: list[grpc.CallCase] = []
    while True:
        try:
            connection = await http2.connect(target.grpc_port, grpc.CallConnection())
        except OSError:
            await target.revive()
            continue
        more = True
        while (connection.usable and more) or connection.pending:
            while connection.usable and len(connection.pending) < grpc.IN_FLIGHT and connection.window > 0:
                if repeated:
                    connection.call(repeated.pop())
                elif (number := next(numbers, None)) is None:
                    more = False
                    break
                else:
                    connection.call(grpc.framed(random_of(seed, surface, number), seeds, f"{surface}:{number}"))
            if not connection.pending or not await _take_outcomes(target, surface, connection):
                break
        repeated += connection.pending.values()
        connection.transport.abort()
        target.in_flight.pop(connection, None)
        if not more and not repeated:
            return


async def _take_outcomes(target: Target, surface: str, connection: grpc.CallConnection) -> bool:
    """Wait for the end of some calls and judge it; False where the connection is of no more use."""
    target.in_flight[connection] = [(case.name, case.content) for case in connection.pending.values()]
    try:
        async with asyncio.timeout(HANG_S):
            await connection.news()
    except TimeoutError:
        stream, case = connection.pending.popitem()
        connection.closed = True
        await target.revive()
        target.tally.answered(surface, "no answer")
        target.tally.report("hang", target.name, "a call is not answered", [(case.name, case.frames(1))])
        return False
    for case, outcome in connection.outcomes:
        answer = f"reset {outcome}" if isinstance(outcome, int) else f"grpc-status {outcome.get('grpc-status')}"
        target.tally.answered(surface, answer)
        _judge_http2(target, case.name, case.frames(1), outcome)
    connection.outcomes.clear()
    if connection.closed and connection.pending:
        # framed as they are, all of them must be answered, unless the server says that it read none after some
        stream, case = min(connection.pending.items())
        del connection.pending[stream]
        await target.revive()
        target.tally.answered(surface, "closed")
        fault = f"the connection ends without an answer, GOAWAY {connection.goaway}"
        target.tally.report("undocumented", target.name, fault, [(case.name, case.frames(1))])
    return not connection.closed


def _judge_http2(target: Target, name: str, sent: bytes, outcome: dict[str, str] | int) -> None:
    judge = target.judge
    fault = judge.reset(outcome) if isinstance(outcome, int) else judge.grpc(outcome)
    if fault:
        target.tally.report("undocumented", target.name, fault, [(name, sent)])
