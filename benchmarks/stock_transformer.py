"""The other side's transformer: a KServe SDK ``Model`` as a competent user writes it.

It reads the same packed rows with one MGET, takes them apart with ``np.frombuffer``, and does the model package's
arithmetic on whole columns. It checks nothing about a request, has no defaults, and no limits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import kserve
import numpy as np
import redis.asyncio
from kserve import InferInput, InferRequest, InferResponse
from kserve.model_server import parser as kserve_parser

from benchmarks.stock_server import serve

HEAD = [("layout", "<u4"), ("time", "<i8"), ("nulls", "u1")]
COURIER = np.dtype(
    HEAD
    + [(name, "<f8") for name in ("avg_speed_kmh", "deliveries_30d", "courier_rating", "late_share_30d", "shift_hours")]
)
RESTAURANT = np.dtype(
    HEAD
    + [
        (name, "<f8")
        for name in (
            "prep_minutes_7d",
            "prep_spread_7d",
            "open_orders",
            "cooks",
            "restaurant_rating",
            "basket_eur_30d",
            "lunch_share",
        )
    ]
)


class Transformer(kserve.Model):  # type: ignore[misc]
    """Feature lookup and vector assembly in front of the predictor.

    Args:
        name: Name of the model, here and at the predictor.
        store: URL of the feature store.
        state: Fitted mean and deviation, by standardized column.
    """

    def __init__(self, name: str, store: str, state: dict[str, dict[str, float]]) -> None:
        super().__init__(name)
        self._redis = redis.asyncio.Redis.from_url(store)
        self._state = [
            (state[f"standardize_{column}"]["mean"], state[f"standardize_{column}"]["std"])
            for column in ("deliveries_30d", "prep_minutes_7d", "basket_eur_30d", "travel_minutes")
        ]
        self.ready = True

    async def preprocess(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> InferRequest:
        """The predictor's request for the given V1 instances."""
        instances = payload["instances"]
        keys = [f"courier:1:{row['courier_id']}" for row in instances]
        keys += [f"restaurant:1:{row['restaurant_id']}" for row in instances]
        values: Any = await self._redis.mget(keys)
        vectors = self._vectors(
            instances,
            np.frombuffer(b"".join(values[: len(instances)]), COURIER),
            np.frombuffer(b"".join(values[len(instances) :]), RESTAURANT),
        )
        tensor = InferInput("X", list(vectors.shape), "FP32")
        # its REST client sends binary tensors under two content types, which its own server refuses
        tensor.set_data_from_numpy(vectors, binary_data=self.predictor_config.protocol == "grpc-v2")
        return InferRequest(self.name, [tensor])

    async def postprocess(
        self, result: InferResponse, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> dict[str, Any]:
        """The V1 answer."""
        return {"predictions": result.outputs[0].as_numpy().ravel().tolist()}

    def _vectors(self, instances: list[dict[str, Any]], courier: Any, restaurant: Any) -> Any:
        distance = np.array([row["distance_km"] for row in instances])
        deliveries, prep, basket, travel = self._state
        columns = (
            (courier["deliveries_30d"] - deliveries[0]) / deliveries[1],
            courier["courier_rating"],
            courier["late_share_30d"],
            courier["shift_hours"],
            (restaurant["prep_minutes_7d"] - prep[0]) / prep[1],
            restaurant["prep_spread_7d"],
            restaurant["restaurant_rating"],
            (restaurant["basket_eur_30d"] - basket[0]) / basket[1],
            restaurant["lunch_share"],
            restaurant["open_orders"] / restaurant["cooks"],
            (60.0 * distance / courier["avg_speed_kmh"] - travel[0]) / travel[1],
            [row["items"] for row in instances],
        )
        vectors = np.empty((len(instances), len(columns)), np.float32)
        for position, column in enumerate(columns):
            vectors[:, position] = column
        return vectors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve_parser])
    parser.add_argument("--store", required=True)
    parser.add_argument("--state", type=Path, required=True)
    arguments = parser.parse_args()
    serve(Transformer(arguments.model_name, arguments.store, json.loads(arguments.state.read_text())))
