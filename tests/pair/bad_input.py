"""Every kind of bad input, and what it is answered with. The codes are those of ``docs/errors.md``."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from transformer.tests import ask
from transformer.tests.servers import Reply, Server
from transformer.tests.world import STALE_DEPOT, STANDING_DEPOT, good_row

from tandem.oip import InferRequest, RequestedOutput, Tensor, protobuf, rest, rest_header
from tandem.oip import grpc_predict_v2_pb2 as pb

from .conftest import MAX_BODY, MAX_ROWS

V1 = "/v1/models/parcels:predict"
V2 = "/v2/models/parcels/infer"
ZONE = "must be an RFC 3339 timestamp with a time zone, such as 2026-05-01T08:00:00Z"
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Case:
    """One kind of bad input.

    Attributes:
        kind: What is wrong.
        send: Sends it.
        status: Status of the answer; over gRPC its name.
        code: Code of the answer.
        detail: Row, field and rule that are named, where these apply.
    """

    kind: str
    send: Callable[[Server], Reply]
    status: int | str
    code: str
    detail: tuple[int | None, str, str] | None = None


def v1(
    body: Any, path: str = V1, method: str = "POST", headers: Mapping[str, str] | None = None
) -> Callable[[Server], Reply]:
    return lambda server: server.request(method, path, body, {**JSON, **(headers or {})})


def text(*rows: Any, **members: Any) -> bytes:
    return json.dumps({"instances": rows, **members}).encode()


def with_literal(name: str, literal: str) -> bytes:
    """A good body in which one value is written as the given literal."""
    return text(good_row(**{name: "LITERAL"})).replace(b'"LITERAL"', literal.encode())


def changed(*changes: Tensor, without: str = "") -> InferRequest:
    inputs = {tensor.name: tensor for tensor in ask.tensors([good_row()])} | {tensor.name: tensor for tensor in changes}
    inputs.pop(without, None)
    return InferRequest("parcels", list(inputs.values()))


def v2(request: InferRequest, *, binary: bool = True, path: str = V2) -> Callable[[Server], Reply]:
    body, length = rest.encode_request(request, binary_data=binary)
    return v2_body(body, length, path)


def v2_body(body: bytes, length: Any = None, path: str = V2) -> Callable[[Server], Reply]:
    headers = {} if length is None else {rest_header.HEADER_LENGTH: str(length)}
    return lambda server: server.request("POST", path, body, headers)


def v2_json(**changes: Any) -> Callable[[Server], Reply]:
    """A good request in JSON in which keys of the tensor ``weight_kg`` are changed; ``...`` removes one."""
    body, _ = rest.encode_request(changed(), binary_data=False)
    header = json.loads(body)
    for tensor in header["inputs"]:
        if tensor["name"] == "weight_kg":
            tensor.update({key: value for key, value in changes.items() if value is not ...})
            for key in [key for key, value in changes.items() if value is ...]:
                del tensor[key]
    return v2_body(json.dumps(header).encode())


def binary(**changes: Any) -> Callable[[Server], Reply]:
    """A good binary request in which the announced size of ``weight_kg`` is changed."""
    body, length = rest.encode_request(changed())
    header = json.loads(body[:length])
    for tensor in header["inputs"]:
        if tensor["name"] == "weight_kg":
            tensor["parameters"] |= changes
    top = json.dumps(header).encode()
    return v2_body(top + body[length:], len(top))


def raw(*parts: bytes, hang_up: bool = False) -> Callable[[Server], Reply]:
    """Bytes as they are; the answer is read until the server closes or the answer is whole."""

    def send(server: Server) -> Reply:
        with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as client:
            for part in parts:
                client.sendall(part)
            if hang_up:
                client.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    return send


def head(*lines: str) -> bytes:
    return "\r\n".join([f"POST {V1} HTTP/1.1", "Host: t", "Content-Type: application/json", *lines, "", ""]).encode()


def chunked(size: int) -> Callable[[Server], Reply]:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    return raw(head("Transfer-Encoding: chunked"), *[chunk] * (size // 0x10000 + 1), b"0\r\n\r\n")


def rpc(message: bytes | InferRequest) -> Callable[[Server], Reply]:
    """Over gRPC; the status stands in the body."""
    content = message if isinstance(message, bytes) else protobuf.encode_request(message)

    def send(server: Server) -> Reply:
        with grpc.insecure_channel(server.grpc_address) as channel:
            try:
                channel.unary_unary(protobuf.INFER_METHOD)(content, timeout=30)
            except grpc.RpcError as error:
                code = dict(error.trailing_metadata()).get("tandem-error-code", "")
                body = {"error": error.details(), "code": code, "status": error.code().name, "request_id": ""}
                return Reply(0, {}, json.dumps(body).encode())
        raise AssertionError("it was answered")

    return send


def message(**changes: Any) -> Any:
    return pb.ModelInferRequest.FromString(protobuf.encode_request(changed(**changes)))


def raw_and_typed() -> bytes:
    both = message()
    both.inputs[0].contents.bytes_contents.append(b"c1")
    return bytes(both.SerializeToString())


def one_raw_too_few() -> bytes:
    fewer = message()
    del fewer.raw_input_contents[-1]
    return bytes(fewer.SerializeToString())


def wrong_contents() -> bytes:
    typed = message()
    del typed.raw_input_contents[:]
    for tensor in typed.inputs:
        tensor.contents.fp32_contents.append(1.0)
    return bytes(typed.SerializeToString())


def _fp64(*values: float, name: str = "weight_kg") -> Tensor:
    return Tensor(name, "FP64", (len(values),), np.array(values, np.float64))


def _bytes(name: str, value: bytes) -> Tensor:
    return Tensor(name, "BYTES", (1,), np.array([value], object))


MALFORMED = (400, "malformed_request")
BROKEN = (422, "contract_violation")
GOOD = text(good_row())
FULL, HEADER = rest.encode_request(changed())
AS_JSON, _ = rest.encode_request(changed(), binary_data=False)

_V1_VALUES = [
    ("unknown field", text(good_row(colour="red")), (0, "colour", "unknown field")),
    ("key missing", text(good_row(customer_id=...)), (0, "customer_id", "is required")),
    ("key null", text(good_row(customer_id=None)), (0, "customer_id", "must not be null")),
    ("number for a string", text(good_row(customer_id=7)), (0, "customer_id", "must be a string")),
    ("list for a string", text(good_row(postcode=["x"])), (0, "postcode", "must be a string")),
    ("string for a whole number", text(good_row(depot_id="2")), (0, "depot_id", "must be a whole number")),
    ("fraction for a whole number", text(good_row(depot_id=2.5)), (0, "depot_id", "must be a whole number")),
    ("true for a whole number", text(good_row(parts=True)), (0, "parts", "must be a whole number")),
    ("string for a number", text(good_row(weight_kg="2")), (0, "weight_kg", "must be a number")),
    ("true for a number", text(good_row(weight_kg=True)), (0, "weight_kg", "must be a number")),
    ("object for a number", text(good_row(weight_kg={})), (0, "weight_kg", "must be a number")),
    ("number for a truth value", text(good_row(fragile=1)), (0, "fragile", "must be true or false")),
    ("string for a truth value", text(good_row(fragile="true")), (0, "fragile", "must be true or false")),
    ("number for a timestamp", text(good_row(pickup_at=1)), (0, "pickup_at", "must be an RFC 3339 timestamp")),
    ("timestamp without zone", text(good_row(pickup_at="2026-05-01T08:00:00")), (0, "pickup_at", ZONE)),
    ("no timestamp", text(good_row(pickup_at="yesterday")), (0, "pickup_at", ZONE)),
    ("day that is not", text(good_row(pickup_at="2026-02-30T08:00:00Z")), (0, "pickup_at", ZONE)),
    ("too low", text(good_row(weight_kg=0)), (0, "weight_kg", "must be > 0")),
    ("too high", text(good_row(weight_kg=1000.5)), (0, "weight_kg", "must be <= 1000")),
    ("whole number too low", text(good_row(parts=0)), (0, "parts", "must be >= 1")),
    ("whole number too high", text(good_row(parts=21)), (0, "parts", "must be <= 20")),
    ("optional number too high", text(good_row(depth_m=10)), (0, "depth_m", "must be < 10")),
    ("not among the values", text(good_row(tariff="noon")), (0, "tariff", "must be one of day, night")),
    ("enum of another type", text(good_row(tariff=1)), (0, "tariff", "must be a string")),
    ("beyond 64 bits", with_literal("depot_id", str(2**63)), (0, "depot_id", "must fit into 64 bits")),
    ("far beyond 64 bits", with_literal("depot_id", "9" * 400), (0, "depot_id", "must")),
    ("row is no object", text(good_row(), [1]), (1, "", "a row must be an object")),
    ("row is null", text(None), (0, "", "a row must be an object")),
    ("fault in the second row", text(good_row(), good_row(parts=99)), (1, "parts", "must be <= 20")),
]

_V1_BODIES = [
    ("NaN", with_literal("weight_kg", "NaN"), *MALFORMED, (0, "weight_kg", "NaN is not JSON; send null")),
    ("Infinity", with_literal("weight_kg", "Infinity"), *MALFORMED, (0, "weight_kg", "Infinity is not JSON")),
    ("-Infinity", with_literal("weight_kg", "-Infinity"), *MALFORMED, (0, "weight_kg", "-Infinity is not JSON")),
    ("number with leading zero", with_literal("weight_kg", "01"), *MALFORMED),
    ("number without digits after the point", with_literal("weight_kg", "1."), *MALFORMED),
    ("number beyond every float", with_literal("weight_kg", "1e999"), *MALFORMED),
    ("instances empty", text(), *MALFORMED),
    ("instances an object", b'{"instances": {}}', *MALFORMED),
    ("instances null", b'{"instances": null}', *MALFORMED),
    ("no instances", b'{"inputs": []}', *MALFORMED),
    ("unknown key beside instances", text(good_row(), instance="x"), *MALFORMED),
    ("ignored key twice", GOOD[:-1] + b',"parameters":{},"parameters":{}}', 400, "duplicate_key"),
    ("key twice in what is ignored", GOOD[:-1] + b',"parameters":{"a":1,"a":2}}', 400, "duplicate_key"),
    ("body a list", b"[]", *MALFORMED),
    ("body a string", b'"x"', *MALFORMED),
    ("key twice in a row", GOOD.replace(b'"parts"', b'"parts": 1, "parts"'), 400, "duplicate_key"),
    ("key twice, once escaped", GOOD.replace(b'"parts"', b'"\\u0070arts": 1, "parts"'), 400, "duplicate_key"),
    ("instances twice", GOOD[:-1] + b"," + GOOD[1:], 400, "duplicate_key"),
    ("empty body", b"", *MALFORMED),
    ("white space", b" \n", *MALFORMED),
    ("not JSON", b"instances=1", *MALFORMED),
    ("cut off", GOOD[:-2], *MALFORMED),
    ("trailing garbage", GOOD + b"x", *MALFORMED),
    ("two documents", GOOD + GOOD, *MALFORMED),
    ("single quotes", GOOD.replace(b'"', b"'"), *MALFORMED),
    ("trailing comma", GOOD.replace(b"}]", b",}]"), *MALFORMED),
    ("control character in a string", GOOD.replace(b"de-12", b"de\n12"), *MALFORMED),
    ("invalid UTF-8", GOOD.replace(b"de-12", b"\xff\xfe"), *MALFORMED),
    ("half a surrogate pair", GOOD.replace(b"de-12", b"\\ud800"), *MALFORMED),
    ("byte order mark", b"\xef\xbb\xbf" + GOOD, *MALFORMED),
    ("UTF-16", GOOD.decode().encode("utf-16"), *MALFORMED),
    ("arrays nested deep", b'{"instances":' + b"[" * 100_000, *MALFORMED),
    ("objects nested deep", b'{"instances":[' + b'{"a":' * 100_000, *MALFORMED),
    ("arrays nested deep, closed", b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}", *MALFORMED),
    ("too many rows", text(*[good_row()] * (MAX_ROWS + 1)), 413, "too_many_rows"),
    ("too long", GOOD.ljust(MAX_BODY + 1), 413, "request_too_large"),
]

_HTTP = [
    ("announced too long", raw(head(f"Content-Length: {MAX_BODY + 1}")), 413, "request_too_large"),
    ("chunked, too long", chunked(MAX_BODY), 413, "request_too_large"),
    ("content type", v1(GOOD, headers={"content-type": "text/plain"}), 415, "unsupported_media_type"),
    (
        "binary content type on V1",
        v1(GOOD, headers={"content-type": "application/octet-stream"}),
        415,
        "unsupported_media_type",
    ),
    ("compressed by brotli", v1(GOOD, headers={"content-encoding": "br"}), 415, "unsupported_encoding"),
    ("not compressed as it says", v1(GOOD, headers={"content-encoding": "gzip"}), *MALFORMED),
    ("compressed, cut off", v1(gzip.compress(GOOD)[:-1], headers={"content-encoding": "gzip"}), *MALFORMED),
    (
        "compressed, too long",
        v1(gzip.compress(GOOD.ljust(100 * MAX_BODY)), headers={"content-encoding": "gzip"}),
        413,
        "request_too_large",
    ),
    ("GET", v1(None, method="GET"), 405, "method_not_allowed"),
    ("PUT", v1(GOOD, method="PUT"), 405, "method_not_allowed"),
    ("GET on V2", v1(None, V2, method="GET"), 405, "method_not_allowed"),
    ("POST on metadata", v1(GOOD, "/v2/models/parcels"), 405, "method_not_allowed"),
    ("other model", v1(GOOD, "/v1/models/letters:predict"), 404, "model_not_found"),
    ("other model on V2", v1(AS_JSON, "/v2/models/letters/infer"), 404, "model_not_found"),
    ("other version", v1(GOOD, "/v1/models/parcels/versions/v9:predict"), 404, "version_not_found"),
    ("other version on V2", v1(AS_JSON, "/v2/models/parcels/versions/v9/infer"), 404, "version_not_found"),
    ("unknown path", v1(GOOD, "/predict"), 404, "path_not_found"),
    ("deadline that is none", v1(GOOD, headers={"x-envoy-expected-rq-timeout-ms": "soon"}), *MALFORMED),
    ("deadline that is over", v1(GOOD, headers={"x-envoy-expected-rq-timeout-ms": "0"}), 504, "deadline_exceeded"),
]

_V2_VALUES = [
    ("wrong datatype", v2(changed(_bytes("weight_kg", b"2"))), (None, "weight_kg", "must have datatype FP64 or")),
    ("UINT64", v2_json(datatype="UINT64", data=[2]), (None, "weight_kg", "must have datatype FP64 or")),
    ("no dimension", v2_json(shape=[], data=[2.0]), (None, "weight_kg", "must have shape [rows] or [rows, 1]")),
    ("two columns", v2_json(shape=[1, 2], data=[1.0, 2.0]), (None, "weight_kg", "must have shape [rows] or [rows, 1]")),
    ("empty tensor", v2_json(shape=[0], data=[]), (None, "weight_kg", "must have at least one row")),
    ("rows differ", v2(changed(_fp64(1, 2))), (None, "weight_kg", "has 2 rows, others have 1")),
    ("unknown input", v2(changed(_fp64(1, name="colour"))), (None, "colour", "unknown field")),
    ("missing input", v2(changed(without="weight_kg")), (None, "weight_kg", "is required")),
    ("NaN in a tensor", v2(changed(_fp64(np.nan))), (0, "weight_kg", "must be finite")),
    ("infinity in a tensor", v2(changed(_fp64(np.inf))), (0, "weight_kg", "must be finite")),
    ("too high in a tensor", v2(changed(_fp64(1001))), (0, "weight_kg", "must be <= 1000")),
    ("invalid UTF-8 in BYTES", v2(changed(_bytes("postcode", b"\xff"))), (0, "postcode", "must be UTF-8")),
    ("not among the values", v2(changed(_bytes("tariff", b"noon"))), (0, "tariff", "must be one of day, night")),
    ("timestamp without zone", v2(changed(_bytes("pickup_at", b"2026-05-01T08:00:00"))), (0, "pickup_at", ZONE)),
    ("no inputs", v2_body(b'{"inputs": []}'), (None, "customer_id", "is required")),
    (
        "unknown output",
        v2(InferRequest("parcels", changed().inputs, outputs=[RequestedOutput("colour")])),
        (None, "colour", "unknown output"),
    ),
]  # fmt: skip

_V2_BODIES = [
    ("empty body", v2_body(b"")),
    ("not JSON", v2_body(b"{")),
    ("inputs missing", v2_body(b"{}")),
    ("inputs twice the same", v2(InferRequest("parcels", [*changed().inputs, changed().inputs[0]]))),
    ("output twice", v2(InferRequest("parcels", changed().inputs, outputs=[RequestedOutput("eta")] * 2))),
    ("binary part cut off", v2_body(FULL[:-1], HEADER)),
    ("binary part too long", v2_body(FULL + b"x", HEADER)),
    ("header length beyond the body", v2_body(FULL, len(FULL) + 1)),
    ("header length too short", v2_body(FULL, HEADER - 9)),
    ("header length no number", v2_body(FULL, "ten")),
    ("header length negative", v2_body(FULL, "-1")),
    ("header length of many digits", v2_body(FULL, "9" * 5000)),
    ("header length missing", v2_body(FULL)),
    ("size too small", binary(binary_data_size=4)),
    ("size too large", binary(binary_data_size=2**40)),
    ("size negative", binary(binary_data_size=-8)),
    ("size no number", binary(binary_data_size="8")),
    ("shared memory", binary(shared_memory_region="x")),
    ("unknown datatype", v2_json(datatype="FP128")),
    ("shape and data differ", v2_json(shape=[3])),
    ("shape negative", v2_json(shape=[-1])),
    ("shape absurd", v2_json(shape=[2**62, 0])),
    ("shape of fractions", v2_json(shape=[1.5])),
    ("no shape", v2_json(shape=...)),
    ("no data", v2_json(data=...)),
    ("data of another kind", v2_json(data=["2"])),
    ("data ragged", v2_json(shape=[2, 2], data=[[1.0], [1.0, 2.0]])),
    ("data nested deep", v2_body(AS_JSON.replace(b'"data":[2.5]', b'"data":' + b"[" * 100_000))),
    ("data no list", v2_json(data=2.5)),
    ("number beyond the datatype", v2_json(datatype="INT8", data=[300])),
    ("name no string", v2_json(name=1)),
]

_GRPC = [
    ("garbage", rpc(b"\xff\xffgarbage"), "INVALID_ARGUMENT", "malformed_request"),
    ("contents and raw contents", rpc(raw_and_typed()), "INVALID_ARGUMENT", "malformed_request"),
    ("a raw content too few", rpc(one_raw_too_few()), "INVALID_ARGUMENT", "malformed_request"),
    ("contents of another type", rpc(wrong_contents()), "INVALID_ARGUMENT", "malformed_request"),
    ("empty message", rpc(b""), "NOT_FOUND", "model_not_found"),
    ("other model", rpc(InferRequest("letters", changed().inputs)), "NOT_FOUND", "model_not_found"),
    ("other version", rpc(InferRequest("parcels", [], model_version="v9")), "NOT_FOUND", "version_not_found"),
    ("NaN", rpc(changed(_fp64(np.nan))), "INVALID_ARGUMENT", "contract_violation"),
    ("missing input", rpc(changed(without="weight_kg")), "INVALID_ARGUMENT", "contract_violation"),
    ("too many rows", rpc(ask.infer_request([good_row()] * (MAX_ROWS + 1))), "RESOURCE_EXHAUSTED", "too_many_rows"),
    ("unknown depot", rpc(ask.infer_request([good_row(depot_id=77)])), "NOT_FOUND", "entity_not_found"),
    ("huge", rpc(ask.infer_request([good_row(postcode="de-1e300")])), "INVALID_ARGUMENT", "contract_violation"),
    ("infinite", rpc(ask.infer_request([good_row(depot_id=STANDING_DEPOT)])), "INTERNAL", "prediction_not_finite"),
]

_DEPOT = "must be known to depot"
_FLOAT32 = (
    1,
    "standardize_district",
    "must be from -3.4028235e+38 to 3.4028235e+38, as the model computes in float32",
)
_HUGE = [good_row(), good_row(postcode="de-1e300")]
_WORLD = [
    ("beyond the model's numbers", text(*_HUGE), *BROKEN, _FLOAT32),
    ("unknown depot", text(good_row(depot_id=77)), 404, "entity_not_found", (0, "depot_id", _DEPOT)),
    ("outdated depot", text(good_row(depot_id=STALE_DEPOT)), 404, "entity_stale", (0, "depot_id", _DEPOT)),
    ("transform raises", text(good_row(postcode="none")), 500, "transform_failed", None),
    (
        "prediction infinite",
        text(good_row(), good_row(depot_id=STANDING_DEPOT)),
        500,
        "prediction_not_finite",
        (1, "minutes", "must be finite"),
    ),
]

CASES = [
    *(Case(f"V1: {kind}", v1(body), *BROKEN, detail) for kind, body, detail in _V1_VALUES),
    *(Case(f"V1: {kind}", v1(body), *rest) for kind, body, *rest in _V1_BODIES),
    *(Case(f"HTTP: {kind}", send, status, code) for kind, send, status, code in _HTTP),
    *(Case(f"V2: {kind}", send, *BROKEN, detail) for kind, send, detail in _V2_VALUES),
    *(Case(f"V2: {kind}", send, *MALFORMED) for kind, send in _V2_BODIES),
    *(Case(f"gRPC: {kind}", send, status, code) for kind, send, status, code in _GRPC),
    Case("V2: beyond the model's numbers", v2(ask.infer_request(_HUGE)), *BROKEN, _FLOAT32),
    *(Case(f"world: {kind}", v1(body), status, code, detail) for kind, body, status, code, detail in _WORLD),
]
