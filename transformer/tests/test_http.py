from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tandem import Bundle
from tandem.oip import rest, rest_header
from tandem.oip.jsonscan import LONG
from tandem.rows import Row
from tandem_transformer import v1
from tandem_transformer.app import TransformerApp

from . import ask
from .client import Client
from .parts import make_service
from .world import STALE_DEPOT, STANDING_DEPOT, good_row

MISSING = {"reason": "missing", "source": "default"}
V1 = "/v1/models/parcels:predict"
V2 = "/v2/models/parcels/infer"


async def test_an_answer(client: Client) -> None:
    reply = await client.predict(good_row(), good_row(customer_id="nobody"))
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    answer = reply.json()
    assert answer["model_name"] == "parcels"
    assert answer["model_version"] == "v1"
    first, second = answer["predictions"]
    assert list(first) == ["minutes", "eta", "promised", "slow"]
    assert second["degraded"] == {"customer": MISSING, "route": MISSING}


async def test_both_protocols_say_the_same(client: Client) -> None:
    rows = [good_row(), good_row(parts=7, customer_id="nobody"), good_row(depot_id=3)]
    predictions = (await client.predict(*rows)).json()["predictions"]
    body, length = rest.encode_request(ask.infer_request(rows, "r7"))
    reply = await client.post(V2, content=body, headers={rest_header.HEADER_LENGTH: str(length)})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/octet-stream"
    response = rest.decode_response(reply.content, int(reply.headers[rest_header.HEADER_LENGTH]))
    assert (response.id, response.model_name, response.model_version) == ("r7", "parcels", "v1")
    columns = ask.columns(response)
    for name in ("minutes", "eta", "promised", "slow"):
        assert columns[name] == [prediction[name] for prediction in predictions]
    assert columns["degraded"] == ["", "customer:missing:default,route:missing:default", "route:missing:default"]
    as_json, _ = rest.encode_request(ask.infer_request(rows), binary_data=False)
    reply = await client.post(V2, content=as_json, headers={"content-type": "application/json"})
    assert reply.headers["content-type"] == "application/json"
    assert ask.columns(rest.decode_response(reply.content)) == columns


@pytest.mark.parametrize("path", ["/v1/models/parcels/versions/v1:predict", V1])
async def test_v1_paths(client: Client, path: str) -> None:
    assert (await client.post(path, json={"instances": [good_row()]})).status_code == 200


@pytest.mark.parametrize("path", ["/v2/models/parcels/versions/v1/infer", V2])
async def test_v2_paths(client: Client, path: str) -> None:
    body, _ = rest.encode_request(ask.infer_request([good_row()]), binary_data=False)
    assert (await client.post(path, content=body)).status_code == 200


@pytest.mark.parametrize("bad", [False, True])
async def test_a_request_id_comes_back(client: Client, bad: bool) -> None:
    reply = await client.predict(good_row(parts=99 if bad else 1), x_request_id="from-client-1")
    assert reply.headers["x-request-id"] == "from-client-1"
    if bad:
        assert reply.json()["request_id"] == "from-client-1"


async def test_a_request_without_an_id_gets_one_of_its_own(client: Client) -> None:
    ids = {(await client.predict(good_row())).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", request_id) for request_id in ids)
    refused = await client.predict(good_row(parts=99))
    assert refused.json()["request_id"] == refused.headers["x-request-id"]


async def test_the_trace_comes_back(client: Client) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert (await client.predict(good_row(), traceparent=trace)).headers["traceparent"] == trace
    assert "traceparent" not in (await client.predict(good_row())).headers


async def test_times_are_told_when_asked_for(client: Client) -> None:
    reply = await client.predict(good_row(), x_server_timing="1")
    stages = dict(part.split(";dur=") for part in reply.headers["server-timing"].split(", "))
    assert list(stages) == ["decode", "lookup", "odt", "mdt", "predict", "post", "total"]
    assert all(float(seconds) >= 0 for seconds in stages.values())
    assert "server-timing" not in (await client.predict(good_row())).headers


async def test_vectors_are_not_shown_unless_the_server_allows_it(client: Client) -> None:
    reply = await client.predict(good_row(), x_explain="vector")
    assert "vector" not in reply.json()["predictions"][0]


async def test_vectors(bundle: Bundle) -> None:
    service = make_service(bundle, explain=True)
    async with Client(TransformerApp(service), service) as client:
        response = await client.predict(good_row(), x_explain="vector")
        assert list(response.json()["predictions"][0]["vector"]) == list(bundle.signature.inputs[0].columns)
        for headers in ({}, {"x_explain": "no"}):
            assert "vector" not in (await client.predict(good_row(), **headers)).json()["predictions"][0]
    await service.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", [V1, V2])
async def test_other_methods(client: Client, method: str, path: str) -> None:
    reply = await client.request(method, path)
    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_content_types_that_are_read(client: Client, content_type: str) -> None:
    body = json.dumps({"instances": [good_row()]})
    assert (await client.post(V1, content=body, headers={"content-type": content_type})).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "multipart/form-data"])
async def test_content_types_that_are_not_read(client: Client, content_type: str) -> None:
    reply = await client.post(V1, content=b"{}", headers={"content-type": content_type})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("encoding", "status"), [("gzip", 400), ("br", 415), ("identity", 200), ("Identity", 200), ("", 200)]
)
async def test_content_encodings(client: Client, encoding: str, status: int) -> None:
    body = json.dumps({"instances": [good_row()]})
    assert (await client.post(V1, content=body, headers={"content-encoding": encoding})).status_code == status


@pytest.mark.parametrize(("encoding", "name"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
async def test_compressed_bodies_are_read(client: Client, encoding: Callable[[bytes], bytes], name: str) -> None:
    body = encoding(json.dumps({"instances": [good_row()] * 50}).encode())
    reply = await client.post(V1, content=body, headers={"content-encoding": name})
    assert len(reply.json()["predictions"]) == 50
    tensors, length = rest.encode_request(ask.infer_request([good_row()] * 50))
    headers = {"content-encoding": name, rest_header.HEADER_LENGTH: str(length)}
    assert (await client.post(V2, content=encoding(tensors), headers=headers)).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_long_answers_are_compressed_when_asked_for(client: Client, encoding: str) -> None:
    plain = await client.post(V1, json={"instances": [good_row()] * 50}, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    reply = await client.post(V1, json={"instances": [good_row()] * 50}, headers={"accept-encoding": encoding})
    assert (reply.headers["content-encoding"], reply.headers["vary"]) == (encoding, "accept-encoding")
    assert int(reply.headers["content-length"]) < len(plain.content) / 5
    assert reply.json()["predictions"] == plain.json()["predictions"]
    short = await client.post(V1, json={"instances": [good_row()]}, headers={"accept-encoding": encoding})
    assert "content-encoding" not in short.headers


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/parcels", "/metrics", "/v2"])
async def test_head_is_answered_wherever_get_is(client: Client, path: str) -> None:
    assert (await client.head(path)).status_code == 200


async def test_methods_that_are_not_allowed(client: Client) -> None:
    for method, path, allowed in (("PUT", "/v2/health/live", "GET, HEAD"), ("HEAD", V1, "POST"), ("GET", V2, "POST")):
        reply = await client.request(method, path)
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("beside", [{"signature_name": "serving_default"}, {"parameters": {"a": [1]}}])
async def test_what_other_servers_take_beside_instances_is_ignored(client: Client, beside: dict[str, Any]) -> None:
    reply = await client.post(V1, json={**beside, "instances": [good_row()]})
    assert reply.status_code == 200


async def test_whole_numbers_may_be_written_as_floats(client: Client) -> None:
    expected = (await client.predict(good_row(parts=7))).json()["predictions"]
    assert (await client.predict(good_row(parts=7.0))).json()["predictions"] == expected
    refused = (await client.predict(good_row(parts=7.5))).json()
    assert refused["details"] == [{"row": 0, "field": "parts", "rule": "must be a whole number"}]
    refused = (await client.predict(good_row(parts=99.0))).json()
    assert refused["details"] == [{"row": 0, "field": "parts", "rule": "must be <= 20"}]


async def chunks(*parts: bytes) -> Any:
    for part in parts:
        yield part


async def test_a_body_in_pieces(client: Client) -> None:
    body = json.dumps({"instances": [good_row()]}).encode()
    assert (await client.post(V1, content=chunks(body[:9], b"", body[9:]))).status_code == 200


async def test_a_body_that_is_too_long(bundle: Bundle) -> None:
    service = make_service(bundle, max_body_bytes=1000)
    async with Client(TransformerApp(service), service) as client:
        fitting = json.dumps({"instances": [good_row()]}).encode().ljust(1000)
        assert (await client.post(V1, content=fitting)).status_code == 200
        assert (await client.post(V1, content=chunks(fitting[:500], fitting[500:]))).status_code == 200
        for content in (fitting + b" ", chunks(fitting, b" "), chunks(fitting + b" ")):
            reply = await client.post(V1, content=content)
            assert (reply.status_code, reply.json()["code"]) == (413, "request_too_large")
    await service.close()


async def test_more_requests_at_once_than_allowed(bundle: Bundle) -> None:
    import asyncio

    service = make_service(bundle, workers=2)
    async with Client(TransformerApp(service), service) as client:
        service.recorder.inflight = 2  # two are being answered
        refused = await client.predict(good_row())
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get("/v2/health/ready")).status_code == 200
        service.recorder.inflight = 0
        replies = await asyncio.gather(*(client.predict(good_row()) for _ in range(2)))
        assert [reply.status_code for reply in replies] == [200, 200]
    await service.close()


@pytest.mark.parametrize("wait", ["0", "1", "5000", "9999999999999"])
async def test_the_time_that_the_client_waits(client: Client, wait: str) -> None:
    reply = await client.predict(good_row(), x_envoy_expected_rq_timeout_ms=wait)
    if wait == "0":
        assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
    else:
        assert reply.status_code in (200, 504)


@pytest.mark.parametrize("wait", ["soon", "-1", "1.5", "", "²", "٣"])
async def test_a_time_that_is_none(client: Client, wait: str) -> None:
    reply = await client.post(
        V1, json={"instances": [good_row()]}, headers={"x-envoy-expected-rq-timeout-ms": wait.encode()}
    )
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "²", "99999999", "9" * 5000])
async def test_a_header_length_that_is_none(client: Client, length: str) -> None:
    body, _ = rest.encode_request(ask.infer_request([good_row()]))
    reply = await client.post(V2, content=body, headers={rest_header.HEADER_LENGTH: length.encode()})
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_request")


async def test_an_unknown_depot_is_not_found(client: Client) -> None:
    reply = await client.predict(good_row(), good_row(depot_id=77))
    assert reply.status_code == 404
    assert reply.json()["code"] == "entity_not_found"
    assert reply.json()["details"] == [{"row": 1, "field": "depot_id", "rule": "must be known to depot"}]
    stale = await client.predict(good_row(depot_id=STALE_DEPOT))
    assert (stale.status_code, stale.json()["code"]) == (404, "entity_stale")


async def test_faults_of_the_model_package(client: Client) -> None:
    failed = await client.predict(good_row(postcode="none"))
    assert (failed.status_code, failed.json()["code"]) == (500, "transform_failed")
    infinite = await client.predict(good_row(), good_row(depot_id=STANDING_DEPOT))
    assert (infinite.status_code, infinite.json()["code"]) == (500, "prediction_not_finite")
    assert infinite.json()["details"] == [{"row": 1, "field": "minutes", "rule": "must be finite"}]


async def test_an_error_shows_the_vectors_if_asked_and_names_columns_that_are_not_finite(bundle: Bundle) -> None:
    service = make_service(bundle, explain=True)
    async with Client(TransformerApp(service), service) as client:
        error = (await client.predict(good_row(), good_row(depot_id=STANDING_DEPOT), x_explain="vector")).json()
        alone = (await client.predict(good_row(depot_id=STANDING_DEPOT))).json()
        early_error = (await client.predict(good_row(postcode="none"), x_explain="vector")).json()
    await service.close()
    assert error["code"] == "prediction_not_finite"
    assert len(error["vectors"]) == 2
    assert isinstance(error["vectors"][0]["standardize_hours"], float)
    assert error["vectors"][1]["standardize_hours"] == "Infinity"
    assert "vectors" not in alone
    assert alone["error"] == "row 0: minutes is inf; in the vector of row 0, 'standardize_hours' is inf"
    assert "vectors" not in early_error  # nothing had been computed yet


async def test_an_error_body(client: Client) -> None:
    body = (await client.predict(good_row(weight_kg=0), x_request_id="r1")).json()
    assert body == {
        "error": "row 0, field 'weight_kg': must be > 0",
        "code": "contract_violation",
        "details": [{"row": 0, "field": "weight_kg", "rule": "must be > 0"}],
        "request_id": "r1",
    }


@pytest.mark.parametrize("compressed", [False, True])
async def test_others_are_answered_while_a_long_body_is_read(
    client: Client, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, read_on = asyncio.Event(), threading.Event()
    loop, decode = asyncio.get_running_loop(), v1.V1.decode

    def slowly(self: v1.V1, body: bytes) -> list[Row]:
        if len(body) > LONG:
            loop.call_soon_threadsafe(reading.set)
            read_on.wait()
        return decode(self, body)

    monkeypatch.setattr(v1.V1, "decode", slowly)
    body = json.dumps({"instances": [good_row()] * 500}).encode()
    headers = {"content-encoding": "gzip"} if compressed else {}
    long = asyncio.create_task(client.post(V1, content=gzip.compress(body) if compressed else body, headers=headers))
    await reading.wait()
    assert (await client.predict(good_row())).status_code == 200
    assert not long.done()
    read_on.set()
    assert len((await long).json()["predictions"]) == 500


async def test_a_body_that_takes_too_long_to_read_is_refused_in_time(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_on = threading.Event()
    monkeypatch.setattr(v1.V1, "decode", lambda self, body: read_on.wait() and [])
    service = make_service(bundle, request_timeout_ms=20)
    async with Client(TransformerApp(service), service) as client:
        reply = await client.predict(*[good_row()] * 500)
        read_on.set()
    await service.close()
    assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
