"""Responses over HTTP: to clients, of errors, and what of them is logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from tandem.errors import RequestError
from tandem.telemetry import STAGES
from tandem_transformer.batch import CallAnswer
from tandem_transformer.headers import HeaderList

log = logging.getLogger(__name__)
JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode


class HttpResponse(msgspec.Struct, frozen=True):
    """What goes out."""

    status: int
    headers: HeaderList
    content: bytes


def server_timing(answer: CallAnswer, total_s: float) -> bytes:
    """Value of ``Server-Timing`` (W3C): milliseconds of the batch's stages, and of the request as a whole."""
    stages: Sequence[tuple[str, float]] = (*zip(STAGES, answer.batch.stages, strict=True), ("total", total_s))
    return ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in stages).encode()


def error_reply(
    error: RequestError, request_id: bytes, vectors: Sequence[dict[str, Any]] = ()
) -> tuple[bytes, HeaderList]:
    """Body and headers of an error.

    Args:
        error: The error.
        request_id: Of the request.
        vectors: What the model was given, row by row, if the client is to see it.
    """
    shown = {"vectors": vectors} if vectors else {}
    content = _encode({**error.body(), **shown, "request_id": request_id.decode("latin-1")})
    headers = [JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    return content, headers


def log_error(error: RequestError, request_id: bytes) -> None:
    """Log an error: faults of the server as warnings, faults of the client at debug level."""
    level = logging.WARNING if error.status >= 500 else logging.DEBUG
    if log.isEnabledFor(level):
        extra = {"code": error.code, "status": error.status, "request_id": request_id.decode("latin-1")}
        log.log(level, "%s", error, extra=extra)
