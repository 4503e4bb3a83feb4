"""What a transformer answers while its store does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tandem import Bundle, StoreError
from tandem.errors import RequestError
from tandem.stores.memory import MemoryStore
from tandem_transformer.breaker import FAILURES
from tandem_transformer.service import Service
from tandem_transformer.verification import replay_pair

from . import world
from .parts import make_service
from .test_service import Counting, ask, minutes
from .world import good_row


class Switched(MemoryStore):
    """A store that can be switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.is_on = True
        self.asked = 0

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked += 1
        if not self.is_on:
            raise StoreError("gone")
        return self.get_now(keys)


@pytest.fixture
async def store() -> Switched:
    store = Switched()
    await store.put(world.stored())
    return store


async def refused(service: Service, **changes: Any) -> str:
    with pytest.raises(RequestError) as error:
        await ask(service, good_row(**changes))
    return error.value.code


async def test_rows_that_were_read_answer_for_a_store_that_is_gone(bundle: Bundle, store: Switched) -> None:
    service = make_service(bundle, store=store)
    before = await ask(service, good_row())
    store.is_on = False
    during = await ask(service, good_row())
    assert minutes(during) == minutes(before)
    (why,) = during.degraded.values()
    assert why.keys() == {"customer", "depot", "route"}
    for degradation in why.values():
        assert (degradation.reason, degradation.source) == ("unavailable", "last_known")
        assert degradation.age_s >= 0
    store.is_on = True
    assert (await ask(service, good_row())).degraded == {}
    await service.close()


async def test_defaults_answer_where_nothing_is_known(bundle: Bundle, store: Switched) -> None:
    service = make_service(bundle, store=store)
    nobody = await ask(service, good_row(customer_id="nobody"))
    store.is_on = False
    # the same depot, and another customer
    during = await ask(service, good_row(customer_id="never asked for"))
    assert minutes(during) == minutes(nobody)
    reasons = {view: (why.reason, why.source) for view, why in during.degraded[0].items()}
    assert reasons == {
        "customer": ("unavailable", "default"),
        "depot": ("unavailable", "last_known"),
        "route": ("unavailable", "default"),
    }
    assert await refused(service, depot_id=5) == "store_unavailable"
    await service.close()


async def test_a_store_that_is_down_is_asked_by_probes_only(bundle: Bundle, store: Switched) -> None:
    service = make_service(bundle, store=store)
    await ask(service, good_row())
    store.is_on = False
    store.asked = 0
    for _ in range(FAILURES):
        assert await ask(service, good_row())
    assert store.asked == FAILURES
    answer = await ask(service, good_row())
    assert answer.degraded
    # at most a probe, which no request waits for
    assert store.asked <= FAILURES + 1
    store.is_on = True
    async with asyncio.timeout(60):
        while (await ask(service, good_row())).degraded:
            pass
    await service.close()


async def test_rows_that_cannot_be_read_are_what_was_read_before(bundle: Bundle, store: Switched) -> None:
    service = make_service(bundle, store=store)
    before = await ask(service, good_row())
    await store.put(((key, b"garbage") for key, _ in world.stored()), overwrite=True)
    during = await ask(service, good_row())
    assert minutes(during) == minutes(before)
    assert {why.reason for why in during.degraded[0].values()} == {"unreadable"}
    assert await refused(service, depot_id=5) == "stored_row_unreadable"
    await service.close()


async def test_predictions_are_kept_by_vector(bundle: Bundle) -> None:
    predictor = Counting(bundle)
    service = make_service(bundle, predictor=predictor, prediction_cache_bytes=100_000)
    first, again, third = [await ask(service, good_row(parts=parts)) for parts in (2, 2, 3)]
    assert minutes(again) == minutes(first) != minutes(third)
    assert predictor.asked == [1, 1]
    # what proves the pair asks the predictor that is there
    await replay_pair(service.bundle, service.backends, "CPUExecutionProvider")
    assert len(predictor.asked) == 3
    service.recorder.flush()
    counted = service.recorder.exposition().decode()
    assert 'tandem_prediction_cache_total{model="parcels",outcome="hit",version="v1"} 1.0' in counted
    assert 'tandem_prediction_cache_total{model="parcels",outcome="miss",version="v1"} 2.0' in counted
    await service.close()
