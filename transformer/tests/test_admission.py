"""Which calls wait, which are refused, and which give way to others."""

from __future__ import annotations

import asyncio

import pytest

from tandem.errors import Overloaded
from tandem_transformer.admission import Admission
from tandem_transformer.batch import Call
from tandem_transformer.call_queue import LANES, CallQueue, lane_of


def call(size: int = 1, *, tenant: int = 0, is_low: bool = False, seconds: float = 1.0, arrived: float = 0.0) -> Call:
    answer = asyncio.get_running_loop().create_future()
    return Call(size, arrived + seconds, answer, arrived=arrived, tenant=tenant, is_low=is_low)


def queue_of(*calls: Call) -> CallQueue:
    queue = CallQueue()
    for entry in calls:
        queue.push(entry)
    return queue


def busy(admission: Admission, *, row_s: float) -> None:
    """Let batches of ten rows be answered, one after the other, while others wait."""
    for batch in range(50):
        admission.pace.answered(10, 10, batch * 10 * row_s, (batch + 1) * 10 * row_s)


async def test_what_fits_simply_waits() -> None:
    admission, queue = Admission(10), queue_of(call(4))
    assert not admission.is_tight(call(6), queue)
    assert admission.is_tight(call(7), queue)
    with pytest.raises(Overloaded, match="4 rows are waiting already") as refused:
        admission.settle(call(7), queue)
    assert (refused.value.code, refused.value.retry_after) == ("overloaded", 1)
    assert admission.shed == {"queue": 1}


async def test_a_call_that_could_not_be_answered_in_time_is_refused() -> None:
    admission, queue = Admission(1000), queue_of(call(20))
    busy(admission, row_s=0.01)
    # 20 rows and its own batch: 0.3 s
    assert not admission.is_tight(call(seconds=0.31), queue)
    late = call(seconds=0.29)
    assert admission.is_tight(late, queue)
    with pytest.raises(Overloaded, match="about 300 ms") as refused:
        admission.settle(late, queue)
    assert (refused.value.code, refused.value.status) == ("deadline_unreachable", 429)
    assert admission.shed == {"deadline": 1}


async def test_a_client_is_told_to_come_back_when_the_queue_is_empty() -> None:
    admission, queue = Admission(1000), queue_of(*(call(seconds=100) for _ in range(1000)))
    busy(admission, row_s=0.0101)
    with pytest.raises(Overloaded) as refused:
        admission.settle(call(seconds=100), queue)
    assert refused.value.retry_after == 11


async def test_a_tenant_with_little_does_not_wait_for_the_burst_of_another() -> None:
    admission = Admission(1000)
    busy(admission, row_s=0.01)
    queue = queue_of(*(call(seconds=100) for _ in range(100)))
    assert admission.settle(call(tenant=1, seconds=0.2), queue) == []
    with pytest.raises(Overloaded):
        admission.settle(call(tenant=0, seconds=0.2), queue)


async def test_a_full_queue_is_shared_equally_among_tenants() -> None:
    admission, queue = Admission(12), queue_of(*(call() for _ in range(12)))
    for tenant in (1, 2) * 6:
        newcomer = call(tenant=tenant)
        if removed := shed(admission, newcomer, queue):
            assert [entry.tenant for entry in removed] == [0]
            queue.push(newcomer)
    assert sorted(entry.tenant for entry in queue) == [0] * 4 + [1] * 4 + [2] * 4
    assert admission.shed == {"share": 8, "queue": 4}


def shed(admission: Admission, newcomer: Call, queue: CallQueue) -> list[Call]:
    """What gives way to a call; nothing if it is refused itself."""
    assert admission.is_tight(newcomer, queue)
    try:
        return admission.settle(newcomer, queue)
    except Overloaded:
        return []


async def test_calls_of_low_priority_wait_for_others_and_give_way_to_them() -> None:
    low, high = [call(is_low=True) for _ in range(3)], [call() for _ in range(3)]
    queue = queue_of(*low[:2], *high[:2])
    admission = Admission(4)
    assert shed(admission, low[2], queue) == []
    assert shed(admission, high[2], queue) == [low[1]]
    queue.push(high[2])
    assert admission.shed == {"queue": 1, "priority": 1}
    assert queue.rows_ahead(call(is_low=True)) == 4
    assert queue.rows_ahead(call()) == 3
    assert (queue.rows, queue.calls) == (4, 4)
    assert queue.take(2) == high[:2]
    assert queue.take(2) == [high[2], low[0]]
    assert (queue.rows, queue.calls) == (0, 0)


async def test_a_batch_has_one_call_at_least() -> None:
    large, small = call(50), call(2, is_low=True)
    queue = queue_of(small, large)
    assert queue.take(10) == [large]
    assert queue.take(0) == [small]


async def test_the_room_shrinks_while_answers_take_too_long_and_grows_again() -> None:
    admission = Admission(1000, max_batches=2, max_batch_rows=10, target_s=0.5)
    for batch in range(100):
        admission.left(10)
        admission.answered(10, 500, 1.0, batch + 1.0)
    assert admission.room == 10
    tight = queue_of(*(call(seconds=1e9) for _ in range(10)))
    assert shed(admission, call(seconds=1e9), tight) == []
    assert admission.shed == {"limit": 1}
    # what is on its way counts as well
    admission.left(4)
    assert admission.room == 6
    admission._set_running(admission.running_rows - 4)
    for batch in range(10_000):
        now = 100 + batch / 100
        admission.left(10)
        admission.answered(10, 1000, 0.1, now)
    assert admission.room == 1000


async def test_calls_are_refused_unread_where_that_is_certain() -> None:
    admission, queue = Admission(2), queue_of(call())
    assert not admission.is_closed(queue)
    queue.push(call())
    assert admission.is_closed(queue)
    # it would give way to another one
    queue.take(1)
    queue.push(call(is_low=True))
    assert not admission.is_closed(queue)


async def test_without_a_target_the_room_stays() -> None:
    admission = Admission(1000)
    admission.left(10)
    admission.answered(10, 500, 10.0, 10.0)
    assert admission.room == 1000


def test_lanes_of_tenants() -> None:
    lanes = {lane_of(b"%d" % tenant) for tenant in range(50)}
    assert len(lanes) > 40
    assert all(0 <= lane < LANES for lane in lanes)
    assert lane_of(b"a") == lane_of(b"a")
