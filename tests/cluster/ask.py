"""Asking the gateway, by each protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import grpc
import pandas as pd
from races import inputs_of
from traffic import Answer

from tandem.oip import InferRequest, Tensor, protobuf
from tandem.request_forms import rows_of

CONCURRENCY = 16


def rows(bundle: Any, races: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of requests about races."""
    return rows_of(bundle.contract, inputs_of(bundle.model, races).request)


async def by_v1(url: str, host: str, instances: list[dict[str, Any]], **headers: str) -> list[Answer]:
    """Answers of V1, with vectors, one request for each row."""
    gate = asyncio.Semaphore(CONCURRENCY)
    sent = {"host": host, "x-explain": "vector", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with aiohttp.ClientSession(headers=sent) as session:

        async def one(race: int, row: dict[str, Any]) -> Answer:
            async with (
                gate,
                session.post(f"{url}/v1/models/time-estimator:predict", json={"instances": [row]}) as response,
            ):
                body = await response.json()
                assert response.status == 200, body
                (prediction,) = body["predictions"]
                return Answer(race, body["model_version"], prediction)

        return list(await asyncio.gather(*(one(race, row) for race, row in enumerate(instances))))


async def by_v2(url: str, host: str, instances: list[dict[str, Any]], version: str = "") -> tuple[str, list[float]]:
    """Version and predictions of OIP v2 REST, all rows in one request."""
    body = {
        "inputs": [
            {"name": name, "datatype": datatype, "shape": [len(instances)], "data": [row[name] for row in instances]}
            for name, datatype in (("athlete_id", "BYTES"), ("current_pace", "FP64"), ("ts", "BYTES"))
        ]
    }
    path = f"/versions/{version}" if version else ""
    async with (
        aiohttp.ClientSession(headers={"host": host}) as session,
        session.post(f"{url}/v2/models/time-estimator{path}/infer", json=body) as response,
    ):
        answer = await response.json()
        assert response.status == 200, answer
    (data,) = [output["data"] for output in answer["outputs"] if output["name"] == "predicted_time_s"]
    return answer["model_version"], data


async def by_grpc(url: str, host: str, instances: list[dict[str, Any]], variant: str = "") -> tuple[str, list[float]]:
    """Version and predictions of OIP v2 gRPC, all rows in one request."""
    import numpy as np

    inputs = [
        Tensor.of("athlete_id", np.array([row["athlete_id"] for row in instances])),
        Tensor.of("current_pace", np.array([row["current_pace"] for row in instances])),
        Tensor.of("ts", np.array([row["ts"] for row in instances])),
    ]
    message = protobuf.encode_request(InferRequest("time-estimator", inputs))
    target = url.removeprefix("http://")
    if ":" not in target:
        target += ":80"
    metadata = (("x-model-variant", variant),) if variant else ()
    async with grpc.aio.insecure_channel(target, options=[("grpc.default_authority", host)]) as channel:
        content = await channel.unary_unary(protobuf.INFER_METHOD)(message, metadata=metadata, timeout=10)
    response = protobuf.decode_response(content)
    return response.model_version, response.output("predicted_time_s").data.tolist()
