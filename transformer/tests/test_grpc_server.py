from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest

from tandem import Bundle
from tandem.dtypes import Columns
from tandem.oip import InferRequest, RequestedOutput, health_pb2, http2_writer, protobuf, reflection_v1_pb2
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip.grpc_server import GrpcServer
from tandem_transformer.grpc_server import GrpcService
from tandem_transformer.service import Service
from tandem_transformer.v2 import V2

from . import ask, world
from .parts import make_service
from .test_service import Hanging
from .world import STANDING_DEPOT, good_row


@dataclass
class Rpc:
    """A channel to a transformer without REST."""

    channel: grpc.aio.Channel
    service: Service
    grpc_service: GrpcService
    server: GrpcServer

    async def call(self, method: str, message: Any = None, answer: Any = None, seconds: float | None = 30) -> Any:
        call = self.channel.unary_unary(
            f"/{protobuf.SERVICE}/{method}",
            lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
            answer.FromString if answer else None,
        )
        return await call(message, timeout=seconds)

    async def infer(self, request: InferRequest | bytes, seconds: float | None = 30) -> dict[str, list[Any]]:
        message = request if isinstance(request, bytes) else protobuf.encode_request(request)
        return ask.columns(protobuf.decode_response(await self.call("ModelInfer", message, seconds=seconds)))

    async def refused(self, request: InferRequest | bytes, seconds: float | None = 30) -> tuple[str, str, str]:
        """Status, code and message."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.infer(request, seconds=seconds)
        trailing = dict(error.value.trailing_metadata() or ())
        return error.value.code().name, str(trailing.get("tandem-error-code", "")), error.value.details() or ""


async def serve(service: Service) -> AsyncIterator[Rpc]:
    served = GrpcService(service)
    server = GrpcServer(served.methods(), served.streams())
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{listener.getsockname()[1]}") as channel:
        yield Rpc(channel, service, served, server)
    await server.stop(0)
    await service.close()


@pytest.fixture
async def rpc(bundle: Bundle) -> AsyncIterator[Rpc]:
    async for client in serve(make_service(bundle)):
        yield client


@pytest.fixture
async def slow_rpc(bundle: Bundle) -> AsyncIterator[Rpc]:
    """Its store never answers."""
    async for client in serve(make_service(bundle, store=Hanging(), request_timeout_ms=60, store_timeout_ms=40)):
        yield client


async def test_health(rpc: Rpc) -> None:
    async def ready() -> tuple[bool, bool]:
        server = await rpc.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)
        model = await rpc.call("ModelReady", pb.ModelReadyRequest(name="parcels"), pb.ModelReadyResponse)
        return server.ready, model.ready

    assert (await rpc.call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)).live
    assert await ready() == (True, True)
    rpc.service.draining = True
    assert await ready() == (False, False)
    assert (await rpc.call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)).live


async def test_health_checks_of_grpc(rpc: Rpc) -> None:
    async def check(service: str) -> int:
        method = rpc.channel.unary_unary("/grpc.health.v1.Health/Check")
        message = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        return int(health_pb2.HealthCheckResponse.FromString(await method(message)).status)

    assert (await check(""), await check(protobuf.SERVICE)) == (1, 1)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await check("other")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    statuses = await rpc.channel.unary_unary("/grpc.health.v1.Health/List")(b"")
    assert set(health_pb2.HealthListResponse.FromString(statuses).statuses) > {"", protobuf.SERVICE}
    watch = rpc.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    assert await watch.read() == b"\x08\x01"
    rpc.service.draining = True
    rpc.grpc_service.close()
    assert await watch.read() == b"\x08\x02"
    assert await watch.code() is grpc.StatusCode.UNAVAILABLE
    assert await check("") == 2


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection(rpc: Rpc, version: str) -> None:
    call = rpc.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")()
    for symbol in ("inference.GRPCInferenceService", "grpc.health.v1.Health"):
        await call.write(reflection_v1_pb2.ServerReflectionRequest(file_containing_symbol=symbol).SerializeToString())
        answer = reflection_v1_pb2.ServerReflectionResponse.FromString(await call.read())
        assert answer.file_descriptor_response.file_descriptor_proto
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_reflection_that_goes_on_ends_with_the_server(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    # a client on a busy machine may need more than a second to close its end
    monkeypatch.setattr(http2_writer, "_LINGER_S", 20.0)
    call = rpc.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()
    await call.write(b"")
    assert await call.read()
    await rpc.server.stop(30)
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages(rpc: Rpc, compression: grpc.Compression) -> None:
    message = protobuf.encode_request(ask.infer_request(world.rows(200, seed=5)))
    answer = await rpc.channel.unary_unary(protobuf.INFER_METHOD)(message, compression=compression)
    assert protobuf.decode_response(answer).outputs[0].shape == (200,)


async def test_long_messages_are_decoded_beside_the_event_loop(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, decode = list[str](), V2.decode

    def noted(self: V2, request: InferRequest) -> Columns:
        threads.append(threading.current_thread().name.partition("_")[0])
        return decode(self, request)

    monkeypatch.setattr(V2, "decode", noted)
    for count in (1, 2000):
        answer = await rpc.infer(ask.infer_request(world.rows(count, seed=5)))
        assert {len(values) for values in answer.values()} == {count}
    assert threads == ["MainThread", "reader"]


async def test_metadata(rpc: Rpc) -> None:
    server = await rpc.call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
    assert server.name == "tandem-transformer"
    assert server.version
    assert list(server.extensions) == ["binary_tensor_data", "model_configuration", "statistics"]
    model = await rpc.call(
        "ModelMetadata", pb.ModelMetadataRequest(name="parcels", version="v1"), pb.ModelMetadataResponse
    )
    assert (model.name, list(model.versions), model.platform) == ("parcels", ["v1"], "tandem")
    inputs = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in model.inputs}
    assert inputs["customer_id"] == ("BYTES", [-1])
    assert inputs["depot_id"] == ("INT64", [-1])
    assert [tensor.name for tensor in model.outputs] == ["minutes", "eta", "promised", "slow"]


async def test_configuration_and_statistics(rpc: Rpc) -> None:
    config_request = pb.ModelConfigRequest(name="parcels")
    config = (await rpc.call("ModelConfig", config_request, pb.ModelConfigResponse)).config
    assert {tensor.name: tensor.data_type for tensor in config.input}["depot_id"] == pb.TYPE_INT64
    await rpc.infer(ask.infer_request(world.rows(3, seed=4)))
    for request in (pb.ModelStatisticsRequest(name="parcels"), pb.ModelStatisticsRequest()):
        (model,) = (await rpc.call("ModelStatistics", request, pb.ModelStatisticsResponse)).model_stats
        assert (model.name, model.inference_count, model.inference_stats.success.count) == ("parcels", 3, 1)


async def test_predictions(rpc: Rpc, bundle: Bundle) -> None:
    rows = world.rows(20, seed=3)
    expected = world.offline(bundle, rows).answers
    columns = await rpc.infer(ask.infer_request(rows))
    assert columns["minutes"] == pytest.approx(expected["minutes"].tolist(), rel=1e-5)
    assert columns["eta"] == expected["eta"].tolist()
    assert columns["slow"] == expected["slow"].tolist()
    assert len(columns["degraded"]) == 20


async def test_the_id_comes_back(rpc: Rpc) -> None:
    message = protobuf.encode_request(ask.infer_request([good_row()], "id-7"))
    assert protobuf.decode_response(await rpc.call("ModelInfer", message)).id == "id-7"


async def test_typed_contents(rpc: Rpc) -> None:
    message = pb.ModelInferRequest.FromString(protobuf.encode_request(ask.infer_request([good_row()])))
    raw = await rpc.infer(message.SerializeToString())
    fields = {"BYTES": "bytes_contents", "INT64": "int64_contents", "FP64": "fp64_contents", "BOOL": "bool_contents"}
    for header, tensor in zip(message.inputs, ask.tensors([good_row()]), strict=True):
        getattr(header.contents, fields[header.datatype]).extend(tensor.data.tolist())
    del message.raw_input_contents[:]
    assert await rpc.infer(message.SerializeToString()) == raw


async def test_only_the_outputs_that_were_asked_for(rpc: Rpc) -> None:
    request = ask.infer_request([good_row()])
    request.outputs = [RequestedOutput("eta")]
    assert list(await rpc.infer(request)) == ["eta"]


@pytest.mark.parametrize(
    ("model", "version", "code"), [("other", "", "model_not_found"), ("parcels", "v2", "version_not_found")]
)
async def test_what_is_not_there(rpc: Rpc, model: str, version: str, code: str) -> None:
    request = ask.infer_request([good_row()])
    request.model_name, request.model_version = model, version
    assert (await rpc.refused(request))[:2] == ("NOT_FOUND", code)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rpc.call("ModelMetadata", pb.ModelMetadataRequest(name=model, version=version))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    ready = await rpc.call("ModelReady", pb.ModelReadyRequest(name=model, version=version), pb.ModelReadyResponse)
    assert not ready.ready


async def test_statuses(rpc: Rpc) -> None:
    status, code, message = await rpc.refused(ask.infer_request([good_row(), good_row(weight_kg=-1.0)]))
    assert (status, code) == ("INVALID_ARGUMENT", "contract_violation")
    assert message == "row 1, field 'weight_kg': must be > 0"
    status, code, message = await rpc.refused(ask.infer_request([good_row(), good_row(postcode="de-1e300")]))
    assert (status, code) == ("INVALID_ARGUMENT", "contract_violation")
    assert message.startswith("row 1, field 'standardize_district': must be from -3.4028235e+38 to 3.4028235e+38")
    assert (await rpc.refused(b"garbage"))[:2] == ("INVALID_ARGUMENT", "malformed_request")
    assert (await rpc.refused(b""))[0] == "NOT_FOUND"
    assert (await rpc.refused(ask.infer_request([good_row(depot_id=77)])))[:2] == ("NOT_FOUND", "entity_not_found")
    failed = await rpc.refused(ask.infer_request([good_row(depot_id=STANDING_DEPOT)]))
    assert failed[:2] == ("INTERNAL", "prediction_not_finite")


async def test_overload(bundle: Bundle) -> None:
    async for rpc in serve(make_service(bundle, workers=1)):
        rpc.service.recorder.inflight = 1
        assert (await rpc.refused(ask.infer_request([good_row()])))[:2] == ("RESOURCE_EXHAUSTED", "overloaded")
        rpc.service.recorder.inflight = 0
        assert await rpc.infer(ask.infer_request([good_row()]))


async def test_too_many_rows(bundle: Bundle) -> None:
    async for rpc in serve(make_service(bundle, max_request_rows=2)):
        assert (await rpc.refused(ask.infer_request([good_row()] * 3)))[:2] == ("RESOURCE_EXHAUSTED", "too_many_rows")


async def test_a_store_that_does_not_answer(slow_rpc: Rpc) -> None:
    assert (await slow_rpc.refused(ask.infer_request([good_row()])))[:2] == ("UNAVAILABLE", "store_unavailable")


def counted(service: Service) -> dict[str, float]:
    """Requests by code."""
    lines = [line for line in service.recorder.exposition().decode().splitlines() if "tandem_requests_total{" in line]
    return {line.split('code="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}


def answered(service: Service) -> asyncio.Event:
    """Is set when a request is counted."""
    event, count = asyncio.Event(), service.recorder.answered

    def note(*arguments: Any, **options: Any) -> None:
        count(*arguments, **options)
        event.set()

    service.recorder.answered = note  # type: ignore[method-assign]
    return event


async def test_the_clients_deadline_is_kept_and_counted(bundle: Bundle) -> None:
    async for rpc in serve(make_service(bundle, store=Hanging(), request_timeout_ms=1e6, store_timeout_ms=1000)):
        over = answered(rpc.service)
        status, _, _ = await rpc.refused(ask.infer_request([good_row()]), seconds=0.05)
        assert status == "DEADLINE_EXCEEDED"
        await over.wait()
        assert counted(rpc.service) == {"504": 1.0}


async def test_a_call_that_the_client_cancels_is_counted_as_such(bundle: Bundle) -> None:
    class Noticing(Hanging):
        asked = asyncio.Event()

        async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
            self.asked.set()
            return await super().get(keys)

    store = Noticing()
    async for rpc in serve(make_service(bundle, store=store, store_timeout_ms=1000)):
        over = answered(rpc.service)
        call = asyncio.ensure_future(rpc.infer(ask.infer_request([good_row()])))
        await store.asked.wait()
        call.cancel()
        await over.wait()
        assert counted(rpc.service) == {"499": 1.0}


async def test_messages_of_methods_that_infer_nothing_are_bounded(rpc: Rpc) -> None:
    for name in ("ServerLive", "ModelMetadata", "ModelStatistics"):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await rpc.call(name, pb.ModelMetadataRequest(name="x" * 100_000))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_what_is_counted(rpc: Rpc) -> None:
    await rpc.infer(ask.infer_request([good_row()]))
    await rpc.refused(b"garbage")
    text = rpc.service.recorder.exposition().decode()
    answered = 'outcome="answered",traffic="direct",version="v1"'
    assert f'tandem_requests_total{{code="200",model="parcels",{answered}}} 1.0' in text
    refused = 'outcome="refused",traffic="direct",version="v1"'
    assert f'tandem_requests_total{{code="400",model="parcels",{refused}}} 1.0' in text
    assert 'tandem_inflight_requests{model="parcels",version="v1"} 0.0' in text


async def test_the_gateways_mark_is_read(rpc: Rpc) -> None:
    infer = rpc.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    for mark in ("weighted", "pinned", "pinned"):
        message = protobuf.encode_request(ask.infer_request([good_row()]))
        await infer(message, metadata=[("x-tandem-traffic", mark)])
    text = rpc.service.recorder.exposition().decode()
    for traffic, rows in (("weighted", 1), ("pinned", 2)):
        assert f'tandem_rows_total{{model="parcels",traffic="{traffic}",version="v1"}} {rows}.0' in text
