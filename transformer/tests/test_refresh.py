"""Changed features come in, and store, prediction and answers follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from tandem import Bundle
from tandem.lookup import LookupPlan
from tandem.packed_rows import ViewColumns
from tandem.precomputed import PrecomputedPredictions
from tandem_transformer.app import TransformerApp

from . import world
from .client import Client
from .parts import make_service
from .test_lookups import Switched
from .test_precomputed import columns_of, store_with
from .test_service import Counting, ask, minutes
from .world import NOW, good_row

PATH = "/v1/models/parcels:refresh"
TOKEN = {"authorization": "Bearer secret"}


@pytest.fixture
async def store() -> Switched:
    return await store_with()


@pytest.fixture
async def client(ahead_bundle: Bundle, store: Switched) -> AsyncIterator[Client]:
    service = make_service(ahead_bundle, store=store, predictor=Counting(ahead_bundle), refresh_token="secret")
    async with Client(TransformerApp(service), service) as client:
        yield client
    await service.close()


async def refresh(client: Client, rows: list[Any], features: dict[str, Any], **headers: str) -> Any:
    return await client.post(PATH, json={"instances": rows, "features": features}, headers=headers or TOKEN)


def view_of(bundle: Bundle, store: Switched, row: dict[str, Any], name: str) -> ViewColumns:
    """What the store has of one entity."""
    plan = LookupPlan(bundle.model.views)
    views = plan.unpack(store.get_now(plan.keys(columns_of(bundle, [row]))), 1)
    return dict(zip([use.name for use in plan.uses], views, strict=True))[name]


async def test_changed_features_and_their_prediction_are_written(
    client: Client, ahead_bundle: Bundle, store: Switched
) -> None:
    service, row = client.service, good_row()
    before = await ask(service, row)
    reply = await refresh(client, [row], {"depot": [{"speed": 5.0}]})
    assert reply.status_code == 200, reply.text
    (prediction,) = reply.json()["predictions"]
    assert reply.json()["written"] == {"features": 1, "predictions": 1}
    assert reply.json()["model_version"] == "v1"
    # the store removes the prediction when it is too old, and keeps the features
    assert list(store._expires) == PrecomputedPredictions(ahead_bundle).keys(columns_of(ahead_bundle, [row]))
    # a much slower depot
    assert prediction["minutes"] != pytest.approx(minutes(before)[0], rel=1e-3)
    depot = view_of(ahead_bundle, store, row, "depot")
    assert (depot.columns["speed"].tolist(), depot.event_time.tolist()) == ([5.0], [NOW.item()])
    calls = list(service.backends._predictor.asked)  # type: ignore[attr-defined]
    after = await ask(service, row)
    assert (minutes(after), after.precomputed) == ([prediction["minutes"]], {0: 0.0})
    assert service.backends._predictor.asked == calls  # type: ignore[attr-defined]
    # another request about the same depot is computed, from the new speed
    fresh_answer = await ask(service, good_row(parts=3))
    assert fresh_answer.precomputed == {}
    direct = await refresh(client, [good_row(parts=3)], {})
    assert minutes(fresh_answer) == pytest.approx([direct.json()["predictions"][0]["minutes"]], rel=1e-6)
    assert direct.json()["written"] == {"features": 0, "predictions": 1}


async def test_features_that_do_not_change_keep_their_values(
    client: Client, ahead_bundle: Bundle, store: Switched
) -> None:
    row = good_row()
    old = view_of(ahead_bundle, store, row, "customer")
    changes = {"customer": [{"rating": 1.5, "since": "2026-02-03T04:05:06Z", "orders": None}]}
    reply = await refresh(client, [row], changes)
    assert reply.json()["written"]["features"] == 1
    # a null is filled in, and flagged; a flagged prediction is not kept
    assert reply.json()["predictions"][0]["degraded"] == {"customer.orders": {"reason": "null", "source": "default"}}
    assert reply.json()["written"]["predictions"] == 0
    new = view_of(ahead_bundle, store, row, "customer")
    assert new.columns["rating"].tolist() == [1.5]
    assert new.columns["since"].tolist() == [np.datetime64("2026-02-03T04:05:06", "us").item()]
    assert {name: mask.tolist() for name, mask in new.nulls.items()} == {"orders": [True]}
    for name in ("vip", "segment"):
        assert new.columns[name].tolist() == old.columns[name].tolist()


async def test_a_new_entity_needs_what_nothing_stands_for(
    client: Client, ahead_bundle: Bundle, store: Switched
) -> None:
    rows = [good_row(), good_row(depot_id=8888)]
    reply = await refresh(client, rows, {"depot": [None, {"speed": 20.0}]})
    assert reply.status_code == 422
    assert reply.json()["details"] == [
        {"row": 1, "field": "depot.lanes", "rule": "is required: nothing is stored, and it has no default"}
    ]
    reply = await refresh(client, rows, {"depot": [None, {"speed": 20.0, "lanes": 2}]})
    assert reply.json()["written"]["features"] == 1
    depot = view_of(ahead_bundle, store, rows[1], "depot")
    assert (depot.columns["lanes"].tolist(), list(depot.nulls)) == ([2], ["toll"])
    assert view_of(ahead_bundle, store, rows[0], "depot").event_time < NOW


async def test_newer_rows_of_the_store_stay(client: Client, ahead_bundle: Bundle, store: Switched) -> None:
    await refresh(client, [good_row()], {"depot": [{"speed": 5.0}]})
    earlier = good_row(asked_at="2026-05-01T07:59:59Z")
    reply = await refresh(client, [earlier], {"depot": [{"speed": 9.0}]})
    assert reply.json()["written"] == {"features": 0, "predictions": 0}
    assert view_of(ahead_bundle, store, earlier, "depot").columns["speed"].tolist() == [5.0]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"instances": [good_row()], "features": {"weather": [{}]}}, 422, "unknown feature view"),
        ({"instances": [good_row()], "features": {"depot": []}}, 422, "must have a row for each instance, 1, not 0"),
        ({"instances": [good_row()], "features": {"depot": [{"height": 1.0}]}}, 422, "unknown feature"),
        ({"instances": [good_row()], "features": {"depot": [{"speed": "fast"}]}}, 422, "'depot.speed'"),
        ({"instances": [good_row()], "features": {"depot": [{"lanes": 1.5}]}}, 422, "'depot.lanes'"),
        ({"instances": [good_row(weight_kg=-1.0)]}, 422, "'weight_kg'"),
        ({"instances": [good_row(depot_id=8888)]}, 404, "feature view 'depot' has nothing for depot_id=8888"),
        ({"instances": []}, 400, "length >= 1"),
        ({"instances": [good_row()], "feature": {}}, 400, "unknown field"),
        ([], 400, "Expected"),
    ],
)
async def test_what_breaks_a_rule_is_refused_and_nothing_written(
    client: Client, store: Switched, body: Any, status: int, text: str
) -> None:
    before = dict(store._rows)
    reply = await client.post(PATH, json=body, headers=TOKEN)
    assert reply.status_code == status, reply.text
    assert text in reply.json()["error"]
    assert store._rows == before
    assert (await client.post(PATH, content=b"{", headers=TOKEN)).status_code == 400


@pytest.mark.parametrize("rest", ['"x"9', "[" * 10_000, "\udcff", ""])
async def test_a_body_that_stops_being_json_after_a_broken_rule_is_refused(client: Client, rest: str) -> None:
    broken_rule = '{"instances": [{"customer_id": 7}], "features": '
    content = (broken_rule + rest).encode(errors="surrogateescape")
    reply = await client.post(PATH, content=content, headers=TOKEN)
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_request")


async def test_it_needs_its_token_and_a_model_that_takes_predictions(
    client: Client, ahead_bundle: Bundle, bundle: Bundle, store: Switched
) -> None:
    for headers in ({"authorization": "Bearer wrong"}, {"x": ""}):
        reply = await refresh(client, [good_row()], {}, **headers)
        assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")
    reply = await client.post("/v1/models/others:refresh", json={"instances": [good_row()]}, headers=TOKEN)
    assert reply.status_code == 404
    for candidate, token in ((ahead_bundle, ""), (bundle, "secret")):
        service = make_service(candidate, store=store, refresh_token=token)
        async with Client(TransformerApp(service), service) as without:
            reply = await refresh(without, [good_row()], {})
            assert (reply.status_code, reply.json()["code"]) == (405, "method_not_allowed")
        await service.close()


async def test_a_store_that_is_gone_is_told(client: Client, store: Switched) -> None:
    store.is_on = False
    reply = await refresh(client, [good_row()], {"depot": [{"speed": 5.0}]})
    assert (reply.status_code, reply.json()["code"]) == (503, "store_unavailable")


def test_good_rows_are_about_the_time_of_the_world() -> None:
    assert np.datetime64(good_row()["asked_at"].removesuffix("Z"), "us") == world.NOW
