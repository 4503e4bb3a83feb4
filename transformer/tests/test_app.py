from __future__ import annotations

import re

import httpx
import pytest

from tandem import Bundle
from tandem_transformer.app import TransformerApp

from .client import Client
from .parts import make_service
from .world import good_row


async def test_health(client: Client) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    assert (await client.get("/v2/models/parcels/ready")).json() == {"name": "parcels", "ready": True}
    assert (await client.get("/v1/models/parcels")).json() == {"name": "parcels", "ready": True}


async def test_a_server_that_stops_is_not_ready_but_alive_and_answers(client: Client) -> None:
    client.service.draining = True
    for path in ("/v2/health/ready", "/v2/models/parcels/ready", "/v2/models/parcels/versions/v1/ready"):
        reply = await client.get(path)
        assert (reply.status_code, reply.json()["ready"]) == (503, False)
    assert (await client.get("/v2/health/live")).status_code == 200
    assert (await client.predict(good_row())).status_code == 200


async def test_metadata(client: Client) -> None:
    assert (await client.get("/v1/models")).json() == {"models": ["parcels"]}
    server = (await client.get("/v2")).json()
    assert server["name"] == "tandem-transformer"
    assert server["extensions"] == ["binary_tensor_data", "model_configuration", "statistics"]
    for path in ("/v2/models/parcels", "/v2/models/parcels/versions/v1"):
        model = (await client.get(path)).json()
        assert (model["name"], model["versions"]) == ("parcels", ["v1"])
        assert {"name": "parts", "datatype": "INT64", "shape": [-1]} in model["inputs"]


async def test_configuration(client: Client) -> None:
    for path in ("/v2/models/parcels/config", "/v2/models/parcels/versions/v1/config"):
        config = (await client.get(path)).json()
        assert (config["name"], config["platform"], config["max_batch_size"]) == ("parcels", "tandem", 0)
        assert {"name": "parts", "data_type": "TYPE_INT64", "dims": [-1], "optional": True} in config["input"]
        assert {"name": "customer_id", "data_type": "TYPE_STRING", "dims": [-1], "optional": False} in config["input"]
        assert {"name": "minutes", "data_type": "TYPE_FP64", "dims": [-1]} in config["output"]


async def test_statistics(client: Client) -> None:
    assert (await client.predict(good_row(), good_row())).status_code == 200
    assert (await client.predict(good_row(parts=0))).status_code == 422
    for path in ("/v2/models/stats", "/v2/models/parcels/stats", "/v2/models/parcels/versions/v1/stats"):
        (model,) = (await client.get(path)).json()["model_stats"]
        # Triton's tools read versions as numbers
        assert (model["name"], model["version"], model["inference_count"]) == ("parcels", "1", 2)
        stages = model["inference_stats"]
        assert (stages["success"]["count"], stages["fail"]["count"], stages["compute_infer"]["count"]) == (1, 1, 1)
        parts = sum(stages[f"compute_{stage}"]["ns"] for stage in ("input", "infer", "output"))
        assert 0 < parts < stages["success"]["ns"]
        assert stages["fail"]["ns"] > 0


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/other", "model_not_found"),
        ("/v2/models/other", "model_not_found"),
        ("/v2/models/other/ready", "model_not_found"),
        ("/v2/models/other/config", "model_not_found"),
        ("/v2/models/other/stats", "model_not_found"),
        ("/v2/models/parcels/versions/v2", "version_not_found"),
        ("/v2/models/parcels/versions/v2/config", "version_not_found"),
        ("/v2/models/parcels/versions/v2/stats", "version_not_found"),
        ("/v2/models/parcels/versions/v2/ready", "version_not_found"),
        ("/v1/models/other:predict", "model_not_found"),
        ("/v2/models/other/infer", "model_not_found"),
        ("/v1/models/parcels/versions/2:predict", "version_not_found"),
        ("/v2/models/parcels/versions/v1.1/infer", "version_not_found"),
        ("/v3/models/parcels", "path_not_found"),
        ("/", "path_not_found"),
        ("/v2/models/parcels/infer/", "path_not_found"),
        ("/v1/models/parcels:predict/", "path_not_found"),
        ("/v2/", "path_not_found"),
        ("/metrics/", "path_not_found"),
        ("/v1/models/parcels/versions/v1:explain", "path_not_found"),
        ("//v1/models/parcels:predict", "path_not_found"),
    ],
)
async def test_what_is_not_there(client: Client, path: str, code: str) -> None:
    for method in ("GET", "POST"):
        reply = await client.request(method, path, headers={"x-request-id": "r9"})
        if reply.status_code == 405:
            continue
        assert (reply.status_code, reply.json()["code"]) == (404, code)
        assert reply.headers["x-request-id"] == "r9"
        assert reply.json()["request_id"] == "r9"


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/parcels", "/v1/models", "/metrics"])
async def test_other_methods_are_errors_of_the_same_form(client: Client, path: str) -> None:
    reply = await client.post(path)
    assert reply.status_code == 405
    assert reply.json()["code"] == "method_not_allowed"
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


async def test_the_api_is_described_by_the_contract(client: Client) -> None:
    described = (await client.get("/openapi.json")).json()
    assert described["info"]["title"] == "parcels"
    assert described["info"]["version"] == "v1"
    paths = described["paths"]
    assert {"/v1/models/parcels:predict", "/v2/models/parcels/infer", "/v2/health/ready"} <= paths.keys()
    instance = described["components"]["schemas"]["Instance"]
    assert instance["properties"]["weight_kg"]["maximum"] == 1000
    example = paths["/v1/models/parcels:predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert (await client.post("/v1/models/parcels:predict", json=example)).status_code == 200
    tensors = paths["/v2/models/parcels/infer"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert (await client.post("/v2/models/parcels/infer", json=tensors)).status_code == 200


async def test_every_reference_of_the_description_leads_somewhere(client: Client) -> None:
    described = (await client.get("/openapi.json")).json()

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [pointer for value in node.values() for pointer in references(value)]
        if isinstance(node, list):
            return [pointer for value in node for pointer in references(value)]
        return []

    pointers = references(described)
    assert pointers
    for reference in pointers:
        place = described
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


async def test_documentation_for_people(client: Client) -> None:
    response = await client.get("/docs")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "openapi.json" in response.text
    assert len(response.content) < 20_000


async def test_documentation_asks_no_other_host(client: Client) -> None:
    response = await client.get("/docs")
    assert not re.search(r"https?:|//[a-z]+[.]|@import|<link|src=", response.text)
    policy = dict(
        directive.strip().split(" ", 1) for directive in response.headers["content-security-policy"].split(";")
    )
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    assert (await client.get("/redoc")).status_code == 404


async def test_a_fault_is_an_error_of_the_same_form(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service(bundle)
    monkeypatch.setattr(service.recorder, "exposition", lambda: 1 / 0)
    transport = httpx.ASGITransport(TransformerApp(service), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://transformer") as client:
        reply = await client.get("/metrics")
    await service.close()
    assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


async def test_documentation_can_be_switched_off(bundle: Bundle) -> None:
    service = make_service(bundle, docs=False)
    async with Client(TransformerApp(service), service) as client:
        for path in ("/docs", "/openapi.json"):
            reply = await client.get(path)
            assert (reply.status_code, reply.json()["code"]) == (404, "path_not_found")
    await service.close()
