"""Rows whose features cannot be had are answered by the simpler model of the bundle, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
import pytest

from tandem import Bundle
from tandem.errors import RequestError
from tandem.inputs import Degradation, Tensors
from tandem.oip import rest, rest_header
from tandem_transformer.app import TransformerApp
from tandem_transformer.batch import CallAnswer
from tandem_transformer.predictors.inprocess import InProcessPredictor

from . import ask as asking
from . import world
from .client import Client
from .parts import make_service
from .test_lookups import Switched
from .test_service import Counting, ask, ask_all, minutes
from .world import STANDING_DEPOT, good_row

UNKNOWN_DEPOT = 7777
LEFT = Degradation("missing", "simpler_model")


def simpler_of(bundle: Bundle) -> Bundle:
    assert bundle.simpler is not None
    return bundle.simpler


def expected(bundle: Bundle, rows: Sequence[dict[str, Any]]) -> list[float]:
    return [float(value) for value in world.offline(bundle, rows).answers["minutes"]]


async def test_only_rows_without_features_are_left_to_it(nested_bundle: Bundle) -> None:
    complete_rows, unknown = (
        world.rows(12, seed=1),
        [good_row(depot_id=UNKNOWN_DEPOT, parts=at + 1) for at in range(12)],
    )
    own, simple = Counting(nested_bundle), InProcessPredictor(simpler_of(nested_bundle))
    service = make_service(nested_bundle, predictor=own, simpler=simple)
    mixed = [row for pair in zip(complete_rows, unknown, strict=True) for row in pair]
    answer = await ask(service, *mixed)
    assert minutes(answer)[::2] == pytest.approx(expected(nested_bundle, complete_rows), rel=1e-5)
    assert minutes(answer)[1::2] == pytest.approx(expected(simpler_of(nested_bundle), unknown), rel=1e-5)
    assert own.asked == [12]
    assert [answer.degraded[row] for row in range(1, 24, 2)] == [{"depot": LEFT}] * 12
    assert "simpler_model" not in {
        why.source for row in range(0, 24, 2) for why in answer.degraded.get(row, {}).values()
    }
    # answers that follow from the prediction are those of the same model
    texts, numbers = answer.batch.columns["eta"], answer.batch.columns["minutes"]
    assert [f"{round(value) // 60}:{round(value) % 60:02}" for value in numbers.tolist()] == texts.tolist()
    await service.close()


async def test_calls_of_one_batch_get_their_own_rows(nested_bundle: Bundle) -> None:
    service = make_service(nested_bundle)
    requests = [
        [good_row(depot_id=2 if (at + row) % 3 else UNKNOWN_DEPOT, parts=1 + row) for row in range(1 + at % 4)]
        for at in range(30)
    ]
    for rows, answer in zip(requests, await ask_all(service, requests), strict=True):
        assert isinstance(answer, CallAnswer)
        for row, value in enumerate(minutes(answer)):
            is_simple = rows[row]["depot_id"] == UNKNOWN_DEPOT
            bundle = simpler_of(nested_bundle) if is_simple else nested_bundle
            assert value == pytest.approx(expected(bundle, [rows[row]])[0], rel=1e-5)
            assert (row in answer.degraded) == is_simple
    await service.close()


async def test_a_store_that_is_gone_leaves_rows_to_it_that_are_not_known(nested_bundle: Bundle) -> None:
    store = Switched()
    await store.put(world.stored())
    own = Counting(nested_bundle)
    service = make_service(nested_bundle, store=store, predictor=own)
    before = await ask(service, good_row())
    store.is_on = False
    complete_row, unknown = good_row(), good_row(customer_id="c5", depot_id=5)
    during = await ask(service, complete_row, unknown)
    assert minutes(during)[0] == pytest.approx(minutes(before)[0], rel=1e-5)
    assert {why.source for why in during.degraded[0].values()} == {"last_known"}
    assert minutes(during)[1] == pytest.approx(expected(simpler_of(nested_bundle), [unknown])[0], rel=1e-5)
    # the route has a default, which nothing reads now
    degradation = Degradation("unavailable", "simpler_model")
    assert during.degraded[1] == {"customer": degradation, "depot": degradation}
    calls = list(own.asked)
    assert minutes(await ask(service, unknown)) == pytest.approx(minutes(during)[1:], rel=1e-5)
    assert own.asked == calls
    await service.close()


async def test_rows_that_cannot_be_read_are_left_to_it(nested_bundle: Bundle) -> None:
    store = Switched()
    await store.put((key, b"garbage") for key, _ in world.stored())
    service = make_service(nested_bundle, store=store)
    answer = await ask(service, good_row())
    assert answer.degraded[0]["depot"] == Degradation("unreadable", "simpler_model")
    assert minutes(answer) == pytest.approx(expected(simpler_of(nested_bundle), [good_row()]), rel=1e-5)
    await service.close()


async def test_an_error_of_either_part_names_rows_of_its_request(nested_bundle: Bundle) -> None:
    service = make_service(nested_bundle)
    unknown, standing = good_row(depot_id=UNKNOWN_DEPOT), good_row(depot_id=STANDING_DEPOT)
    with pytest.raises(RequestError) as error:
        await ask(service, unknown, good_row(), unknown, standing)
    assert error.value.code == "prediction_not_finite"
    assert str(error.value).startswith("row 3: ")
    assert [detail["row"] for detail in error.value.details] == [3]
    answers = await ask_all(service, [[unknown, standing], [unknown], [good_row()], [standing]])
    assert [isinstance(answer, CallAnswer) for answer in answers] == [False, True, True, False]
    await service.close()


class Failing(InProcessPredictor):
    """A predictor of which nothing comes back."""

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        raise OSError("broken")


async def test_a_simpler_model_that_fails_fails_its_rows_only(nested_bundle: Bundle) -> None:
    service = make_service(nested_bundle, simpler=Failing(simpler_of(nested_bundle)))
    unknown = good_row(depot_id=UNKNOWN_DEPOT)
    failed, answered = await ask_all(service, [[unknown], [good_row()]])
    assert isinstance(failed, RequestError)
    assert isinstance(answered, CallAnswer)
    await service.close()


async def test_each_half_and_the_pair_are_verified_with_it(nested_bundle: Bundle) -> None:
    own, simple = Counting(nested_bundle), Counting(simpler_of(nested_bundle))
    service = make_service(nested_bundle, predictor=own, simpler=simple)
    service.prove()
    async with Client(TransformerApp(service), service) as client:
        assert (await client.get("/tandem/verification")).json()["rows"] == 80
    assert (own.asked, simple.asked) == ([40], [40])
    await service.close()
    service = make_service(nested_bundle, simpler=Scaled(simpler_of(nested_bundle)))
    async with Client(TransformerApp(service), service) as client:
        reply = await client.get("/tandem/verification")
    assert (reply.status_code, reply.json()["code"]) == (500, "proof_failed")
    await service.close()


class Scaled(InProcessPredictor):
    """A predictor that predicts something else."""

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        return {name: 2 * output for name, output in (await super().infer(tensors, deadline)).items()}


async def test_clients_see_which_rows_it_answered(nested_bundle: Bundle) -> None:
    service = make_service(nested_bundle, explain=True)
    rows = [good_row(), good_row(depot_id=UNKNOWN_DEPOT)]
    async with Client(TransformerApp(service), service) as client:
        complete, unknown = (await client.predict(*rows, x_explain="vector")).json()["predictions"]
        assert "degraded" not in complete
        assert unknown["degraded"] == {"depot": {"reason": "missing", "source": "simpler_model"}}
        assert list(complete["vector"]) == list(nested_bundle.signature.columns)
        assert list(unknown["vector"]) == list(simpler_of(nested_bundle).signature.columns)
        vectors = world.offline(simpler_of(nested_bundle), rows[1:]).vectors["x"]
        np.testing.assert_array_equal(list(unknown["vector"].values()), vectors[0])
        body, length = rest.encode_request(asking.infer_request(rows))
        headers = {rest_header.HEADER_LENGTH: str(length)}
        reply = await client.post("/v2/models/parcels/infer", content=body, headers=headers)
        header = reply.headers.get(rest_header.HEADER_LENGTH)
        outputs = asking.columns(rest.decode_response(reply.content, int(header) if header else None))
        assert outputs["degraded"] == ["", "depot:missing:simpler_model"]
        assert outputs["minutes"] == pytest.approx([complete["minutes"], unknown["minutes"]])
    await service.close()


async def test_rows_are_counted_as_degraded(nested_bundle: Bundle) -> None:
    service = make_service(nested_bundle)
    await asyncio.gather(*(ask(service, good_row(depot_id=UNKNOWN_DEPOT)) for _ in range(3)), ask(service, good_row()))
    exposition = service.recorder.exposition().decode()
    missing = 'reason="missing",source="simpler_model",traffic="direct"'
    assert f'tandem_degraded_total{{model="parcels",{missing},version="v1"}} 3.0' in exposition
    assert 'tandem_rows_total{model="parcels",traffic="direct",version="v1"} 4.0' in exposition
    await service.close()
