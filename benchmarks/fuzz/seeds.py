"""Good requests of both servers, which are then changed."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Final

import numpy as np
from transformer.tests import ask, world

from tandem import Bundle
from tandem.oip import InferRequest, RequestedOutput, Tensor, protobuf, rest
from tandem.oip.rest import HEADER_LENGTH_KEY

Headers = tuple[tuple[bytes, bytes], ...]

JSON: Final[Headers] = ((b"content-type", b"application/json"),)
TOKEN: Final = "fuzz"
"""That the transformer takes for ``:refresh``."""

GRPC_SERVICE: Final = b"/inference.GRPCInferenceService/"


@dataclass(frozen=True)
class Request:
    """A good request over HTTP.

    Attributes:
        method: GET, POST …
        path: With its query.
        headers: Without those that frame the body.
        body: Its body.
    """

    method: bytes
    path: bytes
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True)
class Call:
    """A good gRPC call.

    Attributes:
        path: Full name of the method.
        message: Serialised message.
    """

    path: bytes
    message: bytes


@dataclass(frozen=True)
class Seeds:
    """What one server is asked.

    Attributes:
        requests: Over HTTP.
        calls: Over gRPC.
    """

    requests: tuple[Request, ...]
    calls: tuple[Call, ...]


def of_transformer() -> Seeds:
    """Those of a transformer of the parcels model."""
    few = [world.good_row(), world.good_row(customer_id="nobody", depth_m=3.25)]
    rows = [*few, world.good_row(customer_id="c2", parts=20, tariff="day")]
    v1 = b"/v1/models/parcels:predict"
    bodies = [json.dumps({"instances": instances}).encode() for instances in (rows[:1], rows, few)]
    unusual = [world.good_row(depot_id=depot) for depot in (world.STANDING_DEPOT, world.STALE_DEPOT, 77)]
    bodies += [json.dumps({"instances": [row]}).encode() for row in unusual]
    requests = [Request(b"POST", v1, JSON, body) for body in bodies]
    compressed = (*JSON, (b"content-encoding", b"gzip"))
    requests.append(Request(b"POST", v1, compressed, gzip.compress(bodies[1], mtime=0)))
    requests.append(Request(b"POST", v1, (*JSON, (b"x-envoy-expected-rq-timeout-ms", b"50")), bodies[0]))
    message = ask.infer_request(rows, "an id")
    requests += _oip(message, b"/v2/models/parcels/infer") + _oip(message, b"/v2/models/parcels/versions/v1/infer")
    requests += _feedback() + _refreshes(v1)
    requests += _asked(b"/v2/models/parcels", b"/v2/models/parcels/versions/v1")
    requests += [
        Request(b"GET", path) for path in (b"/v1/models", b"/v1/models/parcels", b"/docs", b"/tandem/verification")
    ]
    return Seeds((*_inferences(requests), *requests), _calls(message, b"parcels", b"v1"))


def of_predictor(bundle: Bundle) -> Seeds:
    """Those of a predictor of that model."""
    tensor = bundle.signature.inputs[0]
    name, values = bundle.path.name, np.ones((3, len(tensor.columns)), np.float32)
    message = InferRequest(name, [Tensor(tensor.name, "FP32", values.shape, values)], id="7")
    path = f"/v2/models/{name}".encode()
    requests = _oip(message, path + b"/infer") + _oip(message, path + b"/versions/1/infer") + _asked(path, path)
    requests += [Request(b"POST", b"/v2/repository/index", JSON, body) for body in (b"", b"{}", b'{"ready":true}')]
    requests += [
        Request(b"POST", f"/v2/repository/models/{model}/{verb}".encode(), JSON, b'{"parameters":{}}')
        for model in ("nobody", "..%2f..%2fetc")
        for verb in ("load", "unload")
    ]
    return Seeds((*_inferences(requests), *requests), _calls(message, name.encode(), b"1"))


def _feedback() -> list[Request]:
    """What turned out to be true about predictions, whichever they are."""
    items = [{"prediction_id": f"{row:016x}-1", "row": row, "truth": 61.5 + row} for row in range(3)]
    bodies = [json.dumps({"feedback": feedback}).encode() for feedback in (items[:1], items)]
    return [Request(b"POST", b"/v1/models/parcels:feedback", JSON, body) for body in bodies]


def _refreshes(predict: bytes) -> list[Request]:
    """Changed features of entities that no other request is about, and a request that is then answered ahead."""
    rows = [world.good_row(customer_id="c9", depot_id=30), world.good_row(customer_id="c9", depot_id=31)]
    changes = {"depot": [{"speed": 31.5, "toll": None}, None]}
    plain, changed = ({"instances": rows}, {"instances": rows, "features": changes})
    path, headers = b"/v1/models/parcels:refresh", (*JSON, (b"authorization", f"Bearer {TOKEN}".encode()))
    requests = [Request(b"POST", path, headers, json.dumps(body).encode()) for body in (plain, changed)]
    return [*requests, Request(b"POST", predict, JSON, json.dumps(plain).encode())]


def _inferences(requests: list[Request]) -> list[Request]:
    """Those that are asked more often."""
    return [request for request in requests if len(request.body) > 20] * 2


def _oip(message: InferRequest, path: bytes) -> list[Request]:
    """In JSON, binary, compressed, and with outputs asked for one way or the other."""
    requests = []
    for binary in (False, True):
        body, length = rest.encode_request(message, binary_data=binary)
        headers = JSON if length is None else _binary(length)
        requests.append(Request(b"POST", path, headers, body))
        zipped = (*headers, (b"content-encoding", b"deflate" if binary else b"gzip"), (b"accept-encoding", b"gzip"))
        requests.append(Request(b"POST", path, zipped, gzip.compress(body, mtime=0)))
    outputs = [RequestedOutput("minutes"), RequestedOutput("y")]
    body, length = rest.encode_request(InferRequest(message.model_name, message.inputs, outputs=outputs))
    requests.append(Request(b"POST", path, JSON if length is None else _binary(length), body))
    return requests


def _binary(length: int) -> Headers:
    return (
        (b"content-type", b"application/octet-stream"),
        (HEADER_LENGTH_KEY, b"%d" % length),
    )


def _asked(*models: bytes) -> list[Request]:
    """What is not inference."""
    paths = [b"/v2", b"/v2/health/live", b"/v2/health/ready", b"/v2/models/stats", b"/metrics"]
    paths += [model + rest for model in models for rest in (b"", b"/ready", b"/config", b"/stats")]
    return [Request(b"GET", path) for path in paths]


def _calls(message: InferRequest, model: bytes, version: bytes) -> tuple[Call, ...]:
    infer = [Call(GRPC_SERVICE + b"ModelInfer", protobuf.encode_request(message))] * 8
    named = b"\x0a" + bytes([len(model)]) + model + b"\x12" + bytes([len(version)]) + version
    about = [Call(GRPC_SERVICE + name, named) for name in (b"ModelReady", b"ModelMetadata", b"ModelConfig")]
    about.append(Call(GRPC_SERVICE + b"ModelStatistics", named))
    plain = [Call(GRPC_SERVICE + name, b"") for name in (b"ServerLive", b"ServerReady", b"ServerMetadata")]
    health = [Call(b"/grpc.health.v1.Health/Check", b"\x0a\x21inference.GRPCInferenceServicex"[:35])]
    health.append(Call(b"/grpc.health.v1.Health/List", b""))
    listed = [
        Call(b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", question)
        for question in (b"\x3a\x01*", b"\x22\x1einference.GRPCInferenceService", b"\x1a\x05a.txt")
    ]
    return (*infer, *about, *plain, *health, *listed)
