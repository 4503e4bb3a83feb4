"""Which endpoint is called. The endpoints are fakes that are told when to answer."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import numpy as np
import pytest

from tandem.errors import Internal, RequestError, Unavailable
from tandem.inputs import Tensors
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.endpoints import Endpoints
from tandem_transformer.predictors.resolution import Resolution

TENSORS: Tensors = {"x": np.ones((1, 2), np.float32)}


@dataclass
class Fake:
    """An endpoint that answers once it may, or fails."""

    fault: RequestError | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self.open.set()

    async def infer(self, tensors: Tensors) -> Tensors:
        self.calls += 1
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


async def fakes(count: int) -> tuple[list[Fake], Endpoints]:
    """Endpoints at the addresses 0, 1, …; more of them can be used later."""
    found = [Fake() for _ in range(count)]
    made = dict(zip(at(*range(count)), found, strict=True))
    endpoints = Endpoints(made.__getitem__, Resolution((), 0))
    await endpoints.use(list(made))
    return found, endpoints


async def test_calls_one_after_the_other_are_spread_evenly() -> None:
    found, endpoints = await fakes(3)
    for _ in range(9):
        await endpoints.infer(TENSORS)
    assert [fake.calls for fake in found] == [3, 3, 3]


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


async def test_an_endpoint_is_tried_again_after_its_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (bad, good), endpoints = await fakes(2)
    bad.fault = down()
    await endpoints.infer(TENSORS)
    bad.fault = None
    monkeypatch.setattr("tandem_transformer.predictors.endpoints.EJECTION_S", 0.0)
    endpoints._endpoints[0].out_until = 0.0
    for _ in range(4):
        await endpoints.infer(TENSORS)
    assert bad.calls > 1
    assert good.calls > 1


async def test_both_down() -> None:
    found, endpoints = await fakes(2)
    for fake in found:
        fake.fault = down()
    with pytest.raises(Unavailable) as error:
        await endpoints.infer(TENSORS)
    assert (error.value.code, error.value.retry_after) == ("predictor_unavailable", 1)
    assert [fake.calls for fake in found] == [1, 1]
    found[1].fault = None
    assert await endpoints.infer(TENSORS) is TENSORS  # although both are passed over, one must be asked


async def test_two_of_three_down() -> None:
    found, endpoints = await fakes(3)
    found[0].fault = found[1].fault = down()
    with pytest.raises(Unavailable):  # a call is tried twice, not three times
        await endpoints.infer(TENSORS)
    for _ in range(4):
        await endpoints.infer(TENSORS)
    assert [fake.calls for fake in found] == [1, 1, 4]


async def test_the_only_endpoint_is_not_asked_twice() -> None:
    (only,), endpoints = await fakes(1)
    only.fault = down()
    for calls in (1, 2):
        with pytest.raises(Unavailable):
            await endpoints.infer(TENSORS)
        assert only.calls == calls


async def test_what_every_endpoint_would_refuse_is_not_tried_again() -> None:
    found, endpoints = await fakes(2)
    found[0].fault = Internal("no", code="predictor_refused")
    with pytest.raises(Internal):
        await endpoints.infer(TENSORS)
    assert [fake.calls for fake in found] == [1, 0]


async def test_where_the_model_fails_one_other_endpoint_is_tried_and_none_is_passed_over() -> None:
    found, endpoints = await fakes(3)
    for fake in found:
        fake.fault = Internal("no", code="inference_failed")
    for _ in range(3):
        with pytest.raises(Internal):
            await endpoints.infer(TENSORS)
    assert [fake.calls for fake in found] == [2, 2, 2]


async def test_an_endpoint_that_hangs_until_the_call_is_cancelled_is_passed_over() -> None:
    (slow, other), endpoints = await fakes(2)
    slow.open.clear()
    call = asyncio.create_task(endpoints.infer(TENSORS))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    for _ in range(3):
        await endpoints.infer(TENSORS)
    assert (slow.calls, other.calls) == (1, 3)


async def test_close() -> None:
    found, endpoints = await fakes(2)
    await endpoints.close()
    assert all(fake.closed for fake in found)


async def test_a_new_address_takes_its_turn_and_no_more_than_that() -> None:
    (old, other, new), endpoints = await fakes(3)
    await endpoints.use(at(0, 1))
    for _ in range(100):
        await endpoints.infer(TENSORS)
    await endpoints.use(at(0, 1, 2))
    for _ in range(9):
        await endpoints.infer(TENSORS)
    assert [old.calls, other.calls, new.calls] == [53, 53, 3]


async def test_what_stays_is_kept_and_what_goes_is_closed() -> None:
    made: list[Address] = []
    fake = Fake()

    def connect(address: Address) -> Fake:
        made.append(address)
        return fake if address == at(1)[0] else Fake()

    counts: list[int] = []
    endpoints = Endpoints(connect, Resolution((), 0), counted=counts.append)
    await endpoints.use(at(1, 2, 3))
    await endpoints.use(at(2, 3, 4))
    assert made == at(1, 2, 3, 4)
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


async def test_second_tries_go_where_none_has_failed_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pods end at once: the name system names them for a while, and each comes back from its time out."""
    monkeypatch.setattr("tandem_transformer.predictors.endpoints.EJECTION_S", 0.0)
    found, endpoints = await fakes(4)
    found[0].fault = found[2].fault = found[3].fault = down()
    for _ in range(3):
        with contextlib.suppress(Unavailable):
            await endpoints.infer(TENSORS)
    for _ in range(20):
        assert await endpoints.infer(TENSORS) is TENSORS
    assert min(fake.calls for fake in found) > 1  # nobody is forgotten


async def test_no_address_at_all() -> None:
    endpoints = Endpoints(lambda address: Fake(), Resolution(("nowhere.invalid:80",), 0, look_up=nothing))
    with pytest.raises(Unavailable) as error:
        await endpoints.infer(TENSORS)
    assert (error.value.code, error.value.retry_after) == ("predictor_unavailable", 1)
    await endpoints.close()


async def nothing(name: str) -> list[str]:
    return []
