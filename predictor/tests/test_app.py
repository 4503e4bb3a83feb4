from __future__ import annotations

import asyncio
import gzip
import json
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest

from tandem.oip import InferRequest, Tensor, encoding, rest, rest_header
from tandem_predictor.admission import Admission
from tandem_predictor.app import PredictorApp
from tandem_predictor.callers import Caller

from .conftest import Models, Parts

ROW = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 1, 1]}


async def infer(client: httpx.AsyncClient, model: str, body: Any) -> httpx.Response:
    return await client.post(f"/v2/models/{model}/infer", json=body)


async def test_json(client: httpx.AsyncClient) -> None:
    response = await infer(client, "linear", {"id": "a7", "inputs": [ROW]})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    output = {"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [6.0]}
    assert response.json() == {"model_name": "linear", "model_version": "1", "id": "a7", "outputs": [output]}


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("half", np.array([[0.5, np.nan]], np.float16)),
        ("text/versions/3", np.array([["ä", ""]])),
    ],
)
async def test_binary(model: str, data: Any, client: httpx.AsyncClient) -> None:
    sent = Tensor.of("x", data)
    content, length = rest.encode_request(InferRequest("", [sent]))
    headers = {rest_header.HEADER_LENGTH: str(length)}
    response = await client.post(f"/v2/models/{model}/infer", content=content, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    (received,) = rest.decode_response(response.content, int(response.headers[rest_header.HEADER_LENGTH])).outputs
    np.testing.assert_array_equal(received.data, sent.data)


async def test_requested_output_in_binary_form(client: httpx.AsyncClient) -> None:
    body = {"inputs": [ROW], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
    response = await infer(client, "linear", body)
    decoded = rest.decode_response(response.content, int(response.headers[rest_header.HEADER_LENGTH]))
    assert decoded.output("y").data.tolist() == [[6]]


async def test_a_bundle_answers_to_its_own_name_only(client: httpx.AsyncClient, models: Models) -> None:
    bundle = models.bundle
    assert (await infer(client, bundle.wire_name, {"inputs": [ROW]})).json()["model_version"] == "v1"
    assert (await infer(client, f"{bundle.wire_name}/versions/v1", {"inputs": [ROW]})).status_code == 200
    assert (await infer(client, "linear-00000000", {"inputs": [ROW]})).status_code == 404


@pytest.mark.parametrize(
    ("model", "body", "status", "code", "message"),
    [
        ("nothing", {"inputs": [ROW]}, 404, "model_not_found", "model 'nothing' is not served here"),
        ("linear/versions/2", {"inputs": [ROW]}, 404, "model_not_found", "no version '2'; it has '1'"),
        ("linear", {"inputs": []}, 400, "malformed_request", "tensor 'x': this input is missing"),
        ("linear", {"inputs": [ROW | {"datatype": "FP64"}]}, 400, "malformed_request", "the model takes FP32"),
        ("linear", [], 400, "malformed_request", "Expected `object`"),
        ("linear", {"inputs": [ROW | {"data": ["a"]}]}, 400, "malformed_request", "data is not FP32"),
    ],
)
async def test_refused(model: str, body: Any, status: int, code: str, message: str, client: httpx.AsyncClient) -> None:
    response = await infer(client, model, body)
    assert response.status_code == status
    assert response.json()["code"] == code
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({rest_header.HEADER_LENGTH: "x"}, 400, "must be a number of bytes, not 'x'"),
        ({rest_header.HEADER_LENGTH: "-1"}, 400, "must be a number of bytes"),
        ({rest_header.HEADER_LENGTH: "9" * 30}, 400, "the body has 2 bytes"),
        ({"content-encoding": "br"}, 415, "content encoding 'br'"),
        ({"content-encoding": "gzip"}, 400, "not valid gzip"),
        ({"content-length": "4097"}, 413, "more than 4096 bytes"),
        ({"x-envoy-expected-rq-timeout-ms": "soon"}, 400, "must be a number of milliseconds, not 'soon'"),
    ],
)
async def test_refused_headers(headers: dict[str, str], status: int, message: str, client: httpx.AsyncClient) -> None:
    response = await client.post("/v2/models/linear/infer", content=b"{}", headers=headers)
    assert response.status_code == status
    assert message in response.json()["error"]


@pytest.mark.parametrize(("encoding", "name"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
async def test_compressed_bodies_are_read(
    encoding: Callable[[bytes], bytes], name: str, client: httpx.AsyncClient
) -> None:
    body = encoding(json.dumps({"inputs": [ROW]}).encode())
    reply = await client.post("/v2/models/linear/infer", content=body, headers={"content-encoding": name})
    assert reply.status_code == 200
    bomb = encoding(b" " * 2**22)
    refused = await client.post("/v2/models/linear/infer", content=bomb, headers={"content-encoding": name})
    assert (refused.status_code, refused.json()["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_long_answers_are_compressed_when_asked_for(encoding: str, client: httpx.AsyncClient) -> None:
    tensor = {**ROW, "shape": [500, 3], "data": [0] * 1500}
    plain = await client.post("/v2/models/linear/infer", json={"inputs": [tensor]}, headers={"accept-encoding": ""})
    accepted = {"accept-encoding": encoding}
    reply = await client.post("/v2/models/linear/infer", json={"inputs": [tensor]}, headers=accepted)
    assert reply.headers["content-encoding"] == encoding
    assert "content-encoding" not in plain.headers
    assert reply.json() == plain.json()


async def test_very_long_answers_are_compressed_beside_the_event_loop(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, compress = list[str](), encoding.compress

    def noted(content: bytes, encoding: bytes) -> bytes:
        threads.append(threading.current_thread().name.partition("_")[0])
        return compress(content, encoding)

    monkeypatch.setattr(encoding, "compress", noted)
    app = PredictorApp(parts.repository, parts.admission, parts.metrics, 2**20)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://predictor") as client:
        for rows in (500, 30_000):
            tensor = {**ROW, "shape": [rows, 3], "data": [0] * 3 * rows}
            reply = await infer(client, "linear", {"inputs": [tensor]})
            assert reply.headers["content-encoding"] == "gzip"
    assert threads == ["MainThread", "writer"]


async def test_methods_that_are_not_allowed(client: httpx.AsyncClient) -> None:
    for method, path, allowed in (
        ("POST", "/v2/models/linear", "GET, HEAD"),
        ("GET", "/v2/repository/index", "POST"),
        ("GET", "/v2/models/linear/infer", "POST"),
    ):
        refused = await client.request(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
        assert refused.json()["code"] == "method_not_allowed"
    assert (await client.head("/v2/health/live")).status_code == 200


@pytest.mark.parametrize("size", [4096, 4097])
async def test_a_chunked_body_is_counted(size: int, client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 1000):
            yield b" " * min(1000, size - start)

    response = await client.post("/v2/models/linear/infer", content=chunks())
    assert response.status_code == (400 if size == 4096 else 413)


async def test_a_lying_content_length_is_counted(parts: Parts) -> None:
    headers = [(b"content-length", b"1")]
    sent = await call(parts.app, headers, [{"type": "http.request", "body": b" " * 4097, "more_body": False}])
    assert sent[0]["status"] == 413


async def test_a_client_that_goes_away(parts: Parts) -> None:
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    assert (await call(parts.app, [], messages))[0]["status"] == 400
    assert parts.admission.inflight == 0


async def call(app: PredictorApp, headers: list[tuple[bytes, bytes]], messages: list[dict[str, Any]]) -> list[Any]:
    waiting, sent = iter(messages), []

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v2/models/linear/infer", "headers": headers}
    await app(scope, receive, send)
    return sent


async def test_more_in_flight_than_allowed(parts: Parts) -> None:
    app = PredictorApp(parts.repository, Admission(1, parts.metrics), parts.metrics, 4096)
    arrived, more = asyncio.Event(), asyncio.Event()

    async def slow_body() -> AsyncIterator[bytes]:
        arrived.set()
        await more.wait()
        yield b"{}"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://predictor") as client:
        first = asyncio.create_task(client.post("/v2/models/linear/infer", content=slow_body()))
        await arrived.wait()
        refused = await client.post("/v2/models/linear/infer", content=b"{}")
        more.set()
        assert (await first).status_code == 400
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["code"] == "overloaded"


async def test_an_unexpected_error_is_told_as_such(
    client: httpx.AsyncClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(request: InferRequest, caller: Caller) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(parts.repository.get("linear"), "infer", fail)
    response = await infer(client, "linear", {"inputs": [ROW]})
    assert response.status_code == 500
    assert response.json() == {"error": "internal error", "code": "internal_error"}


async def test_a_request_whose_time_is_over_is_not_run(client: httpx.AsyncClient, parts: Parts) -> None:
    for timeout, status in (("0", 504), ("60000", 200)):
        headers = {"x-envoy-expected-rq-timeout-ms": timeout}
        response = await client.post("/v2/models/linear/infer", json={"inputs": [ROW]}, headers=headers)
        assert response.status_code == status
    value = parts.metrics.registry.get_sample_value
    assert value("tandem_predictor_dropped_total", {"model": "linear", "reason": "deadline"}) == 1
    assert value("tandem_predictor_requests_total", {"model": "linear", "code": "deadline_exceeded"}) == 1
    assert value("tandem_predictor_inference_seconds_count", {"model": "linear"}) == 1


async def test_metrics_of_requests(client: httpx.AsyncClient, parts: Parts) -> None:
    await infer(client, "linear", {"inputs": [ROW], "outputs": [{"name": "y"}]})
    await infer(client, "linear", {"inputs": []})
    await infer(client, "nothing", {"inputs": []})
    value = parts.metrics.registry.get_sample_value
    total = "tandem_predictor_requests_total"
    assert value(total, {"model": "linear", "code": "ok"}) == 1
    assert value(total, {"model": "linear", "code": "malformed_request"}) == 1
    assert value(total, {"model": "", "code": "model_not_found"}) == 1
    assert value("tandem_predictor_rows_per_batch_sum", {"model": "linear"}) == 1
    assert value("tandem_predictor_inference_seconds_count", {"model": "linear"}) == 1
    assert value("tandem_predictor_request_seconds_count", {"model": "linear"}) == 2
    assert value("tandem_predictor_queue_rows", {"model": "linear"}) == 0
    assert value("tandem_predictor_inflight_requests") == 0
