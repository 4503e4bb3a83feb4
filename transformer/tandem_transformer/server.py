"""One server process: HTTP and gRPC on one event loop, from start to graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Iterator
from functools import partial

import uvicorn

from tandem.bundle import Bundle
from tandem.oip.grpc_server import GrpcServer
from tandem.oip.listeners import grpc_listener, http_listener, watch
from tandem.oip.uploads import Uploads
from tandem.stores import open_store
from tandem_transformer.app import App
from tandem_transformer.config import Config
from tandem_transformer.grpc_server import GrpcService
from tandem_transformer.http_protocol import PredictProtocol
from tandem_transformer.metrics import Recorder
from tandem_transformer.predictors import connect
from tandem_transformer.service import Service

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 3700
"""An idle connection is closed after this time: later than a gateway would do it (Envoy: an hour), so that no request
is sent into a connection that is just being closed."""


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight.

    Raises:
        BundleError: if the bundle is refused, or its golden rows do not come out as in training.
        OSError: if it cannot listen, or a port does not answer any more.
    """
    bundle = Bundle.open(config.model_dir, digest=config.bundle_digest or None)
    recorder = Recorder(bundle, config.model_name or bundle.name)
    predictor = connect(bundle, config, counted=recorder.endpoints)
    service = Service(bundle, open_store(config.store), predictor, config, recorder)
    service.prove()
    service.recorder.keep_flushing()
    grpc_service = GrpcService(service)
    grpc_server = GrpcServer(
        grpc_service.methods(),
        grpc_service.streams(),
        max_buffered_bytes=config.max_buffered_bytes,
        timeout_s=config.upload_timeout_s,
        max_connections=config.max_connections,
    )
    listeners = [http_listener(config.host, config.http_port)]
    if config.grpc_port:
        await grpc_server.start(_listen(config, config.grpc_port))
        listeners.append(grpc_listener(config.host, config.grpc_port))
    app = App(service)
    http_server = _HttpServer(
        uvicorn.Config(
            app,
            http=partial(PredictProtocol, app.endpoints, _uploads(config), recorder),  # type: ignore[arg-type]
            interface="asgi3",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, int(config.shutdown_grace_s)),
        )
    )
    # What is loaded now stays: a full collection would walk all of it, for 50 ms, every second or two under load.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = loop.create_task(http_server.serve(sockets=[_listen(config, config.http_port)]))
    log.info(
        "ready",
        extra={
            "bundle": bundle.hop_name,
            "version": bundle.version,
            "http_port": config.http_port,
            "grpc_port": config.grpc_port,
        },
    )

    def tell(listening: bool) -> None:
        if service.listening != listening:
            service.listening = listening
            grpc_service.changed()

    watching = loop.create_task(watch(listeners, tell))
    stopped = loop.create_task(stop.wait())
    await asyncio.wait([serving, watching, stopped], return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    service.draining = True
    grpc_service.close()
    lost = not stopped.done() and watching.done()
    watching.cancel()
    await _stop(service, http_server, serving, grpc_server, config.shutdown_grace_s)
    if lost:
        await watching
    if not stopped.done():
        raise OSError("the HTTP server ended by itself")


def _uploads(config: Config) -> Uploads:
    return Uploads(
        max_body_bytes=config.max_body_bytes,
        max_buffered_bytes=config.max_buffered_bytes,
        timeout_s=config.upload_timeout_s,
        max_connections=config.max_connections,
    )


class _HttpServer(uvicorn.Server):
    """uvicorn's server, which leaves signals to :func:`serve`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _stop(
    service: Service,
    http_server: uvicorn.Server,
    serving: asyncio.Task[None],
    grpc_server: GrpcServer,
    grace_s: float,
) -> None:
    """Refuse nothing that has arrived: readiness goes first, connections close as their answers are out."""
    http_server.should_exit = True
    await grpc_server.stop(grace_s)
    await serving
    await service.close()


def _listen(config: Config, port: int) -> socket.socket:
    """A listening socket that several processes can share."""
    listener = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if config.processes > 1:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((config.host, port))
    except OSError as error:
        raise OSError(f"cannot listen at {config.host}:{port}: {error}") from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener
