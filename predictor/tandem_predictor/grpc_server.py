"""gRPC. Inference works on serialised messages, so that decoding errors are answered like any other."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc

from tandem.errors import Internal, RequestError
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip import protobuf
from tandem_predictor.admission import Admission
from tandem_predictor.metrics import Metrics
from tandem_predictor.repository import Repository
from tandem_predictor.routes import EXTENSIONS, NAME, VERSION

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class Service:
    """Answers calls of ``inference.GRPCInferenceService``.

    Args:
        repository: The models.
        admission: Counts requests.
        metrics: Metrics.
    """

    def __init__(self, repository: Repository, admission: Admission, metrics: Metrics) -> None:
        self._repository = repository
        self._admission = admission
        self._unknown = metrics.of("")

    async def infer(self, message: bytes, context: Context) -> bytes:
        """A serialised ``ModelInferResponse`` to a serialised ``ModelInferRequest``."""
        start = time.perf_counter()
        metrics, code = self._unknown, "ok"
        try:
            with self._admission:
                request = protobuf.decode_request(message)
                model = self._repository.get(request.model_name, request.model_version)
                metrics = model.metrics
                return protobuf.encode_response(await model.infer(request))
        except Exception as raised:
            error = raised if isinstance(raised, RequestError) else _unexpected(raised)
            code = error.code
            await _abort(context, error)
        finally:
            metrics.answered(code, time.perf_counter() - start)

    async def live(self, request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """The process runs."""
        return pb.ServerLiveResponse(live=True)

    async def ready(self, request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """The server should get traffic."""
        return pb.ServerReadyResponse(ready=self._repository.ready)

    async def server(self, request: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Server metadata."""
        return pb.ServerMetadataResponse(name=NAME, version=VERSION, extensions=EXTENSIONS)

    async def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Whether a model is served; like Triton, no error if it is not."""
        return pb.ModelReadyResponse(ready=self._repository.has(request.name, request.version))

    async def model(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Model metadata."""
        return pb.ModelMetadataResponse(**self._repository.get(request.name, request.version).metadata())

    async def index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """Models that are served or could be."""
        return pb.RepositoryIndexResponse(models=await self._repository.index(ready_only=request.ready))

    async def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Load a model."""
        self._repository.check_serving()
        name = _model_name(request)
        await self._repository.load(name)
        return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    async def unload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Unload a model."""
        self._repository.check_serving()
        name = _model_name(request)
        await self._repository.unload(name)
        return pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """All methods, for a gRPC server."""
        return grpc.method_handlers_generic_handler(
            protobuf.SERVICE,
            {
                "ModelInfer": grpc.unary_unary_rpc_method_handler(self.infer),
                "ServerLive": _handler(self.live, pb.ServerLiveRequest),
                "ServerReady": _handler(self.ready, pb.ServerReadyRequest),
                "ServerMetadata": _handler(self.server, pb.ServerMetadataRequest),
                "ModelReady": _handler(self.model_ready, pb.ModelReadyRequest),
                "ModelMetadata": _handler(self.model, pb.ModelMetadataRequest),
                "RepositoryIndex": _handler(self.index, pb.RepositoryIndexRequest),
                "RepositoryModelLoad": _handler(self.load, pb.RepositoryModelLoadRequest),
                "RepositoryModelUnload": _handler(self.unload, pb.RepositoryModelUnloadRequest),
            },
        )


def create_server(service: Service, max_message_bytes: int) -> grpc.aio.Server:
    """A gRPC server, as yet without a port.

    Args:
        service: Answers its calls.
        max_message_bytes: Longest request; responses have no limit.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # Two servers at one port would share its connections without anybody noticing.
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers((service.handler(),))
    return server


def _handler(method: Callable[[Any], Awaitable[Any]], request: Any) -> grpc.RpcMethodHandler[Any, Any]:
    async def call(message: Any, context: Context) -> Any:
        try:
            return await method(message)
        except RequestError as error:
            await _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=request.FromString, response_serializer=lambda response: response.SerializeToString()
    )


def _model_name(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    """KServe's clients send the name where Triton's send that of a repository."""
    return request.model_name or request.repository_name


async def _abort(context: Context, error: RequestError) -> NoReturn:
    status = grpc.StatusCode[error.grpc_status]
    await context.abort(status, str(error), trailing_metadata=(("tandem-error-code", error.code),))
    raise AssertionError("abort always raises")


def _unexpected(error: Exception) -> Internal:
    logger.error("unexpected error", exc_info=error)
    return Internal("internal error")
