"""gRPC: the methods of the protocol."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tandem.errors import Internal, RequestError
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip import protobuf, threads
from tandem.oip.grpc_methods import CallContext, Method
from tandem.oip.grpc_server import method
from tandem_predictor.admission import Admission
from tandem_predictor.callers import Caller
from tandem_predictor.metrics import PredictorMetrics
from tandem_predictor.repository import Repository
from tandem_predictor.routes import NAME, VERSION, list_extensions

logger = logging.getLogger(__name__)


class GrpcInferenceService:
    """Answers calls of ``inference.GRPCInferenceService``.

    Args:
        repository: The models.
        admission: Counts requests.
        metrics: Metrics.
    """

    def __init__(self, repository: Repository, admission: Admission, metrics: PredictorMetrics) -> None:
        self._repository = repository
        self._admission = admission
        self._unknown = metrics.of("")

    async def infer(self, message: bytes, context: CallContext) -> bytes:
        """A serialised ``ModelInferResponse`` to a serialised ``ModelInferRequest``.

        Raises:
            RequestError: The error for the client.
        """
        start = time.perf_counter()
        metrics, code = self._unknown, "ok"
        try:
            with self._admission:
                if threads.is_long(message):
                    request = await threads.read(protobuf.decode_request, message)
                else:
                    request = protobuf.decode_request(message)
                model = self._repository.get(request.model_name, request.model_version)
                metrics = model.metrics
                return protobuf.encode_response(await model.infer(request, Caller(context.deadline)))
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
        return pb.ServerMetadataResponse(name=NAME, version=VERSION, extensions=list_extensions(self._repository))

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

    def methods(self, max_message_bytes: int) -> Mapping[str, Method]:
        """All methods, by their full path.

        Args:
            max_message_bytes: Longest request to infer.
        """
        methods = {
            "ModelInfer": Method(self.infer, max_message_bytes),
            "ServerLive": method(self.live, pb.ServerLiveRequest),
            "ServerReady": method(self.ready, pb.ServerReadyRequest),
            "ServerMetadata": method(self.server, pb.ServerMetadataRequest),
            "ModelReady": method(self.model_ready, pb.ModelReadyRequest),
            "ModelMetadata": method(self.model, pb.ModelMetadataRequest),
            "ModelConfig": method(self.config, pb.ModelConfigRequest),
            "ModelStatistics": method(self.statistics, pb.ModelStatisticsRequest),
        }
        if self._repository.managed:
            methods["RepositoryIndex"] = self._guarded(self.index, pb.RepositoryIndexRequest)
            methods["RepositoryModelLoad"] = self._guarded(self.load, pb.RepositoryModelLoadRequest)
            methods["RepositoryModelUnload"] = self._guarded(self.unload, pb.RepositoryModelUnloadRequest)
        return {f"/{protobuf.SERVICE}/{name}": method for name, method in methods.items()}

    def _guarded(self, answer: Callable[[Any], Awaitable[Any]], request: Any) -> Method:
        """A method that only clients with the token may call."""
        unguarded = method(answer, request)

        async def handler(message: bytes, context: CallContext) -> bytes:
            self._repository.authorize(context.headers.get("authorization", ""))
            return await unguarded.handler(message, context)

        return Method(handler, unguarded.max_bytes)


def _model_name(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    """KServe's clients send the name where Triton's send that of a repository."""
    return request.model_name or request.repository_name


def _unexpected(error: Exception) -> Internal:
    logger.error("unexpected error", exc_info=error)
    return Internal("internal error")
