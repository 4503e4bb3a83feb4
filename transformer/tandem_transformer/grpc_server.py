"""Open Inference Protocol v2 over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio

from tandem.errors import Internal, NotFound, Overloaded, RequestError
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip import protobuf
from tandem.oip.extensions import EXTENSIONS
from tandem.oip.health import SERVICE as HEALTH
from tandem.oip.health import Health
from tandem.oip.reflection import SERVICES as REFLECTION
from tandem.oip.reflection import reflect
from tandem_transformer.exchange import log, log_error
from tandem_transformer.service import Service
from tandem_transformer.traffic import HEADER, traffic_of
from tandem_transformer.v2 import V2

Context = Any


class GrpcService:
    """The protocol's methods for one bundle.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._health = Health([protobuf.SERVICE], lambda: service.ready)
        self._closing = asyncio.Event()
        self._v2 = V2(
            service.bundle.contract, service.model_name, service.bundle.version, service.config.max_request_rows
        )

    def close(self) -> None:
        """End the calls that would go on for as long as their client likes, once the service is not ready any more."""
        self._health.close()
        self._closing.set()

    def handlers(self) -> list[grpc.GenericRpcHandler[Any, Any]]:
        """Handlers of all methods, for :meth:`grpc.aio.Server.add_generic_rpc_handlers`."""
        health = {
            "Check": grpc.unary_unary_rpc_method_handler(_bytes_method(self._health.check)),
            "List": grpc.unary_unary_rpc_method_handler(_bytes_method(self._health.list)),
            "Watch": grpc.stream_stream_rpc_method_handler(_stream_method(self._health.watch)),
        }
        reflection = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(_stream_method(self._reflect))}
        methods = {
            "ServerLive": _method(self._live, pb.ServerLiveRequest),
            "ServerReady": _method(self._ready, pb.ServerReadyRequest),
            "ServerMetadata": _method(self._server_metadata, pb.ServerMetadataRequest),
            "ModelReady": _method(self._model_ready, pb.ModelReadyRequest),
            "ModelMetadata": _method(self._model_metadata, pb.ModelMetadataRequest),
            "ModelConfig": _method(self._config, pb.ModelConfigRequest),
            "ModelStatistics": _method(self._statistics, pb.ModelStatisticsRequest),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer),
        }
        services = {protobuf.SERVICE: methods, HEALTH: health, **dict.fromkeys(REFLECTION, reflection)}
        return [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]

    def _reflect(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return reflect(_until(self._closing, messages))

    async def _infer(self, message: bytes, context: Context) -> bytes:
        started = time.perf_counter()
        recorder = self._service.recorder
        recorder.inflight += 1
        status = 200
        unit, remaining = self._unit(context), context.time_remaining()
        traffic = recorder.traffic(_traffic(context), unit)
        try:
            return await self._answer(message, context, traffic)
        except RequestError as error:
            status = error.status
            log_error(error, b"-")
            await _abort(context, error)
        except Exception:
            status = 500
            log.exception("a request failed")
            await _abort(context, Internal("internal error"))
        finally:
            recorder.inflight -= 1
            own_deadline = remaining is not None and remaining < self._service.config.request_timeout_ms / 1000
            recorder.answered(status, time.perf_counter() - started, traffic, unit=unit, own_deadline=own_deadline)
        raise AssertionError("abort does not return")

    def _unit(self, context: Context) -> bytes | None:
        return _metadata(context, self._service.config.unit_header)

    async def _answer(self, message: bytes, context: Context, traffic: int) -> bytes:
        service = self._service
        started = time.perf_counter()
        if service.config.workers and service.recorder.inflight > service.config.workers:
            raise Overloaded(f"{service.config.workers} requests are in flight already")
        request = protobuf.decode_request(message)
        self._check(request.model_name, request.model_version)
        columns = self._v2.decode(request)
        remaining = context.time_remaining()
        call = service.call(len(next(iter(columns.values()))), remaining)
        call.columns = columns
        call.traffic = traffic
        call.decode_s = time.perf_counter() - started
        service.submit(call)
        return protobuf.encode_response(self._v2.encode(await call.answer, request))

    def _check(self, model: str, asked: str) -> None:
        if model != self._service.model_name:
            raise NotFound(f"there is no model {model!r} here, only {self._service.model_name!r}")
        if asked and asked != self._service.bundle.version:
            raise NotFound(
                f"version {asked!r} is not served here, only {self._service.bundle.version!r}",
                code="version_not_found",
            )

    async def _live(self, request: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def _ready(self, request: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._service.ready)

    async def _server_metadata(self, request: Any) -> Any:
        return pb.ServerMetadataResponse(
            name="tandem-transformer", version=version("tandem-transformer"), extensions=EXTENSIONS
        )

    async def _model_ready(self, request: Any) -> Any:
        try:
            self._check(request.name, request.version)
        except NotFound:  # Triton answers this question for every name
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._service.ready)

    async def _model_metadata(self, request: Any) -> Any:
        self._check(request.name, request.version)
        described = self._v2.metadata()
        tensors: dict[str, Any] = {
            kind: [pb.ModelMetadataResponse.TensorMetadata(**tensor) for tensor in described[kind]]
            for kind in ("inputs", "outputs")
        }
        return pb.ModelMetadataResponse(
            name=described["name"], versions=described["versions"], platform=described["platform"], **tensors
        )

    async def _config(self, request: Any) -> Any:
        self._check(request.name, request.version)
        return pb.ModelConfigResponse(config=pb.ModelConfig(**self._v2.configuration()))

    async def _statistics(self, request: Any) -> Any:
        service = self._service
        self._check(request.name or service.model_name, request.version)
        statistics = service.recorder.statistics().as_dict(service.model_name, service.bundle.version)
        return pb.ModelStatisticsResponse(model_stats=[statistics])


def _method(answer: Callable[[Any], Awaitable[Any]], request_type: Any) -> grpc.RpcMethodHandler[Any, Any]:
    async def method(request: Any, context: Context) -> Any:
        try:
            return await answer(request)
        except RequestError as error:
            await _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=request_type.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


def _traffic(context: Context) -> int:
    """How a call came here, as the gateway says."""
    return traffic_of(_metadata(context, HEADER))


def _metadata(context: Context, name: str) -> bytes | None:
    """The value of a key of a call's metadata; None without it."""
    return next((value.encode() for key, value in context.invocation_metadata() if key == name), None)


def _bytes_method(answer: Callable[[bytes], Awaitable[bytes]]) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def method(message: bytes, context: Context) -> bytes:
        try:
            return await answer(message)
        except RequestError as error:
            await _abort(context, error)
        raise AssertionError("abort does not return")

    return method


def _stream_method(
    answer: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]],
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]:
    async def method(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        try:
            async for content in answer(aiter(messages)):
                yield content
        except RequestError as error:
            await _abort(context, error)

    return method


async def _until(closing: asyncio.Event, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Messages up to the last of them, or to the end of the server."""
    closed = asyncio.ensure_future(closing.wait())
    try:
        while True:
            following = asyncio.ensure_future(anext(messages, None))
            await asyncio.wait((following, closed), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                return
            message = following.result()
            if message is None:
                return
            yield message
    finally:
        closed.cancel()


async def _abort(context: Context, error: RequestError) -> None:
    """End the call with the error's status; its code travels in the trailing metadata."""
    context.set_trailing_metadata((("tandem-error-code", error.code),))
    await context.abort(getattr(grpc.StatusCode, error.grpc_status), str(error))
