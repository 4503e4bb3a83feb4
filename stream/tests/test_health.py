from __future__ import annotations

import http.client

import pytest

from tandem_stream.health import HealthServer


def ask(port: int, path: str) -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def test_probes_and_metrics_are_answered() -> None:
    ready = [False]
    server = HealthServer("127.0.0.1", 0, lambda: ready[0], lambda: b"x 1\n")
    try:
        assert ask(server.port, "/v2/health/live") == (200, b"live\n")
        assert ask(server.port, "/v2/health/ready") == (503, b"not ready\n")
        ready[0] = True
        assert ask(server.port, "/v2/health/ready?x=1") == (200, b"ready\n")
        assert ask(server.port, "/metrics") == (200, b"x 1\n")
        assert ask(server.port, "/")[0] == 404
        with pytest.raises(OSError):
            HealthServer("127.0.0.1", server.port, lambda: True, lambda: b"")
    finally:
        server.close()
