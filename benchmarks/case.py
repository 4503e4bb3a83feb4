"""What both sides are given: a trained model, a filled store, requests and the answers that are right."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingRegressor

import tandem
from tandem.package import ModelPackage
from tandem.packed_rows import RowLayout
from tandem.stores.memory import MemoryStore

PACKAGE = Path(__file__).parent / "model"
SEED = 20261123
ENTITIES = 2000
REQUESTS = 4000
TRAINING_ROWS = 4000

RANGES = {
    "avg_speed_kmh": (8.0, 30.0),
    "deliveries_30d": (5.0, 400.0),
    "courier_rating": (3.0, 5.0),
    "late_share_30d": (0.0, 0.4),
    "shift_hours": (0.0, 10.0),
    "prep_minutes_7d": (4.0, 35.0),
    "prep_spread_7d": (0.5, 12.0),
    "open_orders": (0.0, 25.0),
    "cooks": (1.0, 8.0),
    "restaurant_rating": (2.5, 5.0),
    "basket_eur_30d": (8.0, 80.0),
    "lunch_share": (0.0, 1.0),
    "distance_km": (0.2, 15.0),
    "items": (1.0, 12.0),
}
"""Where each number is drawn from."""


@dataclass(frozen=True)
class Case:
    """One benchmark's material.

    Attributes:
        bundle: The trained version.
        rows: Packed feature rows by store key.
        requests: One client's row each, as JSON bodies are made of.
        expected: The right prediction for each request.
        state: Path of the fitted numbers that the stock transformer's arithmetic needs.
    """

    bundle: tandem.Bundle
    rows: dict[bytes, bytes]
    requests: list[dict[str, Any]]
    expected: NDArray[np.float64]
    state: Path

    def embedded(self) -> tandem.EmbeddedModel:
        """The model in this process, over a memory store with the same rows."""
        store = MemoryStore()
        asyncio.run(store.put(self.rows.items()))
        return tandem.EmbeddedModel.open(self.bundle.path, get=store.get_now)

    @property
    def bodies(self) -> list[str]:
        """The requests as V1 JSON."""
        return [json.dumps({"instances": [request]}) for request in self.requests]


def prepare(directory: Path) -> Case:
    """Train the model, write its bundle, and draw rows and requests; the same ones every time.

    Args:
        directory: Where the bundle and the state go.
    """
    random = np.random.default_rng(SEED)
    bundle, pipeline = _train(directory, random)
    state = directory / "stock-state.json"
    state.write_text(json.dumps(pipeline.state))
    rows = _rows(bundle.model, random)
    requests = _requests(random)
    case = Case(bundle, rows, requests, np.empty(0), state)
    model = case.embedded()
    expected = [answer["delivery_minutes"] for answer in model.predict(requests)]
    return Case(bundle, rows, requests, np.array(expected), state)


def _train(directory: Path, random: np.random.Generator) -> tuple[tandem.Bundle, tandem.Pipeline]:
    model = ModelPackage.read(PACKAGE).load()
    table = _table(random, TRAINING_ROWS)
    inputs = tandem.inputs_from_table(model, table | {f"{use.name}_event_time": table["as_of"] for use in model.views})
    pipeline = tandem.fit(model, inputs)
    vectors = tandem.matrix(pipeline, inputs)
    columns = inputs.request | inputs.views[0].columns | inputs.views[1].columns
    minutes = (
        columns["prep_minutes_7d"] * (0.6 + 0.15 * columns["open_orders"] / columns["cooks"])
        + 60 * columns["distance_km"] / columns["avg_speed_kmh"]
        + 10 * columns["late_share_30d"]
        + random.normal(0, 2, TRAINING_ROWS)
    )
    estimator = GradientBoostingRegressor(n_estimators=50, max_depth=3, random_state=SEED).fit(vectors, minutes)
    bundle = tandem.write_bundle(
        directory,
        package=PACKAGE,
        version="v1",
        pipeline=pipeline,
        onnx=to_onnx(estimator, vectors[:1]).SerializeToString(),
        golden=inputs.take(slice(0, 64)),
        expected=estimator.predict(vectors[:64]),
    )
    return bundle, pipeline


def _table(random: np.random.Generator, rows: int) -> dict[str, NDArray[Any]]:
    table: dict[str, NDArray[Any]] = {name: random.uniform(*limits, rows) for name, limits in RANGES.items()}
    table["courier_id"] = table["restaurant_id"] = np.array([str(row) for row in range(rows)], object)
    table["as_of"] = np.full(rows, np.datetime64("2026-11-01", "us"))
    return table


def _rows(model: tandem.Model, random: np.random.Generator) -> dict[bytes, bytes]:
    """A row of every view for each of :data:`ENTITIES` couriers and restaurants, as fresh as after a nightly run."""
    table = _table(random, ENTITIES)
    now = np.full(ENTITIES, np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us"))
    rows: dict[bytes, bytes] = {}
    for use in model.views:
        layout = RowLayout(use.view)
        ids = np.array([f"{use.name[0]}{entity}" for entity in range(ENTITIES)], object)
        rows.update(zip(layout.keys([ids]), layout.pack(table, now), strict=True))
    return rows


def _requests(random: np.random.Generator) -> list[dict[str, Any]]:
    couriers, restaurants = random.integers(0, ENTITIES, (2, REQUESTS))
    distances = random.uniform(*RANGES["distance_km"], REQUESTS).round(2)
    items = random.integers(1, 12, REQUESTS)
    return [
        {"courier_id": f"c{courier}", "restaurant_id": f"r{restaurant}", "distance_km": distance, "items": count}
        for courier, restaurant, distance, count in zip(
            couriers.tolist(), restaurants.tolist(), distances.tolist(), items.tolist(), strict=True
        )
    ]
