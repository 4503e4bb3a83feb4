"""Through a real Envoy to real pairs."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import grpc
import pytest

from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.telemetry import STAGES
from tandem_cli.local import LocalStack, StackError
from tandem_cli.local.scrape import TOTAL, read_metrics
from tandem_rollout.render.route_rules import PINNED_VARIANT_HEADER

REQUESTS = 600
ROW = {"athlete_id": "nobody", "current_pace": 330.0, "ts": "2005-04-03T12:00:00Z"}
PATH = "/v1/models/time-estimator:predict"


class Client:
    """One kept connection to a stack."""

    def __init__(self, stack: LocalStack) -> None:
        self._connection = HTTPConnection(stack.address)

    def close(self) -> None:
        self._connection.close()

    def post(self, path: str = PATH, row: dict[str, Any] = ROW, **headers: str) -> tuple[int, str | None, Any]:
        """Status, variant and body."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("POST", path, json.dumps({"instances": [row]}), headers)
        with self._connection.getresponse() as response:
            return response.status, response.getheader(PINNED_VARIANT_HEADER), json.loads(response.read())


@pytest.fixture
def client(stack: LocalStack) -> Iterator[Client]:
    client = Client(stack)
    yield client
    client.close()


def shares(client: Client, requests: int) -> dict[str | None, float]:
    counts = Counter(client.post()[1] for _ in range(requests))
    return {variant: count / requests for variant, count in counts.items()}


def test_traffic_is_split_as_weights_say(stack: LocalStack, client: Client) -> None:
    stack.set_weights({"v1": 70, "v2": 30})
    had = shares(client, REQUESTS)
    # five standard deviations
    assert had["v1"] == pytest.approx(0.7, abs=5 * (0.7 * 0.3 / REQUESTS) ** 0.5)


def test_weights_change_while_it_runs(stack: LocalStack, client: Client) -> None:
    for only in ("v2", "v1", "v1", "v2"):
        stack.set_weights({only: 100})
        assert shares(client, 50) == {only: 1.0}
    assert stack.weights == {"v1": 0, "v2": 100}


def test_weights_of_another_variant_are_refused(stack: LocalStack) -> None:
    before = stack.weights
    with pytest.raises(StackError, match="v7"):
        stack.set_weights({"v7": 1})
    assert stack.weights == before


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_a_pin_is_obeyed_whatever_the_weights(stack: LocalStack, client: Client, variant: str) -> None:
    stack.set_weights({"v1": 100} if variant == "v2" else {"v2": 100})
    status, answered_by, body = client.post(x_model_variant=variant)
    assert (status, answered_by, body["model_version"]) == (200, variant, variant)


def test_a_pin_to_no_variant_is_refused(client: Client) -> None:
    status, _, body = client.post(x_model_variant="v9")
    assert (status, body) == (404, {"error": "no such variant; there are v1, v2", "code": "variant_not_found"})


def test_a_path_to_no_version_is_refused(client: Client) -> None:
    status, _, body = client.post("/v1/models/time-estimator/versions/v9:predict")
    assert (status, body) == (404, {"error": "no such version; there are v1, v2", "code": "version_not_found"})


def test_a_client_of_http_1_0_is_answered(stack: LocalStack) -> None:
    host, _, port = stack.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in client.makefile("rb").readline()


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_a_path_with_a_version_goes_to_it(stack: LocalStack, client: Client, variant: str) -> None:
    stack.set_weights({"v1": 100} if variant == "v2" else {"v2": 100})
    status, answered_by, body = client.post(f"/v1/models/time-estimator/versions/{variant}:predict")
    assert (status, answered_by, body["model_version"]) == (200, variant, variant)


def test_grpc_goes_through_the_same_port(stack: LocalStack) -> None:
    request = pb.ModelInferRequest(model_name="time-estimator")
    for name, datatype, value in (
        ("athlete_id", "BYTES", {"bytes_contents": [b"nobody"]}),
        ("current_pace", "FP64", {"fp64_contents": [330.0]}),
        ("ts", "BYTES", {"bytes_contents": [b"2005-04-03T12:00:00Z"]}),
    ):
        request.inputs.add(name=name, datatype=datatype, shape=[1], contents=pb.InferTensorContents(**value))
    with grpc.insecure_channel(stack.address) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        for variant in ("v1", "v2"):
            response, call = infer.with_call(request, metadata=[(PINNED_VARIANT_HEADER, variant)], timeout=30)
            assert response.model_version == variant
            assert dict(call.initial_metadata())[PINNED_VARIANT_HEADER] == variant


def test_envoy_and_transformers_count_the_same(stack: LocalStack, client: Client) -> None:
    before = stack.answered(), {name: read_metrics(urls) for name, urls in stack.metrics_urls.items()}
    for _ in range(20):
        client.post(x_model_variant="v1")
    client.post(row={**ROW, "current_pace": -1}, x_model_variant="v2")
    answered = stack.answered()
    between = {name: read_metrics(urls) - before[1][name] for name, urls in stack.metrics_urls.items()}
    assert answered["v1"]["2xx"] - before[0]["v1"]["2xx"] == between["v1"].codes["200"] == 20
    assert answered["v2"]["4xx"] - before[0]["v2"].get("4xx", 0) == between["v2"].codes["422"] == 1
    assert between["v1"].seconds[TOTAL].count == 20
    assert sum(stack.measured_split().values()) == pytest.approx(1)
    assert all(between["v1"].seconds[stage].count for stage in STAGES)
    assert sum(between["v1"].degraded.values()) >= 20  # the store is empty
