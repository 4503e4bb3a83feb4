"""The transformer of the pair that a good engineer writes by hand.

Starlette, pydantic, redis-py and aiohttp, one process. Each request is answered alone: one MGET, plain arithmetic on
one row, one call of the predictor with raw ``float32``. Requests are not coalesced.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import redis.asyncio
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.starlette_server import ready, serve

TIMEOUT_S: Final = 2.0
_COURIER: Final = struct.Struct("<4xqB5d")
_RESTAURANT: Final = struct.Struct("<4xqB7d")
_VECTOR: Final = struct.Struct("<12f")
_STANDARDIZED: Final = ("deliveries_30d", "prep_minutes_7d", "basket_eur_30d", "travel_minutes")

Key = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Row(BaseModel):
    """One row of a request, with the limits of the contract."""

    model_config = ConfigDict(extra="forbid", strict=True)

    courier_id: Key
    restaurant_id: Key
    distance_km: Annotated[float, Field(gt=0, le=60)]
    items: Annotated[float, Field(ge=1, le=100)]


class Body(BaseModel):
    """A V1 request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    instances: Annotated[list[Row], Field(min_length=1, max_length=1000)]


class Transformer:
    """Feature lookup and vector assembly in front of the predictor.

    Args:
        store: URL of the feature store.
        predictor: URL of the predictor.
        state: Fitted mean and deviation, by standardized column.
    """

    def __init__(self, store: str, predictor: str, state: dict[str, dict[str, float]]) -> None:
        self._redis = redis.asyncio.Redis.from_url(store, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        self._predictor = predictor
        self._state = [
            (state[f"standardize_{column}"]["mean"], state[f"standardize_{column}"]["std"]) for column in _STANDARDIZED
        ]
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """The client's session lives as long as the server."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as self._session:
            yield
        await self._redis.aclose()

    async def predict(self, request: Request) -> Response:
        """Answer one V1 request; 422 where it breaks the contract, 404 for an unknown key, 502 without predictor."""
        try:
            rows = Body.model_validate_json(await request.body()).instances
        except ValidationError as error:
            return Response(error.json(include_url=False), 422, media_type="application/json")
        keys = [f"courier:1:{row.courier_id}" for row in rows] + [f"restaurant:1:{row.restaurant_id}" for row in rows]
        values: Any = await self._redis.mget(keys)
        if None in values:
            return JSONResponse({"error": f"no features of {keys[values.index(None)]}"}, 404)
        count = len(rows)
        pairs = zip(rows, values[:count], values[count:], strict=True)
        vectors = b"".join(self._vector(row, courier, restaurant) for row, courier, restaurant in pairs)
        assert self._session is not None
        async with self._session.post(self._predictor, data=vectors) as answer:
            if answer.status != 200:
                return JSONResponse({"error": f"the predictor answers {answer.status}"}, 502)
            content = await answer.read()
        return JSONResponse({"predictions": struct.unpack(f"<{count}f", content)})

    def _vector(self, row: Row, courier: bytes, restaurant: bytes) -> bytes:
        _, _, speed, deliveries, courier_rating, late, shift = _COURIER.unpack(courier)
        _, _, prep, spread, orders, cooks, restaurant_rating, basket, lunch = _RESTAURANT.unpack(restaurant)
        of_deliveries, of_prep, of_basket, of_travel = self._state
        return _VECTOR.pack(
            (deliveries - of_deliveries[0]) / of_deliveries[1],
            courier_rating,
            late,
            shift,
            (prep - of_prep[0]) / of_prep[1],
            spread,
            restaurant_rating,
            (basket - of_basket[0]) / of_basket[1],
            lunch,
            orders / cooks,
            (60.0 * row.distance_km / speed - of_travel[0]) / of_travel[1],
            row.items,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--http_port", type=int, required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--predictor", required=True)
    parser.add_argument("--state", type=Path, required=True)
    arguments = parser.parse_args()
    transformer = Transformer(arguments.store, arguments.predictor, json.loads(arguments.state.read_text()))
    app = Starlette(
        routes=[
            Route("/v1/models/{name}:predict", transformer.predict, methods=["POST"]),
            Route("/v2/health/ready", ready),
        ],
        lifespan=transformer.lifespan,
    )
    serve(app, arguments.http_port)
