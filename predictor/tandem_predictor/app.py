"""REST. Inference is a raw ASGI endpoint, dispatched before any routing, which would cost more than a small model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, NamedTuple

import msgspec

from tandem.errors import Internal, MalformedRequest, MethodNotAllowed, RequestError, RequestTooLarge
from tandem.oip import InferRequest, encoding, rest, rest_header, threads
from tandem.oip.http1_connection import IS_GONE
from tandem.oip.jsonscan import LONG
from tandem.oip.rest import HEADER_LENGTH_KEY, TIMEOUT_KEY
from tandem_predictor.admission import Admission
from tandem_predictor.callers import Caller
from tandem_predictor.metrics import PredictorMetrics
from tandem_predictor.model import ServedModel
from tandem_predictor.repository import Repository
from tandem_predictor.routes import build_routes

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PREFIX: Final = "/v2/models/"
_SUFFIX: Final = "/infer"


class _Head(NamedTuple):
    """What the headers of a request say about bodies."""

    header_length: int | None = None
    """Length of the JSON part, None if the body is all JSON."""
    encoding: bytes = b""
    accepted: bytes = b""
    deadline: float | None = None
    """When the client stops waiting, on the event loop's clock; None if it does not say."""


class PredictorApp:
    """The ASGI application.

    Args:
        repository: The models.
        admission: Counts requests.
        metrics: Metrics.
        max_body_bytes: Longest body.
    """

    def __init__(
        self, repository: Repository, admission: Admission, metrics: PredictorMetrics, max_body_bytes: int
    ) -> None:
        self._repository = repository
        self._admission = admission
        self._metrics = metrics
        self._unknown = metrics.of("")
        self._max_body_bytes = max_body_bytes
        self._routes = build_routes(repository, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if path.startswith(_PREFIX) and path.endswith(_SUFFIX):
            await self._infer(path[len(_PREFIX) : -len(_SUFFIX)], scope, receive, send)
        else:
            await self._routes(scope, receive, send)

    async def _infer(self, target: str, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        metrics, code = self._unknown, "ok"
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(scope["method"], "POST")
            with self._admission:
                model = self._model(target)
                metrics = model.metrics
                head = self._check_headers(scope["headers"])
                caller = Caller(head.deadline, scope.get(IS_GONE))
                body = await self._answer(model, head, caller, receive)
                if head.accepted and threads.is_long(body.content):
                    content, headers = await threads.write(_encoded, body, head.accepted)
                else:
                    content, headers = _encoded(body, head.accepted)
        except Exception as raised:
            error = raised if isinstance(raised, RequestError) else _unexpected(raised)
            code = error.code
            await _respond(send, error.status, msgspec.json.encode(error.body()), _error_headers(error))
        else:
            await _respond(send, 200, content, headers)
        metrics.answered(code, time.perf_counter() - start)

    def _model(self, target: str) -> ServedModel:
        name, _, version = target.partition("/versions/")
        return self._repository.get(name, version)

    async def _answer(self, model: ServedModel, head: _Head, caller: Caller, receive: Receive) -> rest.Body:
        content = await self._read(receive)
        if threads.is_long(content) or head.encoding:
            request = await threads.read(self._decode, content, model, head)
        else:
            request = self._decode(content, model, head)
        response = await model.infer(request, caller)
        # counted in values: how long their JSON is shows only when it is made
        if sum(output.data.size for output in response.outputs) > LONG:
            return await threads.write(rest.encode_response, response, request)
        return rest.encode_response(response, request)

    def _decode(self, content: bytes, model: ServedModel, head: _Head) -> InferRequest:
        if head.encoding:
            content = encoding.decompress(content, head.encoding, self._max_body_bytes)
        return rest.decode_request(content, head.header_length, model_name=model.name, model_version=model.version)

    def _check_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> _Head:
        header_length, content_encoding, accepted, deadline = None, b"", b"", None
        for name, value in headers:
            if name == HEADER_LENGTH_KEY:
                header_length = _integer(rest_header.HEADER_LENGTH, value)
            elif name == b"content-length":
                if _integer("Content-Length", value) > self._max_body_bytes:
                    raise self._too_large()
            elif name == TIMEOUT_KEY:
                timeout_ms = _integer(TIMEOUT_KEY.decode(), value, "milliseconds")
                deadline = asyncio.get_running_loop().time() + timeout_ms / 1000
            elif name == b"content-encoding":
                content_encoding = value
            elif name == b"accept-encoding":
                accepted = value
        return _Head(header_length, content_encoding, accepted, deadline)

    async def _read(self, receive: Receive) -> bytes:
        """The whole body. Its length is counted, whatever the headers said."""
        message = await receive()
        content: bytes = message.get("body", b"")
        # a request starts when all of it is there, so its body comes as one message, which is not copied
        if not message.get("more_body", False) and len(content) <= self._max_body_bytes:
            return content
        chunks, length = [content], len(content)
        while message.get("more_body", False) and length <= self._max_body_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise MalformedRequest("the client disconnected before the end of the body", code="client_gone")
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
    return [(b"content-type", b"application/octet-stream"), (HEADER_LENGTH_KEY, b"%d" % body.header_length)]


def _encoded(body: rest.Body, accepted: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The content of an answer, compressed if it is long and the client takes that, and its headers."""
    content, headers = body.content, _headers(body)
    if accepted and len(content) >= encoding.MIN_COMPRESSED_BYTES:
        headers.append((b"vary", b"accept-encoding"))
        if chosen := encoding.accepted(accepted):
            content = encoding.compress(content, chosen)
            headers.append((b"content-encoding", chosen))
    return content, headers


def _error_headers(error: RequestError) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", b"application/json")]
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    return headers


def _integer(name: str, value: bytes, unit: str = "bytes") -> int:
    if not value.isdigit():
        raise MalformedRequest(f"{name} must be a number of {unit}, not {value.decode('latin-1')!r}")
    # Python refuses to read thousands of digits, and 19 are too many of either
    return int(value[:19])


def _unexpected(error: Exception) -> Internal:
    logger.error("unexpected error", exc_info=error)
    return Internal("internal error")
