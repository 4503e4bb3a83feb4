from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tandem_predictor.admission import Admission
from tandem_predictor.app import PredictorApp
from tandem_predictor.config import PredictorConfig
from tandem_predictor.metrics import PredictorMetrics
from tandem_predictor.repository import Repository

from . import graphs
from .conftest import TOKEN, Models, Parts


async def test_server(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v2")).json()
    assert body["name"] == "tandem-predictor"
    assert body["extensions"] == ["binary_tensor_data", "model_configuration", "statistics", "model_repository"]


async def test_health(client: httpx.AsyncClient, parts: Parts) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    parts.repository.stopping = True
    response = await client.get("/v2/health/ready")
    assert (response.status_code, response.json()) == (503, {"ready": False})
    assert (await client.get("/v2/health/live")).status_code == 200


@pytest.mark.parametrize("path", ["text", "text/versions/3"])
async def test_model(path: str, client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/v2/models/{path}")).json() == {
        "name": "text",
        "versions": ["3"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "BYTES", "shape": [-1, 2]}],
    }
    assert (await client.get(f"/v2/models/{path}/ready")).json() == {"name": "text", "ready": True}


@pytest.mark.parametrize("path", ["text/config", "text/versions/3/config"])
async def test_configuration(path: str, client: httpx.AsyncClient) -> None:
    body = (await client.get(f"/v2/models/{path}")).json()
    assert (body["name"], body["platform"], body["backend"]) == ("text", "onnxruntime_onnx", "onnxruntime")
    assert body["max_batch_size"] == 8
    assert body["input"] == [{"name": "x", "data_type": "TYPE_STRING", "dims": [2], "optional": False}]
    assert body["output"] == [{"name": "y", "data_type": "TYPE_STRING", "dims": [2]}]
    assert body["instance_group"] == [{"name": "text", "kind": "KIND_CPU", "count": 1}]
    assert body["dynamic_batching"] == {"max_queue_delay_microseconds": 0}


async def test_statistics(client: httpx.AsyncClient) -> None:
    def tensor(*rows: list[str]) -> dict[str, object]:
        return {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [len(rows), 2], "data": rows}]}

    async def statistics(path: str = "text/stats") -> dict[str, Any]:
        models = (await client.get(f"/v2/models/{path}")).json()["model_stats"]
        return next(dict(model) for model in models if model["name"] == "text")

    assert (await statistics())["last_inference"] == 0
    for rows in ([["a", "b"]], [["a", "b"], ["c", "d"]]):
        assert (await client.post("/v2/models/text/infer", json=tensor(*rows))).status_code == 200
    assert (await client.post("/v2/models/text/infer", json={"inputs": []})).status_code == 400
    counted = await statistics()
    assert counted == await statistics("text/versions/3/stats") == await statistics("stats")
    assert (counted["version"], counted["inference_count"], counted["execution_count"]) == ("3", 3, 2)
    assert counted["last_inference"] > 0
    counts = {stage: duration["count"] for stage, duration in counted["inference_stats"].items()}
    assert (counts["success"], counts["fail"], counts["queue"], counts["compute_infer"]) == (2, 1, 2, 2)
    spent = {stage: duration["ns"] for stage, duration in counted["inference_stats"].items()}
    assert 0 < spent["compute_infer"] < spent["success"]
    assert spent["fail"] > 0


async def test_a_model_that_is_not_batched_says_so(client: httpx.AsyncClient) -> None:
    metadata = (await client.get("/v2/models/fixed")).json()
    assert metadata["parameters"] == {"batching": "off", "batching_reason": "FixedShape"}


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "nothing/ready",
        "nothing/config",
        "nothing/stats",
        "text/versions/2",
        "text/versions/2/ready",
        "text/versions/2/config",
        "text/versions/2/stats",
    ],
)
async def test_unknown_model(path: str, client: httpx.AsyncClient) -> None:
    response = await client.get(f"/v2/models/{path}")
    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")


async def test_unknown_path(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/models/text:predict")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/v2/", "/metrics/", "/v2/models/text/"])
async def test_no_path_is_sent_elsewhere(path: str, client: httpx.AsyncClient) -> None:
    response = await client.get(path, headers={"host": "elsewhere.example.com"})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_wrong_method(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/repository/index")).status_code == 405


async def test_metrics(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert "tandem_predictor_inflight_requests 0.0" in response.text


async def test_index(client: httpx.AsyncClient, models: Models) -> None:
    await client.post("/v2/repository/models/half/unload")
    index = {entry["name"]: entry for entry in (await client.post("/v2/repository/index")).json()}
    assert index["text"] == {"name": "text", "version": "3", "state": "READY", "reason": ""}
    assert index["half"] == {"name": "half", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
    assert index[models.bundle.wire_name]["version"] == "v1"
    ready = (await client.post("/v2/repository/index", json={"ready": True})).json()
    assert {entry["name"] for entry in ready} == index.keys() - {"half"}


async def test_load_and_unload(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v2/repository/models/text/unload", json={})).status_code == 200
    assert (await client.get("/v2/models/text/ready")).status_code == 404
    assert (await client.post("/v2/repository/models/text/load", json={})).status_code == 200
    assert (await client.get("/v2/models/text/ready")).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("nothing/load", b"", 404, "not in the model repository"),
        ("nothing/unload", b"", 404, "not served"),
        ("text/load", b"[]", 400, "not a JSON object"),
        ("text/load", b'{"parameters": 5}', 400, "parameters must be an object"),
        ("text/load", b'{"parameters": ["a"]}', 400, "parameters must be an object"),
        ("text/load", b'{"parameters": "a"}', 400, "parameters must be an object"),
        ("text/load", b'{"parameters": {"config": "{}"}}', 400, "parameters config are not served"),
    ],
)
async def test_refused_change(path: str, body: bytes, status: int, message: str, client: httpx.AsyncClient) -> None:
    response = await client.post(f"/v2/repository/models/{path}", content=body)
    assert response.status_code == status
    assert message in response.json()["error"]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer other", "Basic secret", "secret", "Bearer s\xe9cret"])
@pytest.mark.parametrize("path", ["index", "models/text/load", "models/text/unload"])
async def test_models_are_managed_with_the_token_only(path: str, authorization: str, client: httpx.AsyncClient) -> None:
    headers = {"authorization": authorization.encode("latin-1")}
    response = await client.post(f"/v2/repository/{path}", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert (await client.get("/v2/models/text/ready")).status_code == 200


@pytest.mark.parametrize("config", [{"repository_token": ""}, {"model_repository": None}])
async def test_without_repository_or_token_nothing_is_managed(config: dict[str, Any], models: Models) -> None:
    own = models.path / "linear"
    flags = {"model_dir": own, "model_repository": models.path / "text", "repository_token": "secret", **config}
    metrics = PredictorMetrics()
    repository = Repository(PredictorConfig(**flags), metrics)
    await repository.start()
    app = PredictorApp(repository, Admission(0, metrics), metrics, 4096)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://predictor") as client:
        for headers in ({}, TOKEN):
            for path in ("index", "models/linear/load", "models/linear/unload"):
                assert (await client.post(f"/v2/repository/{path}", headers=headers)).status_code == 404
        assert "model_repository" not in (await client.get("/v2")).json()["extensions"]
        assert (await client.get("/v2/health/ready")).status_code == 200


async def test_the_index_reads_no_more_of_a_bundle_than_its_manifest(models: Models, client: httpx.AsyncClient) -> None:
    name = models.bundle.wire_name
    await client.post(f"/v2/repository/models/{name}/unload")
    hidden = models.bundle.model_path.rename(models.path / "hidden.onnx")
    try:
        index = {entry["name"]: entry["state"] for entry in (await client.post("/v2/repository/index")).json()}
        refused = await client.post(f"/v2/repository/models/{name}/load")
    finally:
        hidden.rename(models.bundle.model_path)
    assert index[name] == "UNAVAILABLE"
    assert (refused.status_code, refused.json()["code"]) == (400, "model_refused")


async def test_no_change_while_stopping(client: httpx.AsyncClient, parts: Parts) -> None:
    parts.repository.stopping = True
    assert (await client.post("/v2/repository/models/text/load")).status_code == 503


async def test_a_refused_model_leaves_the_old_one(tmp_path: Path) -> None:
    graphs.linear(tmp_path / "m" / "model.onnx")
    metrics = PredictorMetrics()
    repository = Repository(PredictorConfig(model_repository=tmp_path, repository_token="secret"), metrics)
    await repository.start()
    app = PredictorApp(repository, Admission(0, metrics), metrics, 4096)
    (tmp_path / "m" / "model.onnx").write_bytes(b"nonsense")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://predictor", headers=TOKEN
    ) as client:
        response = await client.post("/v2/repository/models/m/load")
        assert (response.status_code, response.json()["code"]) == (400, "model_refused")
        assert (await client.get("/v2/models/m/ready")).status_code == 200
        shutil.rmtree(tmp_path / "m")
        assert (await client.get("/v2/models/m/ready")).status_code == 200


async def test_a_fault_is_an_error_of_the_same_form(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.repository, "statistics", lambda name, version: 1 / 0)
    transport = httpx.ASGITransport(parts.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://predictor") as client:
        response = await client.get("/v2/models/stats")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
