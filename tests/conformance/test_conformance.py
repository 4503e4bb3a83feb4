"""Real clients of the Open Inference Protocol against every server, over REST and gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .servers import Server, Tensor

CLIENTS = ("kserve", "triton")
FORMS = {
    "kserve": ["rest/binary", "rest/asked", "rest/json", "grpc/raw", "grpc/contents"],
    "triton": ["rest/binary", "rest/asked", "rest/json", "grpc/raw", "grpc/asked"],
}
# FP16 has neither JSON nor typed contents, and KServe's client asks for JSON unless told otherwise.
NOT_FOR_FP16 = {
    ("kserve", "rest/binary"),
    ("kserve", "rest/json"),
    ("kserve", "grpc/contents"),
    ("triton", "rest/json"),
}
Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def called(server: Server) -> dict[str, Results]:
    """What came of every call of every client."""
    programs = {
        client: subprocess.run(
            [sys.executable, Path(__file__).with_name("clients") / f"{client}_client.py"],
            input=json.dumps(server.as_dict()),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        for client in CLIENTS
    }
    for program in programs.values():
        assert program.returncode == 0, program.stderr
    return {client: json.loads(program.stdout) for client, program in programs.items()}


@pytest.mark.parametrize("wire", ["rest", "grpc"])
@pytest.mark.parametrize("client", CLIENTS)
def test_health(client: str, wire: str, server: Server, called: dict[str, Results]) -> None:
    readable = server.health_body or (client, wire) != ("kserve", "rest")
    for call in ("live", "ready", "model_ready") if readable else ("model_ready",):
        assert called[client][f"{wire}/{call}"] == {"result": True}, call


@pytest.mark.parametrize("wire", ["rest", "grpc"])
@pytest.mark.parametrize("client", CLIENTS)
def test_an_unknown_model_is_not_ready(client: str, wire: str, called: dict[str, Results]) -> None:
    assert called[client][f"{wire}/unknown_ready"] == {"result": False}


@pytest.mark.parametrize(("client", "form"), [(client, form) for client in CLIENTS for form in FORMS[client]])
def test_infer(client: str, form: str, server: Server, called: dict[str, Results]) -> None:
    for sample in server.samples:
        if sample.inputs[0].datatype == "FP16" and (client, form) in NOT_FOR_FP16:
            continue
        outcome = called[client][f"{form}/{sample.model}"]
        assert "result" in outcome, (sample.model, outcome)
        result = outcome["result"]
        assert (result["model"], result["id"]) == (sample.model, "id-7")
        for expected, output in zip(sample.outputs, result["outputs"], strict=True):
            _check(expected, output)


def _check(expected: Tensor, output: dict[str, Any]) -> None:
    assert output["name"] == expected.name
    assert output.get("datatype", expected.datatype) == expected.datatype
    assert tuple(output["shape"]) == expected.shape
    if expected.datatype in ("FP16", "FP32", "FP64"):
        np.testing.assert_allclose(output["data"], expected.data, rtol=1e-6)
    else:
        assert tuple(output["data"]) == expected.data


@pytest.mark.parametrize("client", CLIENTS)
def test_an_unknown_model_is_refused(client: str, server: Server, called: dict[str, Results]) -> None:
    rest, rpc = called[client]["rest/unknown"], called[client]["grpc/unknown"]
    assert int(rest["status"]) in server.unknown_model
    assert "nothing" in rest["error"]
    assert rpc["status"].removeprefix("StatusCode.") in ("NOT_FOUND", "INVALID_ARGUMENT")


@pytest.mark.parametrize("client", CLIENTS)
def test_an_unknown_input_is_refused(client: str, called: dict[str, Results]) -> None:
    rest, rpc = called[client]["rest/wrong"], called[client]["grpc/wrong"]
    assert int(rest["status"]) == 400
    assert "nothing" in rest["error"]
    assert rpc["status"].removeprefix("StatusCode.") == "INVALID_ARGUMENT"


@pytest.mark.parametrize("wire", ["rest", "grpc"])
def test_metadata(wire: str, server: Server, called: dict[str, Results]) -> None:
    metadata = called["triton"][f"{wire}/server"]["result"]
    assert metadata["name"]
    assert metadata["version"]
    assert any("binary_tensor_data" in extension for extension in metadata["extensions"])
    model = called["triton"][f"{wire}/model"]["result"]
    sample = server.samples[0]
    assert model["name"] == sample.model
    assert [tensor["name"] for tensor in model["inputs"]] == [tensor.name for tensor in sample.inputs]
    assert [tensor["datatype"] for tensor in model["outputs"]] == [tensor.datatype for tensor in sample.outputs]
    assert [int(size) for size in model["inputs"][0]["shape"]] == [-1, *sample.inputs[0].shape[1:]]


@pytest.mark.parametrize("wire", ["rest", "grpc"])
def test_repository(wire: str, server: Server, called: dict[str, Results]) -> None:
    if not server.repository:
        pytest.skip("this server does not let clients load models")
    results = called["triton"]
    for call in ("unload", "load"):
        assert "error" not in results[f"{wire}/{call}"]
    assert results[f"{wire}/unloaded"] == {"result": False}
    assert results[f"{wire}/loaded"] == {"result": True}
    index = results[f"{wire}/index"]["result"]
    states = {model["name"]: model["state"] for model in (index["models"] if wire == "grpc" else index)}
    assert states[server.samples[0].model] == "UNAVAILABLE"
    assert states[server.samples[1].model] == "READY"
