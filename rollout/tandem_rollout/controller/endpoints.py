"""``/metrics``, ``/healthz`` and ``/readyz``, served by separate threads, as the event loop may hang."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

_BEAT_S: Final = 1.0
_HANGS_AFTER_S: Final = 30.0
"""Longer than any iteration of the event loop on a busy machine."""

_CLIENT_TIMEOUT_S: Final = 10.0
_STATUS: Final = {True: "200 OK", False: "503 Service Unavailable"}


class Heartbeat:
    """Detects an event loop that hangs.

    Args:
        clock: Seconds on a monotonic clock.
        hangs_after: Seconds without an iteration after which the loop is considered to hang.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, hangs_after: float = _HANGS_AFTER_S) -> None:
        self._clock = clock
        self._hangs_after = hangs_after
        self._last = clock()

    def beat(self) -> None:
        """Record an iteration of the loop."""
        self._last = self._clock()

    async def run(self) -> None:
        """Call :meth:`beat` once per second from the loop, until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(_BEAT_S)

    def problem(self) -> str:
        """The problem; empty if there is none. It may be called from any thread."""
        silence = self._clock() - self._last
        return f"the event loop has not run for {silence:.0f} s" if silence > self._hangs_after else ""


def application(registry: CollectorRegistry, probes: dict[str, Callable[[], str]]) -> WSGIApplication:
    """The WSGI application with ``/metrics`` and probes.

    Args:
        registry: The metrics.
        probes: Probes by path. A probe returns a problem, or an empty string, and is called from other threads.
    """
    metrics: Any = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            response: Iterable[bytes] = metrics(environ, start_response)
            return response
        probe = probes.get(path)
        problem = probe() if probe else "not found"
        status = _STATUS[not problem] if probe else "404 Not Found"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{problem or 'ok'}\n".encode()]

    return answer


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    # a slow client delays neither the probes of the kubelet nor the end of the process
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes and probes are not logged."""


def serve(application: WSGIApplication, port: int) -> WSGIServer:
    """Serve an application on all addresses, from a daemon thread.

    Args:
        application: The application.
        port: The port; 0 for a free port.

    Returns:
        The server, which has the port.
    """
    server: WSGIServer = make_server("0.0.0.0", port, application, _Server, _Handler)  # noqa: S104
    threading.Thread(target=server.serve_forever, name="endpoints", daemon=True).start()
    return server
