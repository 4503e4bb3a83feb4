"""One server process: the models, what answers for them, and REST and gRPC before that."""

from __future__ import annotations

from functools import partial

from tandem.oip import protobuf, serving
from tandem.oip.grpc_server import health_methods, stream_handlers
from tandem.oip.health import Health
from tandem.oip.serving import FrontEnds
from tandem_predictor.admission import Admission
from tandem_predictor.app import PredictorApp
from tandem_predictor.config import PredictorConfig
from tandem_predictor.grpc_server import GrpcInferenceService
from tandem_predictor.http_protocol import CorkedProtocol
from tandem_predictor.metrics import PredictorMetrics
from tandem_predictor.repository import Repository
from tandem_predictor.session import check_providers


async def serve(config: PredictorConfig) -> None:
    """Serve until SIGTERM or SIGINT, which first turns readiness off, then lets requests in flight end.

    Both front ends answer health checks while models load: readiness comes when all are loaded.

    Raises:
        BundleError: if a model is refused, or ONNX Runtime lacks an execution provider.
        OSError: if it cannot listen, or a port does not answer any more.
    """
    # before a port opens: without its provider no model could be loaded
    check_providers(config.execution_providers)
    metrics = PredictorMetrics()
    repository = Repository(config, metrics)
    admission = Admission(config.workers, metrics)
    health = Health([protobuf.SERVICE], lambda: repository.ready)
    repository.changed = health.changed
    front_ends = FrontEnds(
        app=PredictorApp(repository, admission, metrics, config.max_body_bytes),
        protocol=partial(CorkedProtocol, config.uploads(), metrics.of("").refused),
        methods={
            **GrpcInferenceService(repository, admission, metrics).methods(config.max_body_bytes),
            **health_methods(health),
        },
        streams=stream_handlers(health),
    )
    await serving.serve(config, front_ends, _PredictorLifecycle(repository, health))


class _PredictorLifecycle:
    """How the repository starts and stops."""

    def __init__(self, repository: Repository, health: Health) -> None:
        self._repository = repository
        self._health = health

    async def start(self) -> None:
        await self._repository.start()

    def set_listening(self, listening: bool) -> None:
        if self._repository.listening != listening:
            self._repository.listening = listening
            self._health.changed()

    def drain(self) -> None:
        self._repository.stopping = True
        # after readiness, which it tells those that watch
        self._health.close()

    async def close(self) -> None:
        """Nothing is held."""
