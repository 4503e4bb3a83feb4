"""Real servers for the tests, and raw clients to talk to them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

START_S = 60.0


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


@dataclass
class Reply:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Server:
    """A running transformer or predictor."""

    process: subprocess.Popen[bytes]
    port: int
    grpc_port: int
    log: IO[bytes] = field(repr=False)
    host: str = "127.0.0.1"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def grpc_address(self) -> str:
        return f"{self.host}:{self.grpc_port}"

    def logged(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        return [json.loads(line) for line in Path(self.log.name).read_text().splitlines()]

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=30)) as client:
            client.request(method, path, content, dict(headers or {}))
            answer = client.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def predict(self, *rows: Mapping[str, Any], **headers: str) -> Reply:
        """A V1 request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", "/v1/models/parcels:predict", {"instances": rows}, named)

    def wait_ready(self) -> None:
        wait_until(lambda: self.is_ready() or self._ended())

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2/health/ready", timeout=5):
                return True
        except OSError:
            return False

    def _ended(self) -> bool:
        if self.process.poll() is None:
            return False
        raise RuntimeError(f"ended with {self.process.returncode}: {Path(self.log.name).read_text()}")

    def wait_logged(self, message: str) -> dict[str, Any]:
        """The first line with this message, waited for."""
        lines: list[dict[str, Any]] = []

        def look() -> bool:
            lines.extend(line for line in self.logged() if line["message"] == message)
            return bool(lines) or self._ended()

        wait_until(look)
        return lines[0]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def wait_until(condition: Any, *, seconds: float = START_S) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.01)


@contextmanager
def started(
    module: Sequence[str],
    *flags: object,
    port: int | None = None,
    grpc_port: int | None = None,
    host: str = "127.0.0.1",
    ready: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server process, from when it is ready until the end of the block."""
    port = free_port() if port is None else port
    grpc_port = free_port() if grpc_port is None else grpc_port
    command = [sys.executable, *module, "--host", host, "--http_port", str(port)]
    command += ["--grpc_port", str(grpc_port), *map(str, flags)]
    environment = {**os.environ, **(environment or {})}
    with (
        tempfile.NamedTemporaryFile(suffix=".log") as log,
        subprocess.Popen(command, stderr=log, env=environment) as process,
    ):
        server = Server(process, port, grpc_port, log, host)
        try:
            if ready:
                server.wait_ready()
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def predictor(model_dir: Path, *flags: object, **options: Any) -> Any:
    """A real predictor."""
    return started(("-m", "tandem_predictor"), "--model_dir", model_dir, *flags, **options)


def transformer(model_dir: Path, *flags: object, **options: Any) -> Any:
    """A real transformer."""
    return started(("-m", "tandem_transformer"), "--model_dir", model_dir, *flags, **options)
