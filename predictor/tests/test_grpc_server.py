from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

from tandem.oip import InferRequest, Tensor, protobuf
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip.grpc_server import GrpcServer
from tandem_predictor.grpc_server import GrpcInferenceService

from .conftest import TOKEN, Parts


@pytest_asyncio.fixture
async def channel(parts: Parts) -> AsyncIterator[grpc.aio.Channel]:
    server = GrpcServer(GrpcInferenceService(parts.repository, parts.admission, parts.metrics).methods(2**18))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    await server.start(listener)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(5)


async def call(channel: grpc.aio.Channel, method: str, request: Any, response: Any, **options: Any) -> Any:
    path = f"/{protobuf.SERVICE}/{method}"
    return await channel.unary_unary(
        path, request_serializer=lambda m: m.SerializeToString(), response_deserializer=response.FromString
    )(request, **options)


async def infer(channel: grpc.aio.Channel, message: bytes) -> bytes:
    answer: bytes = await channel.unary_unary(protobuf.INFER_METHOD)(message)
    return answer


@pytest.mark.parametrize(
    ("model", "version", "data"),
    [("half", "", np.array([[0.5, np.nan]], np.float16)), ("text", "3", np.array([["ä", ""]]))],
)
async def test_infer(model: str, version: str, data: Any, channel: grpc.aio.Channel) -> None:
    sent = Tensor.of("x", data)
    message = protobuf.encode_request(InferRequest(model, [sent], model_version=version, id="7"))
    response = protobuf.decode_response(await infer(channel, message))
    assert (response.model_name, response.id) == (model, "7")
    np.testing.assert_array_equal(response.output("y").data, sent.data)


ROWS = Tensor.of("x", np.ones((1, 3), np.float32))


@pytest.mark.parametrize(
    ("message", "status", "code", "details"),
    [
        (b"\xff", grpc.StatusCode.INVALID_ARGUMENT, "malformed_request", "not a valid ModelInferRequest"),
        (
            protobuf.encode_request(InferRequest("nothing", [ROWS])),
            grpc.StatusCode.NOT_FOUND,
            "model_not_found",
            "'nothing'",
        ),
        (
            protobuf.encode_request(InferRequest("linear", [ROWS], model_version="9")),
            grpc.StatusCode.NOT_FOUND,
            "model_not_found",
            "no version '9'",
        ),
        (
            protobuf.encode_request(InferRequest("linear", [])),
            grpc.StatusCode.INVALID_ARGUMENT,
            "malformed_request",
            "tensor 'x': this input is missing",
        ),
        (b"\0" * 300_000, grpc.StatusCode.RESOURCE_EXHAUSTED, "request_too_large", "larger"),
    ],
)
async def test_refused(
    message: bytes, status: grpc.StatusCode, code: str, details: str, channel: grpc.aio.Channel
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await infer(channel, message)
    assert refused.value.code() is status
    assert details in str(refused.value.details())
    assert dict(refused.value.trailing_metadata()).get("tandem-error-code") == code


async def test_long_messages_are_decoded_beside_the_event_loop(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, decode = list[str](), protobuf.decode_request

    def noted(message: bytes) -> InferRequest:
        threads.append(threading.current_thread().name.partition("_")[0])
        return decode(message)

    monkeypatch.setattr(protobuf, "decode_request", noted)
    for rows in (1, 10_000):
        message = protobuf.encode_request(InferRequest("linear", [Tensor.of("x", np.ones((rows, 3), np.float32))]))
        assert protobuf.decode_response(await infer(channel, message)).output("y").shape == (rows, 1)
    assert threads == ["MainThread", "reader"]


async def test_health(channel: grpc.aio.Channel, parts: Parts) -> None:
    assert (await call(channel, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)).live
    assert (await call(channel, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)).ready
    parts.repository.stopping = True
    assert not (await call(channel, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)).ready


async def test_a_model_that_is_not_batched_says_so(channel: grpc.aio.Channel) -> None:
    model = await call(channel, "ModelMetadata", pb.ModelMetadataRequest(name="fixed"), pb.ModelMetadataResponse)
    parameters = {name: value.string_param for name, value in model.parameters.items()}
    assert parameters == {"batching": "off", "batching_reason": "FixedShape"}


async def test_metadata(channel: grpc.aio.Channel) -> None:
    server = await call(channel, "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
    assert server.extensions == ["binary_tensor_data", "model_configuration", "statistics", "model_repository"]
    request = pb.ModelMetadataRequest(name="linear")
    model = await call(channel, "ModelMetadata", request, pb.ModelMetadataResponse)
    assert model.inputs[0].shape == [-1, 3]
    with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
        await call(channel, "ModelMetadata", pb.ModelMetadataRequest(name="nothing"), pb.ModelMetadataResponse)


async def test_configuration_and_statistics(channel: grpc.aio.Channel) -> None:
    config_request = pb.ModelConfigRequest(name="linear")
    config = (await call(channel, "ModelConfig", config_request, pb.ModelConfigResponse)).config
    assert (config.max_batch_size, config.input[0].name, list(config.input[0].dims)) == (8, "x", [3])
    assert config.input[0].data_type == pb.TYPE_FP32
    await infer(channel, protobuf.encode_request(InferRequest("linear", [ROWS])))
    for request in (pb.ModelStatisticsRequest(name="linear"), pb.ModelStatisticsRequest()):
        models = (await call(channel, "ModelStatistics", request, pb.ModelStatisticsResponse)).model_stats
        (linear,) = (model for model in models if model.name == "linear")
        assert linear.inference_count == len(ROWS.data)
        assert linear.inference_stats.success.count == 1
    with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
        await call(channel, "ModelConfig", pb.ModelConfigRequest(name="no"), pb.ModelConfigResponse)


@pytest.mark.parametrize(
    ("name", "version", "ready"), [("linear", "", True), ("linear", "2", False), ("no", "", False)]
)
async def test_model_ready(name: str, version: str, ready: bool, channel: grpc.aio.Channel) -> None:
    request = pb.ModelReadyRequest(name=name, version=version)
    assert (await call(channel, "ModelReady", request, pb.ModelReadyResponse)).ready is ready


@pytest.mark.parametrize("field", ["model_name", "repository_name"])  # Triton's clients set one, KServe's the other
async def test_repository(field: str, channel: grpc.aio.Channel) -> None:
    index = pb.RepositoryIndexRequest()
    with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
        await call(channel, "RepositoryIndex", index, pb.RepositoryIndexResponse)
    unload = pb.RepositoryModelUnloadRequest(**{field: "half"})
    with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
        await call(channel, "RepositoryModelUnload", unload, pb.RepositoryModelUnloadResponse)
    token = {"metadata": tuple(TOKEN.items())}
    unloaded = await call(channel, "RepositoryModelUnload", unload, pb.RepositoryModelUnloadResponse, **token)
    assert unloaded.isUnloaded
    models = (await call(channel, "RepositoryIndex", index, pb.RepositoryIndexResponse, **token)).models
    assert {model.name: model.state for model in models}["half"] == "UNAVAILABLE"
    load = pb.RepositoryModelLoadRequest(**{field: "half"})
    loaded = await call(channel, "RepositoryModelLoad", load, pb.RepositoryModelLoadResponse, **token)
    assert (loaded.model_name, loaded.isLoaded) == ("half", True)
