"""Open Inference Protocol v2 over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from tandem.dtypes import Columns
from tandem.errors import DeadlineExceeded, Internal, NotFound, RequestError
from tandem.oip import InferRequest, protobuf, threads
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip.extensions import EXTENSIONS
from tandem.oip.grpc_methods import CallContext, Method, StreamHandler
from tandem.oip.grpc_server import health_methods, method, stream_handlers
from tandem.oip.health import Health
from tandem.telemetry import TRAFFIC_HEADER
from tandem_transformer.exchange import log
from tandem_transformer.headers import PRIORITY_KEY
from tandem_transformer.http_responses import log_error
from tandem_transformer.service import Service
from tandem_transformer.traffic import traffic_of
from tandem_transformer.v2 import V2

_PRIORITY: Final = PRIORITY_KEY.decode()

CLIENT_GONE: Final = 499
"""What a call is counted as whose client has cancelled it; it gets no answer."""


class GrpcService:
    """The protocol's methods for one bundle.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._health = Health([protobuf.SERVICE], lambda: service.ready)
        self._v2 = V2(
            service.bundle.contract, service.model_name, service.bundle.version, service.config.max_request_rows
        )

    def close(self) -> None:
        """End the calls that would go on for as long as their client likes, once the service is not ready any more."""
        self._health.close()

    def changed(self) -> None:
        """Tell those that watch whether the service is ready."""
        self._health.changed()

    def methods(self) -> Mapping[str, Method]:
        """All unary methods, by their full path."""
        methods = {
            "ServerLive": method(self._live, pb.ServerLiveRequest),
            "ServerReady": method(self._ready, pb.ServerReadyRequest),
            "ServerMetadata": method(self._server_metadata, pb.ServerMetadataRequest),
            "ModelReady": method(self._model_ready, pb.ModelReadyRequest),
            "ModelMetadata": method(self._model_metadata, pb.ModelMetadataRequest),
            "ModelConfig": method(self._config, pb.ModelConfigRequest),
            "ModelStatistics": method(self._statistics, pb.ModelStatisticsRequest),
            "ModelInfer": Method(self._infer, self._service.config.max_body_bytes),
        }
        own = {f"/{protobuf.SERVICE}/{name}": method for name, method in methods.items()}
        return {**own, **health_methods(self._health)}

    def streams(self) -> Mapping[str, StreamHandler]:
        """All methods that stream, by their full path."""
        return stream_handlers(self._health)

    async def _infer(self, message: bytes, context: CallContext) -> bytes:
        started = time.perf_counter()
        recorder = self._service.recorder
        recorder.inflight += 1
        status = 200
        unit, remaining = context.header(self._service.config.unit_header), context.remaining
        traffic = recorder.traffic(traffic_of(context.header(TRAFFIC_HEADER)), unit)
        try:
            return await self._answer(message, context, traffic)
        except RequestError as error:
            status = error.status
            log_error(error, b"-")
            raise
        except asyncio.CancelledError:
            # the server cancels a call at its deadline as well as when its client gives up: the clock tells which it
            # was
            status = DeadlineExceeded.status if context.expired else CLIENT_GONE
            raise
        except Exception:
            status = 500
            log.exception("a request failed")
            raise Internal("internal error") from None
        finally:
            recorder.inflight -= 1
            own_deadline = remaining is not None and remaining < self._service.config.request_timeout_ms / 1000
            recorder.answered(status, time.perf_counter() - started, traffic, unit=unit, own_deadline=own_deadline)

    async def _answer(self, message: bytes, context: CallContext, traffic: int) -> bytes:
        service = self._service
        started = time.perf_counter()
        service.check_room()
        request, columns = await threads.read(self._read, message) if threads.is_long(message) else self._read(message)
        # asked only now: to read a long message has taken some of the time
        call = service.call(
            len(next(iter(columns.values()))),
            context.remaining,
            priority=context.header(_PRIORITY),
            tenant=context.header(service.config.fairness_header),
        )
        call.columns = columns
        call.traffic = traffic
        call.decode_s = time.perf_counter() - started
        service.submit(call)
        return protobuf.encode_response(self._v2.encode(await call.answer, request))

    def _read(self, message: bytes) -> tuple[InferRequest, Columns]:
        request = protobuf.decode_request(message)
        self._check(request.model_name, request.model_version)
        return request, self._v2.decode(request)

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
        # no name stands for all models in Triton's extension, and here is one
        self._check(request.name or service.model_name, request.version)
        statistics = service.recorder.statistics().as_dict(service.model_name, service.bundle.version)
        return pb.ModelStatisticsResponse(model_stats=[statistics])
