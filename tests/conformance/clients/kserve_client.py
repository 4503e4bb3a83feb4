"""KServe's REST and gRPC clients. Reads a server on standard input, writes what came of each call."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import InferResponse, RequestedOutput

logging.disable()

TYPES = {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object"}


def array(tensor: dict[str, Any]) -> Any:
    dtype = TYPES.get(tensor["datatype"], tensor["datatype"].lower())
    data = [value.encode() for value in tensor["data"]] if dtype == "object" else tensor["data"]
    return np.array(data, dtype).reshape(tensor["shape"])


def request(sample: dict[str, Any], *, binary: bool, with_outputs: bool = False) -> InferRequest:
    inputs = []
    for tensor in sample["inputs"]:
        value = InferInput(tensor["name"], list(tensor["shape"]), tensor["datatype"])
        value.set_data_from_numpy(array(tensor), binary_data=binary)
        inputs.append(value)
    form = {"binary_data": binary}
    outputs = [RequestedOutput(tensor["name"], form) for tensor in sample["outputs"]] if with_outputs else None
    return InferRequest(sample["model"], inputs, request_id="id-7", request_outputs=outputs)


def response(answer: InferResponse) -> dict[str, Any]:
    outputs = []
    for output in answer.outputs:
        values = output.as_numpy()
        data = values.ravel().tolist()
        data = [value.decode() if isinstance(value, bytes) else value for value in data]
        outputs.append({"name": output.name, "datatype": output.datatype, "shape": list(output.shape), "data": data})
    return {"model": answer.model_name, "id": answer.id, "outputs": outputs}


async def attempt(results: dict[str, Any], name: str, call: Awaitable[Any]) -> None:
    try:
        answer = await call
        results[name] = {"result": response(answer) if isinstance(answer, InferResponse) else answer}
    except httpx.HTTPStatusError as error:
        results[name] = {"error": str(error), "status": error.response.status_code}
    except json.JSONDecodeError:  # health without a body, as the protocol has it, is more than this client can read
        results[name] = {"error": "no JSON"}
    except grpc.RpcError as error:
        results[name] = {"error": error.details(), "status": error.code().name}


async def main() -> None:
    server = json.load(sys.stdin)
    results: dict[str, Any] = {}
    url = server["base_url"]
    first = server["samples"][0]
    wrong = {**first, "inputs": [{**first["inputs"][0], "name": "nothing"}]}
    nowhere = {**first, "model": "nothing"}
    async with (
        InferenceRESTClient(RESTConfig(protocol="v2")) as rest,
        InferenceGRPCClient(server["grpc_address"]) as rpc,
    ):
        await attempt(results, "rest/live", rest.is_server_live(url))
        await attempt(results, "rest/ready", rest.is_server_ready(url))
        await attempt(results, "rest/model_ready", rest.is_model_ready(url, first["model"]))
        await attempt(results, "rest/unknown_ready", rest.is_model_ready(url, "nothing"))
        await attempt(results, "grpc/live", rpc.is_server_live())
        await attempt(results, "grpc/ready", rpc.is_server_ready())
        await attempt(results, "grpc/model_ready", rpc.is_model_ready(first["model"]))
        await attempt(results, "grpc/unknown_ready", rpc.is_model_ready("nothing"))
        for sample in server["samples"]:
            model = sample["model"]
            await attempt(results, f"rest/binary/{model}", rest.infer(url, request(sample, binary=True), model))
            message = request(sample, binary=True, with_outputs=True)
            await attempt(results, f"rest/asked/{model}", rest.infer(url, message, model))
            await attempt(results, f"grpc/raw/{model}", rpc.infer(request(sample, binary=True)))
            if sample["inputs"][0]["datatype"] != "FP16":  # which has neither JSON nor typed contents
                await attempt(results, f"rest/json/{model}", rest.infer(url, request(sample, binary=False), model))
                await attempt(results, f"grpc/contents/{model}", rpc.infer(request(sample, binary=False)))
        await attempt(results, "rest/unknown", rest.infer(url, request(nowhere, binary=True), "nothing"))
        await attempt(results, "rest/wrong", rest.infer(url, request(wrong, binary=True), first["model"]))
        await attempt(results, "grpc/unknown", rpc.infer(request(nowhere, binary=True)))
        await attempt(results, "grpc/wrong", rpc.infer(request(wrong, binary=True)))
    json.dump(results, sys.stdout)


asyncio.run(main())
