"""Triton's HTTP and gRPC clients. Reads a server on standard input, writes what came of each call."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype


def array(tensor: dict[str, Any]) -> Any:
    data = [value.encode() for value in tensor["data"]] if tensor["datatype"] == "BYTES" else tensor["data"]
    return np.array(data, triton_to_np_dtype(tensor["datatype"])).reshape(tensor["shape"])


def inputs(library: ModuleType, sample: dict[str, Any], **form: bool) -> list[Any]:
    values = []
    for tensor in sample["inputs"]:
        value = library.InferInput(tensor["name"], list(tensor["shape"]), tensor["datatype"])
        value.set_data_from_numpy(array(tensor), **form)
        values.append(value)
    return values


def outputs(library: ModuleType, sample: dict[str, Any], **form: bool) -> list[Any]:
    return [library.InferRequestedOutput(tensor["name"], **form) for tensor in sample["outputs"]]


def response(answer: Any, sample: dict[str, Any]) -> dict[str, Any]:
    described = answer.get_response()
    if not isinstance(described, dict):
        described = answer.get_response(as_json=True)
    tensors = []
    for tensor in sample["outputs"]:
        values = answer.as_numpy(tensor["name"])
        data = [value.decode() if isinstance(value, bytes) else value for value in values.ravel().tolist()]
        tensors.append({"name": tensor["name"], "shape": list(values.shape), "data": data})
    return {"model": described["model_name"], "id": described["id"], "outputs": tensors}


def attempt(results: dict[str, Any], name: str, call: Callable[[], Any]) -> None:
    try:
        results[name] = {"result": call()}
    except InferenceServerException as error:
        results[name] = {"error": error.message(), "status": error.status()}


def common(results: dict[str, Any], wire: str, client: Any, server: dict[str, Any]) -> None:
    """Calls that both clients have."""
    first = server["samples"][0]["model"]
    attempt(results, f"{wire}/live", client.is_server_live)
    attempt(results, f"{wire}/ready", client.is_server_ready)
    attempt(results, f"{wire}/model_ready", lambda: client.is_model_ready(first))
    attempt(results, f"{wire}/unknown_ready", lambda: client.is_model_ready("nothing"))
    described: dict[str, Any] = {"as_json": True} if wire == "grpc" else {}
    attempt(results, f"{wire}/server", lambda: client.get_server_metadata(**described))
    attempt(results, f"{wire}/model", lambda: client.get_model_metadata(first, **described))
    if server["repository"]:
        described["headers"] = {"authorization": server["repository"]}
        managing = {"headers": described["headers"]}
        attempt(results, f"{wire}/unload", lambda: client.unload_model(first, **managing))
        attempt(results, f"{wire}/unloaded", lambda: client.is_model_ready(first))
        attempt(results, f"{wire}/index", lambda: client.get_model_repository_index(**described))
        attempt(results, f"{wire}/load", lambda: client.load_model(first, **managing))
        attempt(results, f"{wire}/loaded", lambda: client.is_model_ready(first))


def infer(
    results: dict[str, Any],
    wire: str,
    library: ModuleType,
    client: Any,
    server: dict[str, Any],
    forms: dict[str, tuple[dict[str, bool], dict[str, bool] | None]],
) -> None:
    """Inference in each form, for each sample, and two mistakes."""
    for sample in server["samples"]:
        for form, (input_form, output_form) in forms.items():
            if form == "json" and sample["inputs"][0]["datatype"] == "FP16":
                continue  # which has no JSON form
            request_outputs = None if output_form is None else outputs(library, sample, **output_form)
            attempt(
                results,
                f"{wire}/{form}/{sample['model']}",
                lambda sample=sample, input_form=input_form, request_outputs=request_outputs: response(
                    client.infer(
                        sample["model"],
                        inputs(library, sample, **input_form),
                        outputs=request_outputs,
                        request_id="id-7",
                    ),
                    sample,
                ),
            )
    first = server["samples"][0]
    wrong = {**first, "inputs": [{**first["inputs"][0], "name": "nothing"}]}
    attempt(results, f"{wire}/unknown", lambda: str(client.infer("nothing", inputs(library, first))))
    attempt(results, f"{wire}/wrong", lambda: str(client.infer(first["model"], inputs(library, wrong))))


def main() -> None:
    server = json.load(sys.stdin)
    results: dict[str, Any] = {}
    http = tritonclient.http.InferenceServerClient(server["base_url"].removeprefix("http://"))
    rpc = tritonclient.grpc.InferenceServerClient(server["grpc_address"])
    common(results, "rest", http, server)
    common(results, "grpc", rpc, server)
    rest_forms = {
        "binary": ({"binary_data": True}, None),
        "json": ({"binary_data": False}, {"binary_data": False}),
        "asked": ({"binary_data": True}, {"binary_data": True}),
    }
    infer(results, "rest", tritonclient.http, http, server, rest_forms)
    infer(results, "grpc", tritonclient.grpc, rpc, server, {"raw": ({}, None), "asked": ({}, {})})
    http.close()
    rpc.close()
    json.dump(results, sys.stdout)


main()
