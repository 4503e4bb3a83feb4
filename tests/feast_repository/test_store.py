"""The online store of a Feast repository, as a transformer reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from feast import FeatureStore

from tandem import Feature, FeatureView, StoreError
from tandem.errors import UnreadableRows
from tandem.lookup import LookupPlan
from tandem.packed_rows import RowLayout, ViewColumns
from tandem.stores import open_store
from tandem.stores.feast import FeastStore

from .conftest import BORN, NOW

# neither in Feast's order nor all of them
STATS = FeatureView(
    "driver_stats",
    version=3,
    keys=["driver_id"],
    features=[
        Feature("trips", "int64"),
        Feature("taste", "float64[3]"),
        Feature("rate"),
        Feature("born", "timestamp"),
        Feature("active", "bool"),
        Feature("name", "string"),
        Feature("level"),
    ],
)
PAIRS = FeatureView("driver_city", keys=["city_id", "driver_id"], features=[Feature("rating")])
OTHER = FeatureView("driver_other", keys=["driver_id"], features=[Feature("rate")])


@pytest.fixture
async def store(repository: Path) -> AsyncIterator[FeastStore]:
    store = open_store(f"feast://{repository}", [STATS, PAIRS, OTHER])
    assert isinstance(store, FeastStore)
    yield store
    await store.close()


async def rows(store: FeastStore, view: FeatureView, *keys: list[object]) -> ViewColumns:
    layout = RowLayout(view)
    return layout.unpack(await store.get(layout.keys([np.array(column, object) for column in keys])))


async def test_values_are_bound_by_name(store: FeastStore) -> None:
    features = await rows(store, STATS, [2, 1, 4, 1])
    assert features.columns["trips"].tolist()[:2] == [8, 7]
    assert features.columns["taste"][[0, 1, 3]].tolist() == [[4, 5, 6], [1, 2, 3], [1, 2, 3]]
    assert features.columns["rate"][[1, 3]].tolist() == [0.5, 0.5]
    assert features.columns["born"][0] == np.datetime64(BORN.replace(tzinfo=None), "us")
    assert features.columns["active"].tolist()[:2] == [False, True]
    assert features.columns["name"].tolist()[1] == "Zoë"
    assert features.columns["level"].tolist()[:2] == [2.0, 1.0]
    assert features.nulls["rate"].tolist() == [True, False, False, False]
    assert features.nulls["name"].tolist() == [True, False, False, False]


async def test_event_times_are_those_of_feast(store: FeastStore) -> None:
    features = await rows(store, STATS, [1, 2, 4])
    times = [NOW, NOW - timedelta(hours=2)]
    assert features.event_time[:2].tolist() == [time.replace(tzinfo=None) for time in times]
    assert np.isnat(features.event_time).tolist() == [False, False, True]


async def test_a_row_older_than_the_ttl_is_missing(store: FeastStore, repository: Path) -> None:
    # Feast itself returns it
    raw = FeatureStore(repo_path=str(repository)).get_online_features(["driver_stats:trips"], [{"driver_id": 3}])
    assert raw.to_dict()["trips"] == [9]
    assert np.isnat((await rows(store, STATS, [3])).event_time).tolist() == [True]
    # without a ttl nothing is too old
    assert (await rows(store, PAIRS, ["Zürich"], [1])).columns["rating"].tolist() == [4.5]


async def test_where_the_view_is_stricter_it_says_itself_how_old_a_row_is(repository: Path) -> None:
    view = FeatureView("driver_stats", keys=["driver_id"], features=[Feature("trips", "int64")], max_age="12h")
    store = FeastStore(repository, [view])
    assert (await rows(store, view, [3])).columns["trips"].tolist() == [9]
    await store.close()


async def test_several_keys_in_the_order_of_the_view(store: FeastStore) -> None:
    features = await rows(store, PAIRS, ["a:b", "Zürich", "a:b"], [1, 1, 2])
    assert features.columns["rating"].tolist()[:2] == [3.5, 4.5]
    assert np.isnat(features.event_time).tolist() == [False, False, True]


async def test_a_key_that_is_no_number_names_no_entity(store: FeastStore) -> None:
    features = await rows(store, STATS, ["x", "1", "", "-"])
    assert np.isnat(features.event_time).tolist() == [True, False, True, True]


async def test_the_lookup_of_a_model(store: FeastStore) -> None:
    plan = LookupPlan([STATS.on(), OTHER.on(), PAIRS.on(), STATS.on(prefix="second_", driver_id="second_id")])
    request = {
        "driver_id": np.array([1, 2], object),
        "city_id": np.array(["a:b", "a:b"], object),
        "second_id": np.array([2, 1], object),
    }
    stats, rates, pairs, second = plan.unpack(await store.get(plan.keys(request)), 2)
    assert (stats.columns["trips"].tolist(), second.columns["trips"].tolist()) == ([7, 8], [8, 7])
    assert (rates.columns["rate"][0], pairs.columns["rating"][0]) == (100.0, 3.5)
    assert np.isnat(rates.event_time).tolist() == np.isnat(pairs.event_time).tolist() == [False, True]
    assert store.get_now(plan.keys(request)) == await store.get(plan.keys(request))
    assert await store.get([]) == []


async def test_an_array_of_another_length_is_unreadable(repository: Path) -> None:
    view = FeatureView("driver_stats", keys=["driver_id"], features=[Feature("taste", "float64[4]")])
    store = FeastStore(repository, [view])
    with pytest.raises(UnreadableRows) as caught:
        await rows(store, view, [4, 1])
    assert caught.value.rows == [1]
    await store.close()


async def test_feast_writes_its_store_itself(store: FeastStore) -> None:
    with pytest.raises(StoreError, match="feast materialize"):
        await store.put([])


def view(name: str = "driver_stats", keys: str = "driver_id", **features: str) -> FeatureView:
    return FeatureView(name, keys=[keys], features=[Feature(name, type_) for name, type_ in features.items()])


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (
            view("per_km", per_km="float64"),
            "'per_km' is an on-demand feature view: .* write it as an @on_demand function",
        ),
        (view("nothing", x="float64"), "has no feature view 'nothing'; it has .*driver_city.*driver_stats"),
        (view(keys="id", rate="float64"), "'driver_stats' has the keys id; in the Feast repository it has driver_id"),
        (view(speed="float64"), "'driver_stats' of the Feast repository has no feature 'speed'"),
        (view(trips="string"), "'trips' of 'driver_stats' is Int64 in Feast, not string"),
        (view(trips="float64"), "'trips' of 'driver_stats' is Int64 in Feast, not float64"),
        (view(photo="string"), "'photo' of 'driver_stats' is Bytes in Feast, not string"),
        (view(rate="float64[3]"), r"'rate' of 'driver_stats' is Float32 in Feast, not float64\[3\]"),
    ],
)
def test_a_view_that_feast_has_otherwise(repository: Path, declared: FeatureView, reason: str) -> None:
    with pytest.raises(StoreError, match=reason):
        FeastStore(repository, [declared])


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Feast cannot read this repository"):
        FeastStore(tmp_path, [])


async def test_the_online_store_does_not_answer(repository: Path, tmp_path: Path) -> None:
    settings = (repository / "feature_store.yaml").read_text()
    head = settings.partition("online_store:")[0]
    secret = "online_store:\n  type: redis\n  connection_string: 127.0.0.1:1,password=hunter2\n"
    (tmp_path / "feature_store.yaml").write_text(head + secret)
    store = FeastStore(tmp_path, [STATS])
    with pytest.raises(StoreError, match="ConnectionError") as caught:
        await rows(store, STATS, [1])
    assert "hunter2" not in str(caught.value)
    await store.close()
