"""Health and metrics of a worker over HTTP, on a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of metrics, as Prometheus expects it."""


class HealthServer:
    """Answers ``/v2/health/live``, ``/v2/health/ready`` and ``/metrics``.

    Args:
        host: Address to listen at.
        port: Port; 0 for any free one.
        is_ready: Whether records are being read.
        metrics: All metrics in Prometheus' text format.

    Attributes:
        port: The port.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, host: str, port: int, is_ready: Callable[[], bool], metrics: Callable[[], bytes]) -> None:
        class Handler(BaseHTTPRequestHandler):
            """Answers one request."""

            def do_GET(self) -> None:
                match self.path.partition("?")[0]:
                    case "/v2/health/live":
                        self._answer(200, b"live\n")
                    case "/v2/health/ready":
                        self._answer(*((200, b"ready\n") if is_ready() else (503, b"not ready\n")))
                    case "/metrics":
                        self._answer(200, metrics())
                    case _:
                        self._answer(404, b"not found\n")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", TEXT)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Probes are not logged."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop to listen."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
