"""REST. Inference is a raw ASGI endpoint, dispatched before any routing, which would cost more than a small model."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

import msgspec

from tandem.errors import Internal, MalformedRequest, RequestError, RequestTooLarge, UnsupportedMedia
from tandem.oip import rest
from tandem_predictor.admission import Admission
from tandem_predictor.metrics import Metrics
from tandem_predictor.model import Model
from tandem_predictor.repository import Repository
from tandem_predictor.routes import routes

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PREFIX: Final = "/v2/models/"
_SUFFIX: Final = "/infer"
_HEADER_LENGTH: Final = rest.HEADER_LENGTH.lower().encode()


class App:
    """The ASGI application.

    Args:
        repository: The models.
        admission: Counts requests.
        metrics: Metrics.
        max_body_bytes: Longest body.
    """

    def __init__(self, repository: Repository, admission: Admission, metrics: Metrics, max_body_bytes: int) -> None:
        self._repository = repository
        self._admission = admission
        self._metrics = metrics
        self._unknown = metrics.of("")
        self._max_body_bytes = max_body_bytes
        self._routes = routes(repository, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if path.startswith(_PREFIX) and path.endswith(_SUFFIX) and scope.get("method") == "POST":
            await self._infer(path[len(_PREFIX) : -len(_SUFFIX)], scope["headers"], receive, send)
        else:
            await self._routes(scope, receive, send)

    async def _infer(self, target: str, headers: Iterable[tuple[bytes, bytes]], receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        metrics, code = self._unknown, "ok"
        try:
            with self._admission:
                model = self._model(target)
                metrics = model.metrics
                body = await self._answer(model, headers, receive)
        except Exception as raised:
            error = raised if isinstance(raised, RequestError) else _unexpected(raised)
            code = error.code
            await _respond(send, error.status, msgspec.json.encode(error.body()), _error_headers(error))
        else:
            await _respond(send, 200, body.content, _headers(body))
        metrics.answered(code, time.perf_counter() - start)

    def _model(self, target: str) -> Model:
        name, _, version = target.partition("/versions/")
        return self._repository.get(name, version)

    async def _answer(self, model: Model, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> rest.Body:
        header_length = self._check_headers(headers)
        content = await self._read(receive)
        request = rest.decode_request(content, header_length, model_name=model.name, model_version=model.version)
        return rest.encode_response(await model.infer(request), request)

    def _check_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> int | None:
        """The length of the body's JSON part, None if it is all JSON."""
        header_length = None
        for name, value in headers:
            if name == _HEADER_LENGTH:
                header_length = _integer(rest.HEADER_LENGTH, value)
            elif name == b"content-length":
                if _integer("Content-Length", value) > self._max_body_bytes:
                    raise self._too_large()
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise UnsupportedMedia(f"Content-Encoding {value.decode('latin-1')!r} is not read here")
        return header_length

    async def _read(self, receive: Receive) -> bytes:
        """The whole body. Its length is counted, whatever the headers said."""
        message = await receive()
        content: bytes = message.get("body", b"")
        if not message.get("more_body", False) and len(content) <= self._max_body_bytes:
            return content
        chunks, length = [content], len(content)
        while message.get("more_body", False) and length <= self._max_body_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise MalformedRequest("the client went away before the end of the body", code="client_gone")
            chunks.append(message.get("body", b""))
            length += len(chunks[-1])
        if length > self._max_body_bytes:
            raise self._too_large()
        return b"".join(chunks)

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"the body has more than {self._max_body_bytes} bytes")


async def _respond(send: Send, status: int, content: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _headers(body: rest.Body) -> list[tuple[bytes, bytes]]:
    if body.header_length is None:
        return [(b"content-type", b"application/json")]
    return [(b"content-type", b"application/octet-stream"), (_HEADER_LENGTH, b"%d" % body.header_length)]


def _error_headers(error: RequestError) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", b"application/json")]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    return headers


def _integer(name: str, value: bytes) -> int:
    if not value.isdigit():
        raise MalformedRequest(f"{name} must be a number of bytes, not {value.decode('latin-1')!r}")
    return int(value[:19])


def _unexpected(error: Exception) -> Internal:
    logger.error("unexpected error", exc_info=error)
    return Internal("internal error")
