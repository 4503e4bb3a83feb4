"""Which endpoint is called. The endpoints are fakes that are told when to answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import pytest

from tandem.errors import Internal, RequestError, Unavailable
from tandem.inputs import Tensors
from tandem_transformer.breaker import FAILURES, PROBE_S
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.endpoints import Endpoints, Trying
from tandem_transformer.predictors.resolution import Resolution
from tandem_transformer.predictors.retry_budget import RATIO, RESERVE, RetryCounts

TENSORS: Tensors = {"x": np.ones((1, 2), np.float32)}


@dataclass
class Fake:
    """An endpoint that answers once it may, or fails."""

    fault: RequestError | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self.open.set()

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        self.calls += 1
        self.asked.set()
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return tensors

    async def close(self) -> None:
        self.closed = True


def down() -> Unavailable:
    return Unavailable("down", code="predictor_unavailable", retry_after=1)


def at(*numbers: int) -> list[Address]:
    return [Address("pods:80", f"10.0.0.{number}") for number in numbers]


class Probes:
    """The time between probes, which is over when a test says so."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._begun, self._turns = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._begun.release()
        await self._turns.acquire()

    async def pause(self) -> None:
        """Wait until somebody waits between probes."""
        await self._begun.acquire()

    async def next(self) -> None:
        """Let one probe be sent and answered."""
        self._turns.release()
        for _ in range(10):
            await asyncio.sleep(0)


async def fakes(
    count: int, probes: Probes | None = None, *, retries: RetryCounts | None = None, **options: Any
) -> tuple[list[Fake], Endpoints]:
    """Endpoints at the addresses 0, 1, …; more of them can be used later. Without probes none is sent."""
    backends = [Fake() for _ in range(count)]
    by_address = dict(zip(at(*range(count)), backends, strict=True))
    trying = Trying(**{"timeout_s": 60.0, "sleep": (probes or Probes()).sleep} | options)
    endpoints = Endpoints(by_address.__getitem__, Resolution((), 0), trying=trying, retries=retries)
    await endpoints.use(list(by_address))
    return backends, endpoints


async def settle() -> None:
    """Let the event loop do all that is ready."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_calls_one_after_the_other_are_spread_evenly() -> None:
    backends, endpoints = await fakes(3)
    for _ in range(9):
        await endpoints.infer(TENSORS)
    assert [fake.calls for fake in backends] == [3, 3, 3]


async def test_the_endpoint_with_the_fewest_calls_outstanding_gets_the_next() -> None:
    (slow, fast), endpoints = await fakes(2)
    slow.open.clear()
    first = asyncio.create_task(endpoints.infer(TENSORS))
    await asyncio.sleep(0)
    for _ in range(5):
        await endpoints.infer(TENSORS)
    assert (slow.calls, fast.calls) == (1, 5)
    slow.open.set()
    await first
    await endpoints.infer(TENSORS)
    assert slow.calls == 2


async def test_a_call_is_tried_once_more_elsewhere_and_the_endpoint_that_failed_is_passed_over() -> None:
    (bad, good), endpoints = await fakes(2)
    bad.fault = down()
    for _ in range(5):
        assert await endpoints.infer(TENSORS) is TENSORS
    assert (bad.calls, good.calls) == (1, 5)


async def test_an_endpoint_that_failed_gets_calls_again_when_it_has_answered_a_probe() -> None:
    probes = Probes()
    (bad, good), endpoints = await fakes(2, probes)
    bad.fault = down()
    await endpoints.infer(TENSORS)
    await settle()
    await probes.next()
    assert (bad.calls, good.calls) == (2, 1)
    for _ in range(4):
        await endpoints.infer(TENSORS)
    assert (bad.calls, good.calls) == (2, 5)
    bad.fault = None
    await probes.next()
    for _ in range(4):
        await endpoints.infer(TENSORS)
    assert (bad.calls, good.calls) == (5, 7)
    await probes.next()  # the last one of all
    assert bad.calls == 5
    await endpoints.close()


async def test_probes_become_rarer_and_are_of_one_row() -> None:
    probes, sizes = Probes(), list[int]()

    class Sized(Fake):
        async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
            sizes.append(len(tensors["x"]))
            return await super().infer(tensors, deadline)

    only = Sized(fault=down())
    trying = Trying(timeout_s=60.0, sleep=probes.sleep)
    endpoints = Endpoints(lambda address: only, Resolution((), 0), trying=trying)
    await endpoints.use(at(0))
    with pytest.raises(Unavailable):
        await endpoints.infer({"x": np.ones((5, 2), np.float32)})
    for _ in range(6):
        await settle()
        await probes.next()
    assert sizes == [5, 1, 1, 1, 1, 1, 1]
    assert probes.pauses == [PROBE_S, 2 * PROBE_S, 4 * PROBE_S, 8 * PROBE_S, 1.0, 1.0, 1.0]
    await endpoints.close()


async def test_a_probe_that_is_not_answered_is_a_failure() -> None:
    probes = Probes()
    (only,), endpoints = await fakes(1, probes, timeout_s=0.001)
    only.fault = down()
    with pytest.raises(Unavailable):
        await endpoints.infer(TENSORS)
    only.fault = None
    only.open.clear()
    await probes.pause()
    await probes.next()
    await probes.pause()
    assert endpoints._endpoints[0].failures == 2
    only.open.set()
    await probes.next()
    assert endpoints._endpoints[0].failures == 0
    await endpoints.close()


@pytest.mark.parametrize("count", [1, 2])
async def test_when_all_have_failed_several_times_a_call_is_refused_at_once(count: int) -> None:
    probes = Probes()
    backends, endpoints = await fakes(count, probes)
    for fake in backends:
        fake.fault = Unavailable("another bundle", code="predictor_mismatch", retry_after=5)
    for _ in range(FAILURES):
        with pytest.raises(Unavailable):
            await endpoints.infer(TENSORS)
    assert [fake.calls for fake in backends] == [FAILURES] * count
    with pytest.raises(Unavailable, match="another bundle") as error:
        await endpoints.infer(TENSORS)
    assert (error.value.code, error.value.retry_after) == ("predictor_mismatch", 5)
    assert [fake.calls for fake in backends] == [FAILURES] * count
    backends[-1].fault = None
    await settle()
    for _ in backends:
        await probes.next()
    assert await endpoints.infer(TENSORS) is TENSORS
    await endpoints.close()


async def test_both_down() -> None:
    backends, endpoints = await fakes(2)
    for fake in backends:
        fake.fault = down()
    with pytest.raises(Unavailable) as error:
        await endpoints.infer(TENSORS)
    assert (error.value.code, error.value.retry_after) == ("predictor_unavailable", 1)
    assert [fake.calls for fake in backends] == [1, 1]
    backends[1].fault = None
    assert await endpoints.infer(TENSORS) is TENSORS  # although both are passed over, one must be asked


async def test_two_of_three_down() -> None:
    backends, endpoints = await fakes(3)
    backends[0].fault = backends[1].fault = down()
    with pytest.raises(Unavailable):  # a call is tried twice, not three times
        await endpoints.infer(TENSORS)
    for _ in range(4):
        await endpoints.infer(TENSORS)
    assert [fake.calls for fake in backends] == [1, 1, 4]


async def test_the_only_endpoint_is_not_asked_twice() -> None:
    (only,), endpoints = await fakes(1)
    only.fault = down()
    for calls in (1, 2):
        with pytest.raises(Unavailable):
            await endpoints.infer(TENSORS)
        assert only.calls == calls


async def test_what_every_endpoint_would_refuse_is_not_tried_again() -> None:
    backends, endpoints = await fakes(2)
    backends[0].fault = Internal("no", code="predictor_refused")
    with pytest.raises(Internal):
        await endpoints.infer(TENSORS)
    assert [fake.calls for fake in backends] == [1, 0]


async def test_where_the_model_fails_one_other_endpoint_is_tried_and_none_is_passed_over() -> None:
    backends, endpoints = await fakes(3)
    for fake in backends:
        fake.fault = Internal("no", code="inference_failed")
    for _ in range(3):
        with pytest.raises(Internal):
            await endpoints.infer(TENSORS)
    assert [fake.calls for fake in backends] == [2, 2, 2]


@pytest.mark.parametrize(("timeout_s", "slows"), [(0.0, 1), (60.0, 2)], ids=["time over", "cancelled early"])
async def test_an_endpoint_that_hangs_for_all_the_time_of_a_call_is_passed_over(timeout_s: float, slows: int) -> None:
    (slow, fast), endpoints = await fakes(2, timeout_s=timeout_s)
    slow.open.clear()
    call = asyncio.create_task(endpoints.infer(TENSORS))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    slow.open.set()
    for _ in range(3):
        await endpoints.infer(TENSORS)
    assert (slow.calls, fast.calls) == (slows, 4 - slows)


async def test_close() -> None:
    backends, endpoints = await fakes(2)
    await endpoints.close()
    assert all(fake.closed for fake in backends)


async def test_a_new_address_takes_its_turn_and_no_more_than_that() -> None:
    (old, second, new), endpoints = await fakes(3)
    await endpoints.use(at(0, 1))
    for _ in range(100):
        await endpoints.infer(TENSORS)
    await endpoints.use(at(0, 1, 2))
    for _ in range(9):
        await endpoints.infer(TENSORS)
    assert [old.calls, second.calls, new.calls] == [53, 53, 3]


async def test_what_stays_is_kept_and_what_goes_is_closed() -> None:
    addresses: list[Address] = []
    fake = Fake()

    def connect(address: Address) -> Fake:
        addresses.append(address)
        return fake if address == at(1)[0] else Fake()

    counts: list[int] = []
    endpoints = Endpoints(connect, Resolution((), 0), counted=counts.append)
    await endpoints.use(at(1, 2, 3))
    await endpoints.use(at(2, 3, 4))
    assert addresses == at(1, 2, 3, 4)
    assert fake.closed
    await endpoints.use(at(2))
    assert counts == [3, 3, 1]


async def test_calls_under_way_on_an_address_that_is_gone_are_answered_before_it_is_closed() -> None:
    (gone, stays), endpoints = await fakes(2)
    gone.open.clear()
    calls = [asyncio.create_task(endpoints.infer(TENSORS))]
    await asyncio.sleep(0)
    await endpoints.use(at(1))
    for _ in range(3):
        await endpoints.infer(TENSORS)
    assert (gone.calls, stays.calls, gone.closed) == (1, 3, False)
    gone.open.set()
    assert await calls[0] is TENSORS
    assert gone.closed
    assert not stays.closed


async def test_a_call_that_fails_on_an_address_that_is_gone_by_then_is_tried_again_on_the_only_one_left() -> None:
    (gone, stays), endpoints = await fakes(2)
    gone.open.clear()
    gone.fault = down()
    call = asyncio.create_task(endpoints.infer(TENSORS))
    await asyncio.sleep(0)
    await endpoints.use(at(1))
    gone.open.set()
    assert await call is TENSORS
    assert stays.calls == 1


async def test_second_tries_go_where_none_has_failed_of_late() -> None:
    """Several pods end at once: the name system names them for a while, and one has just answered a probe."""
    probes = Probes()
    backends, endpoints = await fakes(3, probes)
    backends[0].fault = down()
    await endpoints.infer(TENSORS)
    backends[0].fault = None
    await settle()
    await probes.next()
    backends[0].fault = backends[1].fault = down()
    # the second one is next, and after it the first one would be
    for endpoint, turn in zip(endpoints._endpoints, (5, 0, 9), strict=True):
        endpoint.turn = turn
    assert await endpoints.infer(TENSORS) is TENSORS
    await endpoints.close()


async def test_second_calls_are_a_tenth_of_all_calls_beyond_those_in_reserve() -> None:
    retries = RetryCounts()
    backends, endpoints = await fakes(2, retries=retries)
    for fake in backends:
        fake.fault = Internal("no", code="inference_failed")
    for _ in range(1000):
        with pytest.raises(Internal):
            await endpoints.infer(TENSORS)
    seconds = sum(fake.calls for fake in backends) - 1000
    assert RESERVE <= seconds <= RESERVE + RATIO * 1000
    assert retries.take() == {"retry": seconds, "hedge": 0, "denied": 1000 - seconds}
    assert retries.take() == {"retry": 0, "hedge": 0, "denied": 0}


async def test_a_call_that_takes_long_is_made_elsewhere_too() -> None:
    retries = RetryCounts()
    (slow, fast), endpoints = await fakes(2, retries=retries, hedge_after_s=0.001)
    slow.open.clear()
    assert await endpoints.infer(TENSORS) is TENSORS
    assert (slow.calls, fast.calls, retries.hedges) == (1, 1, 1)
    assert [endpoint.failures for endpoint in endpoints._endpoints] == [0, 0]
    slow.open.set()
    await endpoints.close()
    assert [endpoint.outstanding for endpoint in endpoints._endpoints] == [0, 0]


async def test_of_two_calls_the_one_that_succeeds_counts() -> None:
    (slow, bad), endpoints = await fakes(2, hedge_after_s=0.001)
    slow.open.clear()
    bad.fault = down()
    call = asyncio.create_task(endpoints.infer(TENSORS))
    await bad.asked.wait()
    await settle()
    assert not call.done()
    slow.open.set()
    assert await call is TENSORS
    bad.fault = slow.fault = down()
    with pytest.raises(Unavailable):
        await endpoints.infer(TENSORS)
    await endpoints.close()


async def test_without_a_second_endpoint_that_is_well_a_call_is_made_once() -> None:
    (only,), endpoints = await fakes(1, hedge_after_s=0.001)
    only.open.clear()
    call = asyncio.create_task(endpoints.infer(TENSORS))
    await settle()
    only.open.set()
    assert await call is TENSORS
    only.fault = Internal("no", code="predictor_refused")
    with pytest.raises(Internal):
        await endpoints.infer(TENSORS)
    assert only.calls == 2
    await endpoints.close()


async def test_no_address_at_all() -> None:
    endpoints = Endpoints(lambda address: Fake(), Resolution(("nowhere.invalid:80",), 0, look_up=nothing))
    with pytest.raises(Unavailable) as error:
        await endpoints.infer(TENSORS)
    assert (error.value.code, error.value.retry_after) == ("predictor_unavailable", 1)
    await endpoints.close()


async def nothing(name: str) -> list[str]:
    return []
