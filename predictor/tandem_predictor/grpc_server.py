"""gRPC: the methods of the protocol, and the server that answers calls of them."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from tandem.errors import Internal, RequestError
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip import protobuf
from tandem.oip.health import SERVICE as HEALTH
from tandem.oip.health import Health
from tandem.oip.reflection import SERVICES as REFLECTION
from tandem.oip.reflection import reflect
from tandem_predictor.admission import Admission
from tandem_predictor.grpc_protocol import Guarded, Handler, ServingConnection, StreamHandler
from tandem_predictor.metrics import Metrics
from tandem_predictor.repository import Repository
from tandem_predictor.routes import NAME, VERSION, extensions

logger = logging.getLogger(__name__)


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

    async def infer(self, message: bytes) -> bytes:
        """A serialised ``ModelInferResponse`` to a serialised ``ModelInferRequest``.

        Raises:
            RequestError: What the client is told.
        """
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
            raise error from None
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
        return pb.ServerMetadataResponse(name=NAME, version=VERSION, extensions=extensions(self._repository))

    async def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Whether a model is served; like Triton, no error if it is not."""
        return pb.ModelReadyResponse(ready=self._repository.has(request.name, request.version))

    async def model(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Model metadata."""
        metadata = self._repository.get(request.name, request.version).metadata()
        parameters = {
            name: pb.InferParameter(string_param=value) for name, value in metadata.pop("parameters", {}).items()
        }
        return pb.ModelMetadataResponse(**metadata, parameters=parameters)

    async def config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """Model configuration."""
        model = self._repository.get(request.name, request.version)
        return pb.ModelConfigResponse(config=pb.ModelConfig(**model.configuration()))

    async def statistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """What a model has done, or all of them."""
        return pb.ModelStatisticsResponse(**self._repository.statistics(request.name, request.version))

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

    def handlers(self) -> Mapping[str, Handler | Guarded]:
        """All methods, by their full path."""
        methods: dict[str, Handler | Guarded] = {
            "ModelInfer": self.infer,
            "ServerLive": _handler(self.live, pb.ServerLiveRequest),
            "ServerReady": _handler(self.ready, pb.ServerReadyRequest),
            "ServerMetadata": _handler(self.server, pb.ServerMetadataRequest),
            "ModelReady": _handler(self.model_ready, pb.ModelReadyRequest),
            "ModelMetadata": _handler(self.model, pb.ModelMetadataRequest),
            "ModelConfig": _handler(self.config, pb.ModelConfigRequest),
            "ModelStatistics": _handler(self.statistics, pb.ModelStatisticsRequest),
        }
        if self._repository.managed:
            methods["RepositoryIndex"] = self._guarded(self.index, pb.RepositoryIndexRequest)
            methods["RepositoryModelLoad"] = self._guarded(self.load, pb.RepositoryModelLoadRequest)
            methods["RepositoryModelUnload"] = self._guarded(self.unload, pb.RepositoryModelUnloadRequest)
        return {f"/{protobuf.SERVICE}/{name}": handler for name, handler in methods.items()}

    def _guarded(self, method: Callable[[Any], Awaitable[Any]], request: Any) -> Guarded:
        """A method that only clients with the token may call."""
        handler = _handler(method, request)

        async def answer(headers: Mapping[str, str], message: bytes) -> bytes:
            self._repository.authorize(headers.get("authorization", ""))
            return await handler(message)

        return Guarded(answer)


class GrpcServer:
    """Serves calls.

    Args:
        handlers: What answers unary calls, by the full path of the method.
        max_message_bytes: Longest request; responses have no limit.
        streams: What answers other calls, by the full path of the method.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler | Guarded],
        max_message_bytes: int,
        streams: Mapping[str, StreamHandler] = MappingProxyType({}),
    ) -> None:
        self._handlers = handlers
        self._streams = streams
        self._max_message_bytes = max_message_bytes
        self._connections: set[ServingConnection] = set()
        self._server: asyncio.Server | None = None
        self._all_closed = asyncio.Event()

    async def start(self, listener: socket.socket) -> None:
        """Serve the connections that a listening socket accepts."""
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=listener)

    async def stop(self, grace: float) -> None:
        """Let calls under way end, for at most ``grace`` seconds; clients are told to call elsewhere."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            try:
                await asyncio.wait_for(self._all_closed.wait(), grace)
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()

    def _connection(self) -> ServingConnection:
        connection = ServingConnection(self._handlers, self._streams, self._max_message_bytes, self._closed)
        self._connections.add(connection)
        self._all_closed.clear()
        return connection

    def _closed(self, connection: ServingConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()


def health_handlers(health: Health) -> Mapping[str, Handler]:
    """Unary methods of health checks, by their full path."""
    return {f"/{HEALTH}/Check": health.check, f"/{HEALTH}/List": health.list}


def stream_handlers(health: Health) -> Mapping[str, StreamHandler]:
    """All methods that stream, of health checks and of reflection, by their full path."""
    reflection = {f"/{name}/ServerReflectionInfo": reflect for name in REFLECTION}
    return {f"/{HEALTH}/Watch": health.watch, **reflection}


def _handler(method: Callable[[Any], Awaitable[Any]], request: Any) -> Handler:
    async def answer(message: bytes) -> bytes:
        response: bytes = (await method(protobuf.parse(request, message))).SerializeToString()
        return response

    return answer


def _model_name(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    """KServe's clients send the name where Triton's send that of a repository."""
    return request.model_name or request.repository_name


def _unexpected(error: Exception) -> Internal:
    logger.error("unexpected error", exc_info=error)
    return Internal("internal error")
