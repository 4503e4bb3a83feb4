from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from tandem.errors import DeadlineExceeded, Internal, MalformedRequest, Overloaded, RequestError
from tandem.oip.tensors import Array
from tandem_predictor.batcher import Batcher, run_together, split
from tandem_predictor.callers import Caller
from tandem_predictor.session import Feeds


class Session:
    """Doubles its input; a negative number makes the whole run fail. Waits while the gate is closed."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, feeds: Feeds, outputs: Sequence[str]) -> list[Array]:
        self.entered.release()
        self.gate.wait()
        self.batches.append(len(feeds["x"]))
        if (feeds["x"] < 0).any():
            raise Internal("negative")
        return [feeds["x"] * 2 for _ in outputs]

    async def busy(self) -> None:
        """Until a run has begun."""
        await asyncio.to_thread(self.entered.acquire)


def feeds(*values: float, width: int = 1) -> Feeds:
    return {"x": np.array([[value] * width for value in values])}


async def submit(batcher: Batcher, *values: float, width: int = 1, outputs: tuple[str, ...] = ("y",)) -> list[float]:
    results = await batcher.submit(feeds(*values, width=width), len(values), outputs)
    return [row[0] for row in results[0].tolist()]


async def test_requests_of_one_turn_share_a_batch() -> None:
    session = Session()
    batcher = Batcher(session)
    assert await asyncio.gather(submit(batcher, 1), submit(batcher, 2, 3), submit(batcher, 4)) == [[2], [4, 6], [8]]
    assert session.batches == [4]


async def test_requests_queue_up_while_the_session_is_busy() -> None:
    session = Session()
    session.gate.clear()
    batcher = Batcher(session, max_rows=3)
    first = asyncio.create_task(submit(batcher, 1))
    await session.busy()
    rest = [asyncio.create_task(submit(batcher, value)) for value in range(2, 7)]
    await asyncio.sleep(0)
    assert batcher.queued_rows == 5
    session.gate.set()
    assert await asyncio.gather(first, *rest) == [[2], [4], [6], [8], [10], [12]]
    assert session.batches == [1, 3, 2]
    assert batcher.queued_rows == 0


async def test_waiting_is_told() -> None:
    waits: list[float] = []
    batcher = Batcher(Session(), max_rows=2, max_delay=3600, waited=waits.append)
    await asyncio.gather(submit(batcher, 1), submit(batcher, 2))
    assert len(waits) == 1
    assert 0 <= waits[0] < 3600


async def test_a_large_request_runs_alone() -> None:
    session = Session()
    batcher = Batcher(session, max_rows=2)
    await asyncio.gather(submit(batcher, 1), submit(batcher, 1, 2, 3), submit(batcher, 4))
    assert session.batches == [1, 3, 1]


async def test_only_like_requests_are_merged() -> None:
    session = Session()
    batcher = Batcher(session)
    await asyncio.gather(
        submit(batcher, 1),
        submit(batcher, 1, width=2),
        submit(batcher, 1, outputs=("y", "z")),
        submit(batcher, 1, width=2),
    )
    assert sorted(session.batches) == [1, 1, 2]


async def test_a_bad_request_disturbs_no_other() -> None:
    session = Session()
    batcher = Batcher(session)
    good, bad, neighbour = await asyncio.gather(
        submit(batcher, 1), submit(batcher, -1), submit(batcher, 2), return_exceptions=True
    )
    assert (good, neighbour) == ([2], [4])
    assert isinstance(bad, Internal)


def test_a_bad_request_is_found_by_halves() -> None:
    session = Session()
    values = [1.0] * 16
    values[5] = -1.0
    outcomes = run_together(session, [feeds(value) for value in values], [1] * 16, ["y"])
    assert [at for at, outcome in enumerate(outcomes) if isinstance(outcome, Internal)] == [5]
    assert sorted(session.batches) == [1, 1, 2, 2, 4, 4, 8, 8, 16]


def test_where_all_are_bad_the_number_of_runs_is_bounded() -> None:
    session = Session()
    outcomes = run_together(session, [feeds(-1)] * 16, [1] * 16, ["y"])
    assert all(isinstance(outcome, Internal) for outcome in outcomes)
    assert len(session.batches) == 31


async def test_a_full_queue_is_overloaded() -> None:
    session = Session()
    session.gate.clear()
    batcher = Batcher(session, max_queue_rows=2)
    running = asyncio.create_task(submit(batcher, 1))
    await session.busy()
    waiting = asyncio.create_task(submit(batcher, 1, 2))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="2 rows are waiting") as refused:
        await submit(batcher, 3)
    assert refused.value.retry_after
    session.gate.set()
    await asyncio.gather(running, waiting)


async def test_a_request_that_waits_too_long() -> None:
    session = Session()
    session.gate.clear()
    batcher = Batcher(session, timeout=1e-3)
    running = asyncio.create_task(submit(batcher, 1))
    await session.busy()
    with pytest.raises(DeadlineExceeded, match="no result within 1 ms"):
        await submit(batcher, 2)
    with pytest.raises(DeadlineExceeded):
        await running
    session.gate.set()
    assert batcher.queued_rows == 1  # dropped when the session is free again


async def test_cancelled_requests_are_not_run() -> None:
    session = Session()
    session.gate.clear()
    batcher = Batcher(session)
    running = asyncio.create_task(submit(batcher, 1))
    await session.busy()
    gone = asyncio.create_task(submit(batcher, 2))
    stays = asyncio.create_task(submit(batcher, 3))
    await asyncio.sleep(0)
    gone.cancel()
    session.gate.set()
    assert await asyncio.gather(running, stays) == [[2], [6]]
    assert session.batches == [1, 1]


async def test_with_a_delay_a_full_batch_does_not_wait() -> None:
    session = Session()
    batcher = Batcher(session, max_rows=2, max_delay=3600)
    assert await asyncio.gather(submit(batcher, 1), submit(batcher, 2)) == [[2], [4]]
    assert session.batches == [2]


async def test_with_a_delay_a_lone_request_runs_when_it_is_due() -> None:
    session = Session()
    batcher = Batcher(session, max_delay=1e-3)
    assert await submit(batcher, 1) == [2]


async def test_instances_run_side_by_side() -> None:
    session = Session()
    session.gate.clear()
    batcher = Batcher(session, max_rows=1, instances=2)
    tasks = [asyncio.create_task(submit(batcher, 1)) for _ in range(3)]
    await session.busy()
    await session.busy()
    session.gate.set()
    assert await asyncio.gather(*tasks) == [[2]] * 3


async def test_inline_runs_at_once() -> None:
    session = Session()
    batcher = Batcher(session, inline=True, max_rows=2)
    submitted = batcher.submit(feeds(1), 1, ("y",))
    with pytest.raises(StopIteration) as returned:  # without ever waiting
        submitted.send(None)
    assert returned.value.value[0].tolist() == [[2]]
    assert await submit(batcher, 1, 2, 3) == [2, 4, 6]  # too large for the event loop


async def test_observed_rows() -> None:
    sizes: list[int] = []
    batcher = Batcher(Session(), observe=sizes.append)
    await asyncio.gather(submit(batcher, 1), submit(batcher, 2, 3))
    assert sizes == [3]


def test_outputs_without_rows_fall_back_to_single_runs() -> None:
    def total(feeds: Feeds, outputs: Sequence[str]) -> list[Array]:
        return [feeds["x"].sum(axis=0, keepdims=True)]

    results = run_together(total, [feeds(1), feeds(2)], [1, 1], ["y"])
    assert [result[0].tolist() for result in results if isinstance(result, list)] == [[[1]], [[2]]]


def test_split() -> None:
    first, second = split([np.arange(3), np.arange(6).reshape(3, 2)], [1, 2])
    assert [array.tolist() for array in first] == [[0], [[0, 1]]]
    assert [array.tolist() for array in second] == [[1, 2], [[2, 3], [4, 5]]]
    with pytest.raises(ValueError, match="number of rows"):
        split([np.arange(2)], [1, 2])


async def test_what_nobody_waits_for_any_more_is_not_run_and_counted() -> None:
    session, dropped = Session(), list[str]()
    session.gate.clear()
    batcher = Batcher(session, dropped=dropped.append)
    running = asyncio.create_task(submit(batcher, 1))
    await session.busy()
    loop, gone, over = asyncio.get_running_loop(), threading.Event(), asyncio.Event()
    deadline = loop.time() + 0.01
    loop.call_at(deadline, over.set)
    callers = [Caller(deadline), Caller(is_gone=gone.is_set), Caller(loop.time() + 3600), Caller()]
    waiting = [
        asyncio.create_task(batcher.submit(feeds(at), 1, ("y",), caller)) for at, caller in enumerate(callers, 2)
    ]
    cancelled = asyncio.create_task(submit(batcher, 9))
    await asyncio.sleep(0)
    cancelled.cancel()
    gone.set()
    await over.wait()
    session.gate.set()
    await running
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[:2]] == [DeadlineExceeded, MalformedRequest]
    assert not any(isinstance(outcome, Exception) for outcome in outcomes[2:])
    assert session.batches == [1, 2]
    assert dropped == ["deadline", "gone", "gone"]
    assert batcher.queued_rows == 0


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize(
    ("caller", "reason", "code"),
    [(Caller(0.0), "deadline", "deadline_exceeded"), (Caller(is_gone=lambda: True), "gone", "client_gone")],
)
async def test_nothing_is_queued_for_a_caller_that_does_not_wait(
    inline: bool, caller: Caller, reason: str, code: str
) -> None:
    session, dropped = Session(), list[str]()
    batcher = Batcher(session, inline=inline, dropped=dropped.append)
    with pytest.raises(RequestError) as refused:
        await batcher.submit(feeds(1), 1, ("y",), caller)
    assert (refused.value.code, dropped, session.batches) == (code, [reason], [])
