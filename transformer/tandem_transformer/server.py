"""One server process: a bundle, what answers for it, and HTTP and gRPC before that."""

from __future__ import annotations

import logging
from functools import partial

from tandem.bundle import Bundle
from tandem.oip import serving
from tandem.oip.serving import FrontEnds
from tandem.stores import open_store
from tandem_transformer.app import TransformerApp
from tandem_transformer.config import TransformerConfig
from tandem_transformer.grpc_server import GrpcService
from tandem_transformer.http_protocol import PredictProtocol
from tandem_transformer.metrics import Recorder
from tandem_transformer.prediction_log.metrics import open_log
from tandem_transformer.predictors import connect
from tandem_transformer.service import Service

log = logging.getLogger(__name__)


async def serve(config: TransformerConfig) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight.

    Raises:
        BundleError: if the bundle is refused, or its golden rows do not come out as in training.
        DefinitionError: if the prediction log is to leave out what does not exist.
        OSError: if it cannot listen, a port does not answer any more, or the prediction log cannot be written.
    """
    bundle = Bundle.open(config.model_dir, digest=config.bundle_digest or None)
    model_name = config.model_name or bundle.name
    recorder = Recorder(bundle, model_name)
    prediction_log = open_log(bundle, model_name, config, recorder)
    predictor = connect(bundle, config, counted=recorder.endpoints, retries=recorder.load.retries)
    store = open_store(config.store, [use.view for use in bundle.model.views])
    service = Service(bundle, store, predictor, config, recorder, prediction_log)
    # before a port opens: nothing may be answered by code that does not compute what training did
    service.prove()
    recorder.keep_flushing()
    app, grpc_service = TransformerApp(service), GrpcService(service)
    front_ends = FrontEnds(
        app=app,
        protocol=partial(PredictProtocol, app.endpoints, config.uploads(), recorder),
        methods=grpc_service.methods(),
        streams=grpc_service.streams(),
    )
    await serving.serve(
        config, front_ends, _TransformerLifecycle(service, grpc_service), reuse_port=config.processes > 1
    )


class _TransformerLifecycle:
    """How the service starts and stops."""

    def __init__(self, service: Service, grpc_service: GrpcService) -> None:
        self._service = service
        self._grpc_service = grpc_service

    async def start(self) -> None:
        bundle, config = self._service.bundle, self._service.config
        ports = {"http_port": config.http_port, "grpc_port": config.grpc_port}
        log.info("ready", extra={"bundle": bundle.wire_name, "version": bundle.version, **ports})

    def set_listening(self, listening: bool) -> None:
        if self._service.listening != listening:
            self._service.listening = listening
            self._grpc_service.changed()

    def drain(self) -> None:
        self._service.draining = True
        # after readiness, which it tells those that watch
        self._grpc_service.close()

    async def close(self) -> None:
        await self._service.close()
