"""One server process: HTTP and gRPC on one event loop, from its start to its graceful stop.

Needs the packages uvicorn, httptools and uvloop, which the containers have, and the extra ``grpc``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import uvicorn
import uvloop

from tandem.errors import TandemError
from tandem.oip.grpc_methods import Method, StreamHandler
from tandem.oip.grpc_server import IDLE_S, GrpcServer
from tandem.oip.http1_answers import Application
from tandem.oip.listeners import grpc_listener, http_listener, watch
from tandem.oip.settings import ServerSettings

logger = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_SWITCH_S: Final = 0.0005


@dataclass(frozen=True, kw_only=True)
class FrontEnds:
    """What answers requests.

    Attributes:
        app: The ASGI application.
        protocol: uvicorn's protocol for one connection.
        methods: What answers unary calls of gRPC, by the full path of the method.
        streams: What answers other calls, by the full path of the method.
    """

    app: Application
    protocol: Callable[..., asyncio.Protocol]
    methods: Mapping[str, Method]
    streams: Mapping[str, StreamHandler]


class Lifecycle(Protocol):
    """What starts and stops with the server."""

    async def start(self) -> None:
        """Get ready. Both front ends answer health checks meanwhile.

        Raises:
            TandemError: it cannot serve; the server ends.
        """

    def set_listening(self, listening: bool) -> None:
        """Called about once a second with whether all ports answer."""

    def drain(self) -> None:
        """Turn readiness off. Requests that still arrive are answered."""

    async def close(self) -> None:
        """Let go of what is held: nothing is served any more."""


def run(serving: Coroutine[Any, Any, None]) -> int:
    """Run a server to its end on an event loop of its own.

    Args:
        serving: What is to be run, such as :func:`serve`.

    Returns:
        The exit code: 0 after a graceful stop; 1, and a line in the log, for a ``TandemError`` or an ``OSError``.
    """
    try:
        uvloop.run(serving)
    except (TandemError, OSError) as error:
        logger.error("%s", error)
        return 1
    return 0


async def serve(
    settings: ServerSettings, front_ends: FrontEnds, lifecycle: Lifecycle, *, reuse_port: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT; then readiness goes first, and requests in flight end.

    Args:
        settings: Addresses and limits.
        front_ends: What answers.
        lifecycle: What starts and stops with the server.
        reuse_port: Whether other processes listen on the same ports.

    Raises:
        TandemError: what is served could not start.
        OSError: a port is taken, or does not answer any more, or the HTTP server ended by itself.
    """
    stop = _stop_signal()
    # before anything starts, so that a port that is taken ends the process at once
    http_socket, *grpc_sockets = _sockets(settings, reuse_port=reuse_port)
    listeners = [http_listener(settings.host, http_socket.getsockname()[1])]
    grpc_server = _grpc_server(settings, front_ends)
    for grpc_socket in grpc_sockets:
        await grpc_server.start(grpc_socket)
        listeners.append(grpc_listener(settings.host, settings.grpc_port))
    http_server = _http_server(settings, front_ends)
    # health checks are answered while models load, so the ports open first
    serving = asyncio.create_task(http_server.serve([http_socket]))
    starting = asyncio.create_task(_start(lifecycle))
    watching = asyncio.create_task(watch(listeners, lifecycle.set_listening))
    # neither ends by itself unless something is wrong
    for task in (serving, watching):
        task.add_done_callback(lambda _: stop.set())
    starting.add_done_callback(lambda task: stop.set() if task.cancelled() or task.exception() else None)
    await stop.wait()
    logger.info("stopping")
    # asked before it is told to end: uvicorn's server returns without an error either way
    ended = serving.done()
    # readiness goes first, and what still arrives is answered
    lifecycle.drain()
    http_server.should_exit = True
    starting.cancel()
    watching.cancel()
    outcomes = await asyncio.gather(
        serving, starting, watching, grpc_server.stop(settings.shutdown_grace_s), return_exceptions=True
    )
    await lifecycle.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    if ended:
        raise OSError("the HTTP server ended by itself")


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket. uvicorn's own would end the process from within its task if the port is taken.

    Args:
        host: Address; ``::`` is all of IPv6 and IPv4 where the machine has both.
        port: Port; 0 for any free one.
        reuse_port: Whether several processes share it.

    Raises:
        OSError: it is taken, or the address is not this machine's.
    """
    is_ipv6 = ":" in host
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            backlog=_BACKLOG,
            reuse_port=reuse_port,
            dualstack_ipv6=is_ipv6 and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise OSError(f"cannot listen at {host}:{port}: {error.strerror}") from None


def _sockets(settings: ServerSettings, *, reuse_port: bool) -> list[socket.socket]:
    """The listening sockets: that of HTTP, and that of gRPC where there is one."""
    sockets: list[socket.socket] = []
    try:
        for port in (settings.http_port, *filter(None, [settings.grpc_port])):
            sockets.append(listen(settings.host, port, reuse_port=reuse_port))  # noqa: PERF401 (closed if one fails)
    except OSError:
        for bound_socket in sockets:
            bound_socket.close()
        raise
    return sockets


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal and not with exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _http_server(settings: ServerSettings, front_ends: FrontEnds) -> uvicorn.Server:
    return _HttpServer(
        uvicorn.Config(
            front_ends.app,
            http=front_ends.protocol,  # type: ignore[arg-type]
            interface="asgi3",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            # longer than any gateway keeps one: the end that closes may meet a request on its way
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_s)),
        )
    )


def _grpc_server(settings: ServerSettings, front_ends: FrontEnds) -> GrpcServer:
    return GrpcServer(
        front_ends.methods,
        front_ends.streams,
        max_buffered_bytes=settings.max_buffered_bytes,
        timeout_s=settings.upload_timeout_s,
        max_connections=settings.max_connections,
    )


def _stop_signal() -> asyncio.Event:
    """Is set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _start(lifecycle: Lifecycle) -> None:
    await lifecycle.start()
    # The event loop waits so long for the interpreter's lock, several times for each request, while another thread
    # reads a long one.
    sys.setswitchinterval(_SWITCH_S)
    # What is loaded now stays: a full collection would walk all of it, for 50 ms, every second or two under load.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
