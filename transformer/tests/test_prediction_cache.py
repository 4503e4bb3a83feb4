"""What is kept answers for equal vectors of the same bundle, and for nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.inputs import Tensors
from tandem_transformer.prediction_cache import ENTRY_BYTES, CacheCounts, PredictionCache, row_keys


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Predictor:
    """Predicts the sum of a vector, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self, tensors: Tensors) -> Tensors:
        self.asked.append(len(tensors["x"]))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {
            "y": tensors["x"].sum(axis=1, keepdims=True),
            "name": np.array([f"n{n}" for n in range(len(tensors["x"]))], object),
        }


def vectors(*values: float) -> Tensors:
    return {"x": np.array([[value, 1.0] for value in values], np.float32)}


def cache_of(
    clock: Clock, *, max_bytes: int = 10**6, ttl_s: float = 300.0, counts: CacheCounts | None = None
) -> PredictionCache:
    return PredictionCache(b"a", max_bytes, ttl_s, clock, counts or CacheCounts())


async def sums(cache: PredictionCache, predictor: Predictor, *values: float) -> list[float]:
    return (await cache.infer(vectors(*values), predictor))["y"][:, 0].tolist()


async def test_a_vector_is_predicted_once() -> None:
    counts = CacheCounts()
    cache, predictor = cache_of(Clock(), counts=counts), Predictor()
    assert await sums(cache, predictor, 1, 2) == [2, 3]
    assert await sums(cache, predictor, 2, 3, 1, 3) == [3, 4, 2, 4]
    assert predictor.asked == [2, 1]
    assert counts.take() == {"hit": 3, "joined": 0, "miss": 3, "precomputed": 0}


async def test_a_prediction_is_kept_for_a_time() -> None:
    clock = Clock()
    cache, predictor = cache_of(clock, ttl_s=10), Predictor()
    await sums(cache, predictor, 1)
    clock.now = 9.9
    await sums(cache, predictor, 1)
    assert predictor.asked == [1]
    clock.now = 10.0
    await sums(cache, predictor, 1)
    assert predictor.asked == [1, 1]


async def test_the_least_recently_used_goes_first() -> None:
    cache, predictor = cache_of(Clock(), max_bytes=3 * (ENTRY_BYTES + 100)), Predictor()
    for value in (1, 2, 3, 1, 4):
        await sums(cache, predictor, value)
    assert predictor.asked == [1] * 4
    await sums(cache, predictor, 1)
    assert predictor.asked == [1] * 4
    await sums(cache, predictor, 2)
    assert predictor.asked == [1] * 5


async def test_equal_vectors_at_once_are_predicted_once() -> None:
    counts = CacheCounts()
    cache, predictor = cache_of(Clock(), counts=counts), Predictor()
    predictor.gate = asyncio.Event()
    calls = [asyncio.create_task(sums(cache, predictor, 5, number)) for number in range(3)]
    await asyncio.sleep(0)
    predictor.gate.set()
    assert await asyncio.gather(*calls) == [[6, 1], [6, 2], [6, 3]]
    assert predictor.asked == [2, 1, 1]
    assert counts.take() == {"hit": 0, "joined": 2, "miss": 4, "precomputed": 0}


async def test_a_failure_is_not_kept_and_all_who_wait_learn_of_it() -> None:
    cache, predictor = cache_of(Clock()), Predictor()
    predictor.gate, predictor.error = asyncio.Event(), ValueError("no")
    calls = [asyncio.create_task(sums(cache, predictor, 5)) for _ in range(2)]
    await asyncio.sleep(0)
    predictor.gate.set()
    assert [type(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == [ValueError] * 2
    predictor.error = None
    assert await sums(cache, predictor, 5) == [6]


async def test_who_gives_up_does_not_leave_others_waiting() -> None:
    cache, predictor = cache_of(Clock()), Predictor()
    predictor.gate = asyncio.Event()
    first, second = (asyncio.create_task(sums(cache, predictor, 5)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(ConnectionError):
        await second
    predictor.gate.set()
    assert await sums(cache, predictor, 5) == [6]


TEXTS = st.lists(st.lists(st.text(max_size=3), min_size=2, max_size=2), min_size=1, max_size=6)
FLOATS = st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), min_size=1, max_size=6)


def array(rows: list[list[Any]], dtype: Any) -> Any:
    values = np.empty((len(rows), 2), dtype)
    for at, row in enumerate(rows):
        values[at] = row
    return values


@given(TEXTS, FLOATS, st.binary(max_size=64), st.binary(max_size=64))
def test_keys_are_equal_for_equal_vectors_of_the_same_bundle_only(
    texts: list[list[str]], floats: list[list[float]], first_identity: bytes, second_identity: bytes
) -> None:
    count = min(len(texts), len(floats))
    tensors = {"t": array(texts[:count], object), "x": array(floats[:count], np.float32)}
    keys = row_keys(tensors, first_identity)
    vectors = [(tuple(text), number.tobytes()) for text, number in zip(texts, tensors["x"], strict=False)]
    for key, vector in zip(keys, vectors, strict=True):
        assert [key == candidate for candidate in keys] == [vector == candidate for candidate in vectors]
    # blake2b fills a key up with zeros; identities have one length
    if first_identity.ljust(64, b"\0") != second_identity.ljust(64, b"\0"):
        assert set(keys).isdisjoint(row_keys(tensors, second_identity))
