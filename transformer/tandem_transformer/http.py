"""The predict routes as raw ASGI endpoints.

They stand in front of FastAPI's routing, whose parsing and validation would cost more than the whole rest of a request.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.types import Receive, Scope, Send

from tandem.errors import Internal, MalformedRequest, Overloaded, RequestError, RequestTooLarge, UnsupportedMedia
from tandem.oip import rest
from tandem_transformer.batch import STAGES, Answer
from tandem_transformer.service import Service
from tandem_transformer.v1 import V1
from tandem_transformer.v2 import V2

Headers = dict[bytes, bytes]

log = logging.getLogger(__name__)
access_log = logging.getLogger("tandem.access")

TIMEOUT_HEADER = b"x-envoy-expected-rq-timeout-ms"
"""Milliseconds that the client's side will wait; Envoy sets it on every request that it forwards."""

_JSON = (b"content-type", b"application/json")
_HEADER_LENGTH = rest.HEADER_LENGTH.lower().encode()
_encode = msgspec.json.Encoder().encode

# Request ids of our own: a random start for each process, then a number.
_id_start = secrets.token_hex(6)
_id_numbers = itertools.count(1)


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


@dataclass(slots=True)
class Reply:
    """Body of an answer.

    Attributes:
        content: The body.
        headers: Content type and whatever else belongs to the body.
        answer: Where it comes from.
    """

    content: bytes
    headers: list[tuple[bytes, bytes]]
    answer: Answer


Respond = Callable[[bytes, Headers, str], Awaitable[Reply]]
"""Answers one request: body, headers and request id to reply."""


class PredictEndpoint:
    """One predict route.

    Args:
        service: What answers.
        respond: The protocol's part.
        content_types: Media types that the route reads.
    """

    def __init__(self, service: Service, respond: Respond, content_types: tuple[bytes, ...]) -> None:
        self._service = service
        self._respond = respond
        self._content_types = content_types
        self._limit = service.config.max_body_bytes
        self._workers = service.config.workers
        self._access_log = service.config.access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = time.perf_counter()
        headers: Headers = dict(scope["headers"])
        request_id = request_id_of(headers)
        recorder = self._service.recorder
        recorder.inflight += 1
        status = 200
        try:
            reply = await self._reply(scope, headers, receive, request_id.decode("latin-1"))
            content, answer_headers = reply.content, reply.headers
            if b"x-server-timing" in headers:
                answer_headers.append((b"server-timing", server_timing(reply.answer, time.perf_counter() - started)))
        except RequestError as error:
            status = error.status
            content, answer_headers = error_reply(error, request_id)
            log_error(error, request_id)
        except ClientGone:
            return
        except Exception:
            log.exception("a request failed", extra={"request_id": request_id.decode("latin-1")})
            status = 500
            content, answer_headers = error_reply(Internal("internal error"), request_id)
        finally:
            recorder.inflight -= 1
        answer_headers += ((b"content-length", b"%d" % len(content)), (b"x-request-id", request_id))
        if trace := headers.get(b"traceparent"):
            answer_headers.append((b"traceparent", trace))
        seconds = time.perf_counter() - started
        recorder.answered(status, seconds)
        if self._access_log:
            path = scope["path"]
            access_log.info(
                "answered",
                extra={"path": path, "status": status, "seconds": seconds, "request_id": request_id.decode("latin-1")},
            )
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": content})

    async def _reply(self, scope: Scope, headers: Headers, receive: Receive, request_id: str) -> Reply:
        if scope["method"] != "POST":
            raise MethodNotAllowed(scope["method"], "POST")
        if self._workers and self._service.recorder.inflight > self._workers:
            raise Overloaded(f"{self._workers} requests are in flight already", retry_after=1)
        content_type = headers.get(b"content-type")
        if content_type is not None and content_type.partition(b";")[0].strip().lower() not in self._content_types:
            known = " or ".join(kind.decode() for kind in self._content_types)
            raise UnsupportedMedia(f"content type {content_type.decode('latin-1')!r} is not read here; send {known}")
        encoding = headers.get(b"content-encoding")
        if encoding and encoding.lower() != b"identity":
            raise UnsupportedMedia("compressed bodies are not read", code="unsupported_encoding")
        return await self._respond(await self._body(headers, receive), headers, request_id)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        announced = headers.get(b"content-length")
        if announced is not None and int(announced) > self._limit:
            raise self._too_large()
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if message["type"] == "http.disconnect":
                raise ClientGone
            if len(body) > self._limit:
                raise self._too_large()
            return body
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit:
                raise self._too_large()
        return b"".join(parts)

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"the body is longer than {self._limit} bytes")


class MethodNotAllowed(RequestError):
    """405: the path takes other methods.

    Attributes:
        allowed: These, with commas between.
    """

    status = 405
    grpc_status = "UNIMPLEMENTED"
    default_code = "method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed here; use {allowed}")
        self.allowed = allowed


class V1Responder:
    """Answers V1 requests."""

    def __init__(self, service: Service, v1: V1) -> None:
        self._service = service
        self._v1 = v1

    async def __call__(self, body: bytes, headers: Headers, request_id: str) -> Reply:
        """Answer one request.

        Raises:
            RequestError: what the client is to be told.
        """
        started = time.perf_counter()
        rows = self._v1.decode(body)
        call = self._service.call(len(rows), timeout_of(headers))
        call.rows = rows
        call.request_id = request_id
        call.decode_s = time.perf_counter() - started
        answer = await self._service.submit(call)
        explain = self._service.config.explain and headers.get(b"x-explain") == b"vector"
        return Reply(self._v1.encode(answer, explain), [_JSON], answer)


class V2Responder:
    """Answers Open Inference Protocol v2 requests over REST."""

    def __init__(self, service: Service, v2: V2) -> None:
        self._service = service
        self._v2 = v2

    async def __call__(self, body: bytes, headers: Headers, request_id: str) -> Reply:
        """Answer one request.

        Raises:
            RequestError: what the client is to be told.
        """
        started = time.perf_counter()
        length = headers.get(_HEADER_LENGTH)
        if length is not None and not _is_number(length):
            raise MalformedRequest(f"{rest.HEADER_LENGTH} must be a number of bytes")
        request = rest.decode_request(body, int(length) if length is not None else None)
        columns = self._v2.decode(request)
        call = self._service.call(len(next(iter(columns.values()))), timeout_of(headers))
        call.columns = columns
        call.request_id = request_id
        call.decode_s = time.perf_counter() - started
        answer = await self._service.submit(call)
        response = rest.encode_response(self._v2.encode(answer, request), request)
        reply_headers = [(b"content-type", response.content_type.encode())]
        if response.header_length is not None:
            reply_headers.append((_HEADER_LENGTH, b"%d" % response.header_length))
        return Reply(response.content, reply_headers, answer)


def timeout_of(headers: Headers) -> float | None:
    """Seconds that the client's side will wait; None if it does not say."""
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    if not _is_number(text):
        raise MalformedRequest(f"{TIMEOUT_HEADER.decode()} must be a number of milliseconds")
    return int(text) / 1000


def request_id_of(headers: Headers) -> bytes:
    """The client's own name for its request, or one of ours."""
    return headers.get(b"x-request-id") or b"%s-%x" % (_id_start.encode(), next(_id_numbers))


def server_timing(answer: Answer, total_s: float) -> bytes:
    """Value of ``Server-Timing`` (W3C): milliseconds of the batch's stages, and of the request as a whole."""
    parts = [f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in zip(STAGES, answer.batch.stages, strict=True)]
    return ", ".join([*parts, f"total;dur={total_s * 1000:.3f}"]).encode()


def error_reply(error: RequestError, request_id: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers of an error."""
    content = _encode({**error.body(), "request_id": request_id.decode("latin-1")})
    headers = [_JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    return content, headers


def log_error(error: RequestError, request_id: bytes) -> None:
    """Log what a client was told: our faults as warnings, its own only at debug level."""
    level = logging.WARNING if error.status >= 500 else logging.DEBUG
    if log.isEnabledFor(level):
        log.log(
            level,
            "%s",
            error,
            extra={"code": error.code, "status": error.status, "request_id": request_id.decode("latin-1")},
        )


def _is_number(text: bytes) -> bool:
    """Whether it is a natural number of a sensible length: Python refuses to read one of thousands of digits."""
    return text.isdigit() and len(text) < 20
