"""Batches of several calls: each gets its own answer, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from typing import Any

import msgspec
import numpy as np
import pytest

from tandem import Bundle, StoreError
from tandem.errors import DeadlineExceeded, RequestError
from tandem.inputs import Tensors
from tandem.stores.memory import MemoryStore
from tandem_transformer.batch import CallAnswer
from tandem_transformer.predictors.inprocess import InProcessPredictor
from tandem_transformer.service import Service

from . import world
from .parts import make_service
from .world import STALE_DEPOT, STANDING_DEPOT, good_row


async def ask(service: Service, *rows: dict[str, Any], seconds: float | None = None) -> CallAnswer:
    call = service.call(len(rows), seconds)
    call.rows = msgspec.convert(rows, list[service.reader.row_type])  # type: ignore[name-defined]
    service.submit(call)
    return await call.answer


async def ask_all(service: Service, requests: Sequence[Sequence[dict[str, Any]]]) -> list[Any]:
    """Answers or errors of requests that arrive in one turn of the event loop."""
    return await asyncio.gather(*(ask(service, *rows) for rows in requests), return_exceptions=True)


def minutes(answer: CallAnswer) -> list[float]:
    return [float(value) for value in answer.batch.columns["minutes"][answer.start : answer.stop]]


class Counting(InProcessPredictor):
    """A predictor that keeps how many rows it was asked."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.asked: list[int] = []

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        self.asked.append(len(tensors["x"]))
        return await super().infer(tensors, deadline)


async def test_calls_of_one_batch_get_their_own_rows(bundle: Bundle) -> None:
    predictor = Counting(bundle)
    service = make_service(bundle, predictor=predictor)
    requests = [world.rows(1 + index % 4, seed=index) for index in range(30)]
    answers = await ask_all(service, requests)
    assert max(predictor.asked) > 4  # some travelled together
    together = [row for rows in requests for row in rows]
    expected = iter(world.offline(bundle, together).answers["minutes"].tolist())
    for rows, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(minutes(answer), [next(expected) for _ in rows], rtol=1e-5)
    await service.close()


FAULTS = {
    "entity_not_found": (404, good_row(depot_id=77)),
    "entity_stale": (404, good_row(depot_id=STALE_DEPOT)),
    "transform_failed": (500, good_row(postcode="none")),
    "prediction_not_finite": (500, good_row(depot_id=STANDING_DEPOT)),
    "contract_violation": (422, good_row(postcode="de-1e300")),
}


async def test_every_value_beyond_the_models_numbers_is_named_and_the_others_travel_together(bundle: Bundle) -> None:
    predictor = Counting(bundle)
    service = make_service(bundle, predictor=predictor)
    bad = good_row(postcode="de-1e300")
    requests = [[good_row()], [bad, good_row(), bad], *([good_row()] for _ in range(8)), [bad]]
    answers = await ask_all(service, requests)
    rule = "must be from -3.4028235e+38 to 3.4028235e+38, as the model computes in float32"
    for index, rows in ((1, (0, 2)), (10, (0,))):
        details = [{"row": row, "field": "standardize_district", "rule": rule} for row in rows]
        assert answers[index].details == details
        assert str(answers[index]).startswith("row 0, field 'standardize_district': must be from")
    assert not any(isinstance(answer, Exception) for index, answer in enumerate(answers) if index not in (1, 10))
    assert predictor.asked == [9]
    await service.close()


@pytest.mark.parametrize("code", FAULTS)
async def test_a_fault_of_one_call_hits_no_other(bundle: Bundle, code: str) -> None:
    service = make_service(bundle)
    status, bad = FAULTS[code]
    good = [good_row(customer_id=f"c{index}") for index in range(6)]
    requests = [[good[0]], [good[1], bad], [good[2], good[3]], [bad], [good[4]], [good[5]]]
    answers = await ask_all(service, requests)
    expected = world.offline(bundle, good).answers["minutes"].tolist()
    for index, expected_minutes in ((0, expected[:1]), (2, expected[2:4]), (4, expected[4:5]), (5, expected[5:])):
        np.testing.assert_allclose(minutes(answers[index]), expected_minutes, rtol=1e-5)
    for index, row in ((1, 1), (3, 0)):
        error = answers[index]
        assert isinstance(error, RequestError)
        assert (error.status, error.code) == (status, code)
        # rows are counted from the client's own first row
        assert all(detail["row"] == row for detail in error.details)
    await service.close()


async def test_faults_of_every_kind_in_one_batch(bundle: Bundle) -> None:
    service = make_service(bundle)
    requests = [[row] for _, row in FAULTS.values()] + [[good_row()]]
    *errors, answer = await ask_all(service, requests)
    assert [error.code for error in errors] == list(FAULTS)
    np.testing.assert_allclose(minutes(answer), world.offline(bundle, [good_row()]).answers["minutes"], rtol=1e-5)
    await service.close()


async def test_without_a_time_of_its_own_a_row_is_asked_now(bundle: Bundle) -> None:
    now = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us")
    store = MemoryStore()
    await store.put(world.stored(now=now))
    service = make_service(bundle, store=store)
    rows = [good_row(asked_at=moment, pickup_at=f"{now}Z") for moment in (..., None, f"{now}Z", "2026-10-01T00:00:00Z")]
    answer = await ask(service, *rows)
    assert answer.degraded == {}
    left_out, null, explicit, before = answer.batch.tensors["x"][:, 2].tolist()
    assert left_out == null == pytest.approx(explicit, abs=1e-3)
    assert before > explicit  # more notice
    await service.close()


class Hanging:
    """A store whose answers never come."""

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None: ...


class Failing(Hanging):
    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        raise StoreError("gone")


@pytest.mark.parametrize("store", [Hanging(), Failing()])
async def test_a_store_that_does_not_answer(bundle: Bundle, store: Any) -> None:
    service = make_service(bundle, store=store, store_timeout_ms=5)
    for error in await ask_all(service, [[good_row()], [good_row(), good_row()]]):
        assert (error.status, error.code, error.retry_after) == (503, "store_unavailable", 1)
    await service.close()


async def test_stored_rows_of_another_layout(bundle: Bundle) -> None:
    store = MemoryStore()
    await store.put((key, row[:-1]) for key, row in world.stored())
    service = make_service(bundle, store=store)
    (error,) = await ask_all(service, [[good_row()]])
    assert (error.status, error.code, error.retry_after) == (500, "stored_row_unreadable", None)
    await service.close()


async def test_a_call_whose_time_is_over_is_not_worked_on(bundle: Bundle) -> None:
    predictor = Counting(bundle)
    service = make_service(bundle, predictor=predictor)
    with pytest.raises(RequestError) as error:
        await ask(service, good_row(), seconds=0.0)
    assert (error.value.status, error.value.code) == (504, "deadline_exceeded")
    await service.close()
    assert predictor.asked == []


async def test_a_short_call_does_not_cut_off_a_long_one_in_its_batch(bundle: Bundle) -> None:
    release = asyncio.Event()

    class Slow(MemoryStore):
        async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
            await release.wait()
            return await super().get(keys)

    store = Slow()
    await store.put(world.stored())
    service = make_service(bundle, store=store, store_timeout_ms=60_000, request_timeout_ms=60_000)
    short = asyncio.create_task(ask(service, good_row(), seconds=0.005))
    long = asyncio.create_task(ask(service, good_row(customer_id="c2")))
    with pytest.raises(RequestError) as error:
        await short
    assert error.value.code == "deadline_exceeded"
    release.set()
    np.testing.assert_allclose(
        minutes(await long), world.offline(bundle, [good_row(customer_id="c2")]).answers["minutes"], rtol=1e-5
    )
    await service.close()


async def test_overload(bundle: Bundle) -> None:
    service = make_service(bundle, store=Hanging(), max_batches=1, max_queued_rows=3, max_batch_rows=1)
    calls = [asyncio.create_task(ask(service, good_row())) for _ in range(8)]
    first_calls, pending = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    errors = [call.exception() for call in first_calls]
    assert errors
    assert all(isinstance(error, RequestError) and error.code == "overloaded" for error in errors)
    assert len(pending) >= 3
    await asyncio.gather(*pending, return_exceptions=True)
    await service.close()


async def test_close_answers_what_is_waiting(bundle: Bundle) -> None:
    service = make_service(bundle, max_batches=1, max_batch_rows=1)
    calls = [asyncio.create_task(ask(service, good_row(customer_id=f"c{index}"))) for index in range(5)]
    await asyncio.sleep(0)
    await service.close()
    assert [len(minutes(await call)) for call in calls] == [1] * 5


class Silent(InProcessPredictor):
    """A predictor that never answers."""

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        await asyncio.Event().wait()
        return tensors


async def test_a_call_ends_at_its_own_deadline_whatever_the_others_of_its_batch_have(bundle: Bundle) -> None:
    service = make_service(bundle, predictor=Silent(bundle), request_timeout_ms=10_000, predictor_timeout_ms=10_000)
    now = service.now()
    late, open_call = service.call(1, None, now - 9.99), service.call(1, None, now)
    for call in (late, open_call):
        call.rows = msgspec.convert([good_row()], list[service.reader.row_type])  # type: ignore[name-defined]
        service.submit(call)
    with pytest.raises(RequestError) as error:
        await late.answer
    assert error.value.code == "deadline_exceeded"
    assert not open_call.answer.done()


class Slow(InProcessPredictor):
    """A predictor that answers when it is let."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.finished = 0

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        await self._work()
        return await super().infer(tensors, deadline)

    async def _work(self) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.finished += 1


class SlowStore(Slow):
    """So is the store."""

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        return await InProcessPredictor.infer(self, tensors, deadline)

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        await self._work()
        return await world.memory_store().get(keys)


@pytest.mark.parametrize("slow", [Slow, SlowStore])
async def test_a_clients_short_deadline_ends_its_own_waiting_only(bundle: Bundle, slow: type[Slow]) -> None:
    """What has begun goes on: to cut it off would close a connection, and pass over a predictor, that others share."""
    part = slow(bundle)
    store = part if isinstance(part, SlowStore) else None
    service = make_service(bundle, predictor=part, store=store, store_timeout_ms=30_000, predictor_timeout_ms=30_000)
    call = asyncio.create_task(ask(service, good_row(), seconds=0.3))
    await part.begun.wait()
    with pytest.raises(DeadlineExceeded):
        await call
    assert part.finished == 0
    part.go_on.set()
    await service.close()
    assert part.finished == 1
