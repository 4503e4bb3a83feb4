"""GET requests to the stack's own processes, on the loopback interface or a Unix socket."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

_TIMEOUT_SECONDS = 5.0
# without a proxy: one that the environment names cannot reach this loopback interface
_opener = build_opener(ProxyHandler({}))


def get_text(url: str) -> str:
    """Body of the response to a GET.

    Raises:
        OSError: if the server does not respond, or with an error.
    """
    try:
        with _opener.open(url, timeout=_TIMEOUT_SECONDS) as response:
            return str(response.read(), "utf-8")
    except HTTPException as error:
        raise OSError(f"{url}: {error}") from error


def get_json(url: str) -> Any:
    """Body of the response to a GET, parsed as JSON.

    Raises:
        OSError: if the server does not respond, or with an error.
    """
    return json.loads(get_text(url))


def get_text_at(path: Path, target: str) -> str:
    """Body of the response to a GET over a Unix socket.

    Args:
        path: The socket.
        target: Path and query of the request.

    Raises:
        OSError: if the server does not respond, or with an error.
    """
    connection = _UnixConnection(path)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"{path}: {target}: status {response.status}")
        return str(response.read(), "utf-8")
    except HTTPException as error:
        raise OSError(f"{path}: {error}") from error
    finally:
        connection.close()


def is_ready(port: int) -> bool:
    """Whether the server of the Open Inference Protocol on a local port is ready."""
    try:
        get_text(f"http://127.0.0.1:{port}/v2/health/ready")
    except OSError:
        return False
    return True


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
