"""One bad row among many requests: only its own is refused, whatever the row breaks and wherever the model runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tandem import Bundle, EmbeddedModel
from tandem.errors import DeadlineExceeded, Internal, Overloaded, RequestError, Unavailable
from tandem.inputs import Tensors
from tandem_transformer.batch import CallAnswer
from tandem_transformer.config import TransformerConfig
from tandem_transformer.predictors import PredictorClient, connect
from tandem_transformer.predictors.inprocess import InProcessPredictor
from tandem_transformer.service import Service

from . import world
from .parts import make_service
from .servers import Server, predictor
from .world import CRAWLING_DEPOT, STANDING_DEPOT, STUCK_DEPOT, UNKNOWN_PARTS, good_row

REQUESTS = 80
#: A depot whose stored row is cut off; its view has no defaults, so nothing can stand for it.
DAMAGED = 39
BAD_ROWS = {
    "inference_failed": good_row(parts=UNKNOWN_PARTS),
    "stored_row_unreadable": good_row(depot_id=DAMAGED),
    "prediction_not_finite": good_row(depot_id=STANDING_DEPOT),
    "on_demand": good_row(postcode="none"),
    "model_dependent": good_row(depot_id=STUCK_DEPOT),
    "postprocess": good_row(depot_id=CRAWLING_DEPOT),
}
PLACES = ["inprocess", "v2", "grpc-v2", "two over v2", "two over grpc-v2"]


@pytest.fixture(scope="module")
def picky(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return world.write(tmp_path_factory.mktemp("picky"), picky=True)


@pytest.fixture(scope="module")
def predictors(picky: Bundle) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(predictor(picky.path)) for _ in range(2)]


def connected(bundle: Bundle, place: str, servers: Sequence[Server]) -> PredictorClient:
    protocol = place.rpartition(" ")[2]
    used = servers if place.startswith("two") else servers[:1]
    hosts = tuple(server.grpc_address if protocol == "grpc-v2" else server.address for server in used)
    patience = {"predictor_timeout_ms": 20_000.0}
    return connect(
        bundle,
        TransformerConfig(model_dir=Path(bundle.path), predictor_protocol=protocol, predictor_host=hosts, **patience),
    )


def damaged_store() -> Any:
    store = world.memory_store()
    key = depot_prefix() + str(DAMAGED).encode()
    store._rows[key] = store._rows[key][:-1]
    return store


def depot_prefix() -> bytes:
    from tandem.packed_rows import RowLayout

    return next(RowLayout(use.view).key_prefix for use in world.model().views if use.view.name == "depot")


def submit(service: Service, *rows: dict[str, Any]) -> asyncio.Future[CallAnswer]:
    call = service.call(len(rows), None)
    call.rows = msgspec.convert(rows, list[service.reader.row_type])  # type: ignore[name-defined]
    service.submit(call)
    return call.answer


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", BAD_ROWS)
async def test_one_bad_row_among_many(picky: Bundle, predictors: list[Server], place: str, kind: str) -> None:
    service = make_service(
        picky,
        store=damaged_store(),
        predictor=connected(picky, place, predictors),
        request_timeout_ms=20_000,
        predictor_timeout_ms=20_000,
    )
    good = [good_row(customer_id=f"c{at % 50}", parts=1 + at % 19) for at in range(REQUESTS)]
    expected = world.offline(picky, good).answers["minutes"]
    for _ in range(2):
        answers = [submit(service, row) for row in good]
        answers.insert(REQUESTS // 3, bad := submit(service, good_row(), BAD_ROWS[kind]))
        await asyncio.wait(answers)
        answers.remove(bad)
        minutes = [answer.result().batch.columns["minutes"][answer.result().start] for answer in answers]
        np.testing.assert_allclose(minutes, expected, rtol=1e-5)
        error = bad.exception()
        assert isinstance(error, RequestError)
        assert error.code == (
            kind if kind not in ("on_demand", "model_dependent", "postprocess") else "transform_failed"
        )
        assert (error.status, error.retry_after) == (500, None)
        assert {detail["row"] for detail in error.details} <= {1}
    await service.close()


def test_a_bad_row_in_an_embedded_model(picky: Bundle) -> None:
    model = EmbeddedModel.open(picky.path, get=world.memory_store().get_now)
    with pytest.raises(Internal) as error:
        model.predict([good_row(), BAD_ROWS["inference_failed"]])
    assert error.value.code == "inference_failed"
    assert len(model.predict([good_row()])) == 1


class Counting(InProcessPredictor):
    """Keeps how many rows it was asked at a time; fails as it is told."""

    def __init__(self, bundle: Bundle, fault: Exception | None = None) -> None:
        super().__init__(bundle)
        self.fault = fault
        self.batches: list[int] = []

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        self.batches.append(len(tensors["x"]))
        if self.fault is not None:
            raise self.fault
        return await super().infer(tensors, deadline)


@pytest.mark.parametrize("fault", [Overloaded("full"), Unavailable("down"), DeadlineExceeded("late")])
async def test_what_no_row_can_cause_is_not_tried_in_parts(bundle: Bundle, fault: RequestError) -> None:
    predictor = Counting(bundle, fault)
    service = make_service(bundle, predictor=predictor)
    answers = [submit(service, good_row()) for _ in range(8)]
    await asyncio.wait(answers)
    assert [answer.exception() for answer in answers] == [fault] * 8
    assert predictor.batches == [8]
    await service.close()


async def test_a_bad_row_is_found_by_halves(picky: Bundle) -> None:
    predictor = Counting(picky)
    service = make_service(picky, predictor=predictor)
    answers = [submit(service, good_row(parts=UNKNOWN_PARTS if at == 5 else 1)) for at in range(16)]
    await asyncio.wait(answers)
    assert [at for at, answer in enumerate(answers) if answer.exception()] == [5]
    assert sorted(predictor.batches) == [1, 1, 2, 2, 4, 4, 8, 8, 16]
    await service.close()


async def test_where_all_fail_the_number_of_tries_is_bounded(bundle: Bundle) -> None:
    predictor = Counting(bundle, ValueError("unforeseen"))
    service = make_service(bundle, predictor=predictor)
    answers = [submit(service, good_row()) for _ in range(16)]
    await asyncio.wait(answers)
    assert {answer.exception().code for answer in answers} == {"internal_error"}  # type: ignore[union-attr]
    assert len(predictor.batches) == 31
    await service.close()
