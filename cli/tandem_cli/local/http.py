"""GET requests to the stack's own processes, on the loopback interface."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.request import ProxyHandler, build_opener

_TIMEOUT_SECONDS = 5.0
# a proxy that is set for the world outside must not be asked for 127.0.0.1
_opener = build_opener(ProxyHandler({}))


def get_text(url: str) -> str:
    """Body of an answer.

    Raises:
        OSError: if there is none, or its status is an error.
    """
    try:
        with _opener.open(url, timeout=_TIMEOUT_SECONDS) as answer:
            return str(answer.read(), "utf-8")
    except HTTPException as error:
        raise OSError(f"{url}: {error}") from error


def get_json(url: str) -> Any:
    """Body of an answer, which is JSON.

    Raises:
        OSError: if there is none, or its status is an error.
    """
    return json.loads(get_text(url))


def is_ready(port: int) -> bool:
    """Whether the server of the Open Inference Protocol on a local port says that it is ready."""
    try:
        get_text(f"http://127.0.0.1:{port}/v2/health/ready")
    except OSError:
        return False
    return True
