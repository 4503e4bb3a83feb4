"""``/metrics``, ``/healthz`` and ``/readyz``, answered by threads of their own: the event loop may hang."""

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
"""Longer than any turn of the event loop on a busy machine."""

_CLIENT_TIMEOUT_S: Final = 10.0
_STATUS: Final = {True: "200 OK", False: "503 Service Unavailable"}


class Heartbeat:
    """Whether an event loop still runs.

    Args:
        clock: Seconds on a clock that nobody sets.
        hangs_after: Seconds without a turn after which the loop hangs.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, hangs_after: float = _HANGS_AFTER_S) -> None:
        self._clock = clock
        self._hangs_after = hangs_after
        self._last = clock()

    def beat(self) -> None:
        """The loop has run."""
        self._last = self._clock()

    async def run(self) -> None:
        """Beat once a second, from the loop itself, until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(_BEAT_S)

    def problem(self) -> str:
        """What is wrong; empty where nothing is. May be called from any thread."""
        silence = self._clock() - self._last
        return f"the event loop has not run for {silence:.0f} s" if silence > self._hangs_after else ""


def application(registry: CollectorRegistry, probes: dict[str, Callable[[], str]]) -> WSGIApplication:
    """Answers ``/metrics`` and probes.

    Args:
        registry: The metrics.
        probes: By path, what is wrong, empty where nothing is. They are called from other threads.
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
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes and probes are not logged."""


def serve(application: WSGIApplication, port: int) -> WSGIServer:
    """Serve on all addresses, from a thread that ends with the process.

    Args:
        application: What to serve.
        port: The port; 0 for a free one.

    Returns:
        The server, which has the port.
    """
    server: WSGIServer = make_server("0.0.0.0", port, application, _Server, _Handler)  # noqa: S104
    threading.Thread(target=server.serve_forever, name="endpoints", daemon=True).start()
    return server
