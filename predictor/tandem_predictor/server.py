"""REST and gRPC on one event loop: start, readiness, orderly end."""

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

from tandem.errors import BundleError
from tandem.oip import protobuf
from tandem.oip.grpc_server import GrpcServer, health_methods, stream_handlers
from tandem.oip.health import Health
from tandem.oip.listeners import grpc_listener, http_listener, watch
from tandem.oip.uploads import Uploads
from tandem_predictor.admission import Admission
from tandem_predictor.app import App
from tandem_predictor.config import Config
from tandem_predictor.grpc_server import Service
from tandem_predictor.http_protocol import CorkedProtocol
from tandem_predictor.metrics import Metrics
from tandem_predictor.repository import Repository
from tandem_predictor.session import check_providers

logger = logging.getLogger(__name__)


KEEP_ALIVE_S = 3700
"""An idle connection is closed after this time, later than any gateway in front would do it (Envoy: an hour)."""


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal and not with exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT, which first turns readiness off, then lets requests in flight end.

    Both front ends answer health checks while models load: readiness comes when all are loaded.

    Returns:
        The exit code: 0 after an orderly end, 1 if a model or a flag was refused, or a port is taken or lost.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics()
    repository = Repository(config, metrics)
    admission = Admission(config.workers, metrics)
    http = _http_server(config, App(repository, admission, metrics, config.max_body_bytes), metrics)
    health = Health([protobuf.SERVICE], lambda: repository.ready)
    repository.changed = health.changed
    methods = Service(repository, admission, metrics).methods(config.max_body_bytes)
    rpc = GrpcServer(
        {**methods, **health_methods(health)},
        stream_handlers(health),
        max_buffered_bytes=config.max_buffered_bytes,
        timeout_s=config.upload_timeout_s,
        max_connections=config.max_connections,
    )
    try:
        check_providers(config.execution_providers)
        listener = _listen(config.host, config.http_port)
        listeners = [http_listener(config.host, config.http_port)]
        if config.grpc_port:
            await rpc.start(_listen(config.host, config.grpc_port))
            listeners.append(grpc_listener(config.host, config.grpc_port))
    except (BundleError, OSError) as error:
        logger.error("%s", error)
        return 1

    def tell(listening: bool) -> None:
        if repository.listening != listening:
            repository.listening = listening
            health.changed()

    serving, starting = asyncio.create_task(http.serve([listener])), asyncio.create_task(_start(repository))
    watching = asyncio.create_task(watch(listeners, tell))
    await _wait(serving, starting, watching, stop)
    logger.info("stopping")
    ended = serving.done()
    repository.stopping = True
    health.close()
    http.should_exit = True
    starting.cancel()
    watching.cancel()
    tasks = (serving, starting, watching)
    codes = await asyncio.gather(*map(_code, tasks), rpc.stop(config.shutdown_grace_s))
    return 1 if ended or 1 in codes else 0


async def _start(repository: Repository) -> None:
    await repository.start()
    # What is loaded now stays: a full collection would walk all of it, again and again under load.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _wait(
    serving: asyncio.Task[None], starting: asyncio.Task[None], watching: asyncio.Task[None], stop: asyncio.Event
) -> None:
    """Until a signal comes, the HTTP server ends, a port is lost, or a model is refused."""
    watching.add_done_callback(lambda _: stop.set())
    starting.add_done_callback(lambda done: stop.set() if done.cancelled() or done.exception() else None)
    serving.add_done_callback(lambda _: stop.set())
    await stop.wait()


async def _code(task: asyncio.Task[None]) -> int:
    """The exit code that the end of a task calls for."""
    try:
        await task
    except asyncio.CancelledError:
        return 0
    except (BundleError, ConnectionError) as error:
        logger.error("%s", error)
        return 1
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """The listening socket. uvicorn's own would end the process from within its task if the port is taken."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(f"cannot listen at {host}:{port}: {error.strerror}") from None


def _http_server(config: Config, app: App, metrics: Metrics) -> uvicorn.Server:
    uploads = Uploads(
        max_body_bytes=config.max_body_bytes,
        max_buffered_bytes=config.max_buffered_bytes,
        timeout_s=config.upload_timeout_s,
        max_connections=config.max_connections,
    )
    return _HttpServer(
        uvicorn.Config(
            app,
            http=partial(CorkedProtocol, uploads, metrics.of("").refused),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=round(config.shutdown_grace_s),
        )
    )
