"""One predict request over HTTP, from its headers to its response, whoever carries the bytes."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from tandem.contract import Columns
from tandem.errors import DeadlineExceeded, Internal, MalformedRequest, Overloaded, RequestError, UnsupportedMedia
from tandem.oip import InferRequest, encoding, rest, threads
from tandem.oip.rest import HEADER_LENGTH_KEY
from tandem.rows import Row
from tandem.telemetry import STAGES, TRAFFIC_HEADER
from tandem_transformer.batch import Answer, Call
from tandem_transformer.config import Config
from tandem_transformer.explain import vectors
from tandem_transformer.service import Service
from tandem_transformer.traffic import traffic_of
from tandem_transformer.v1 import V1
from tandem_transformer.v2 import V2

Headers = dict[bytes, bytes]
"""Headers by lower-case name."""

HeaderList = list[tuple[bytes, bytes]]

log = logging.getLogger(__name__)
access_log = logging.getLogger("tandem.access")

TIMEOUT_HEADER = b"x-envoy-expected-rq-timeout-ms"
"""Milliseconds that the client's side will wait; Envoy sets it on every request that it forwards."""

_TRAFFIC_HEADER = TRAFFIC_HEADER.encode()
_JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode

# Request ids of our own: a random start for each process, then a number.
_id_start = secrets.token_hex(6)
_id_numbers = itertools.count(1)


class HttpResponse(NamedTuple):
    """What goes out."""

    status: int
    headers: HeaderList
    content: bytes


class Content(NamedTuple):
    """What a request asks: either rows or columns, as its protocol brings them.

    Attributes:
        size: Number of its rows.
        rows: Decoded rows.
        columns: Columns for each field of the contract.
        request: The request as its protocol has it, where the answer depends on it.
    """

    size: int
    rows: Sequence[Row] | None = None
    columns: Columns | None = None
    request: InferRequest | None = None


class Codec(Protocol):
    """A protocol's part of a predict route."""

    @property
    def content_types(self) -> tuple[bytes, ...]:
        """Media types that it reads."""
        ...

    def read(self, body: bytes, headers: Headers) -> Content:
        """What a request asks. May run in any thread.

        Raises:
            RequestError: if it cannot be read or breaks the contract.
        """
        ...

    def write(self, call: Call, answer: Answer, headers: Headers) -> tuple[bytes, HeaderList]:
        """Body of the response, and the headers that belong to it."""
        ...


class Exchange:
    """One request in progress.

    Exactly one of :meth:`respond`, :meth:`refuse` and :meth:`abandon` ends it.

    Args:
        service: What answers.
        codec: The protocol's part.
        path: Path of the request.
        headers: Its headers.
    """

    __slots__ = ("_call", "_codec", "_headers", "_path", "_request_id", "_service", "_started", "_traffic", "_unit")

    def __init__(self, service: Service, codec: Codec, path: str, headers: Headers) -> None:
        self._started = time.perf_counter()
        self._service = service
        self._codec = codec
        self._path = path
        self._headers = headers
        self._request_id = request_id_of(headers)
        self._call: Call | None = None
        self._unit = headers.get(service.unit_header)
        self._traffic = service.recorder.traffic(traffic_of(headers.get(_TRAFFIC_HEADER)), self._unit)
        service.recorder.inflight += 1

    def admit(self) -> None:
        """Refuse what can be refused before the body is read.

        Raises:
            Overloaded: if too many requests are in flight.
            UnsupportedMedia: if the body is of another media type.
        """
        workers = self._service.config.workers
        if workers and self._service.recorder.inflight > workers:
            raise Overloaded(f"{workers} requests are in flight already", retry_after=1)
        content_type = self._headers.get(b"content-type")
        known = self._codec.content_types
        if content_type is not None and media_type(content_type) not in known:
            got, wanted = content_type.decode("latin-1"), " or ".join(kind.decode() for kind in known)
            raise UnsupportedMedia(f"content type {got!r} is not read here; send {wanted}")

    def ask(self, body: bytes) -> Call:
        """Read the body and put its rows on their way.

        Raises:
            RequestError: if it cannot be read, breaks the contract, or too much is waiting.
        """
        return self._submit(self._codec.read(body, self._headers))

    def is_long(self, body: bytes) -> bool:
        """Whether the body may take so long to read that it must be done by :meth:`ask_long`."""
        return threads.is_long(body) or b"content-encoding" in self._headers

    async def ask_long(self, body: bytes) -> Call:
        """The same in another thread, one body at a time, while other requests go on.

        Raises:
            RequestError: also if it cannot be done in the time that a request has.
        """
        arrived, own = self._service.now(), timeout_of(self._headers)
        limit = self._service.request_timeout if own is None else min(own, self._service.request_timeout)
        reading = threads.read(self._read_long, body)
        try:
            content = await asyncio.wait_for(reading, limit)
        except TimeoutError:
            raise DeadlineExceeded("the request could not be read within the time that it had") from None
        return self._submit(content, arrived)

    def _read_long(self, body: bytes) -> Content:
        content_encoding = self._headers.get(b"content-encoding")
        if content_encoding is not None:
            body = encoding.decompress(body, content_encoding, self._service.config.max_body_bytes)
        content = self._codec.read(body, self._headers)
        if content.rows is None:
            return content
        return Content(content.size, columns=self._service.reader.columns(content.rows))

    def _submit(self, content: Content, arrived: float | None = None) -> Call:
        call = self._call = self._service.call(content.size, timeout_of(self._headers), arrived)
        call.rows, call.columns, call.request = content.rows, content.columns, content.request
        call.request_id = self._request_id
        call.traffic = self._traffic
        call.decode_s = time.perf_counter() - self._started
        self._service.submit(call)
        return call

    def respond(self) -> HttpResponse:
        """The response, once the call's answer is there."""
        assert self._call is not None  # noqa: S101 (ask put it there)
        try:
            answer = self._call.answer.result()
            content, headers = self._codec.write(self._call, answer, self._headers)
        except Exception as error:
            return self.refuse(error)
        if b"x-server-timing" in self._headers:
            headers.append((b"server-timing", server_timing(answer, time.perf_counter() - self._started)))
        if len(content) >= encoding.MIN_COMPRESSED_BYTES and b"accept-encoding" in self._headers:
            content = self._compressed(content, headers)
        return self._end(200, headers, content)

    def _compressed(self, content: bytes, headers: HeaderList) -> bytes:
        headers.append((b"vary", b"accept-encoding"))
        chosen = encoding.accepted(self._headers[b"accept-encoding"])
        if chosen is None:
            return content
        headers.append((b"content-encoding", chosen))
        return encoding.compress(content, chosen)

    def refuse(self, error: Exception) -> HttpResponse:
        """The response that tells a client of an error; one that is not meant for clients is logged in full."""
        if not isinstance(error, RequestError):
            log.error("a request failed", exc_info=error, extra={"request_id": self._request_id.decode("latin-1")})
            error = Internal("internal error")
        log_error(error, self._request_id)
        content, headers = error_reply(error, self._request_id, self._vectors())
        return self._end(error.status, headers, content)

    def _vectors(self) -> list[dict[str, Any]]:
        """What the model was given for the rows of a call that failed, if the client asks for it and it is known."""
        if self._call is None or self._call.tensors is None or not explains(self._service.config, self._headers):
            return []
        return vectors(self._service.bundle.signature, self._call.tensors)

    def abandon(self) -> None:
        """The client is gone."""
        self._service.recorder.inflight -= 1

    def _end(self, status: int, headers: HeaderList, content: bytes) -> HttpResponse:
        headers += ((b"content-length", b"%d" % len(content)), (b"x-request-id", self._request_id))
        if trace := self._headers.get(b"traceparent"):
            headers.append((b"traceparent", trace))
        seconds = time.perf_counter() - self._started
        recorder = self._service.recorder
        recorder.inflight -= 1
        recorder.answered(status, seconds, self._traffic, unit=self._unit)
        if self._service.config.access_log:
            request_id = self._request_id.decode("latin-1")
            extra = {"path": self._path, "status": status, "seconds": seconds, "request_id": request_id}
            access_log.info("answered", extra=extra)
        return HttpResponse(status, headers, content)


class V1Codec:
    """Reads and writes V1."""

    content_types = (b"application/json",)

    def __init__(self, service: Service, v1: V1) -> None:
        self._service = service
        self._v1 = v1

    def read(self, body: bytes, headers: Headers) -> Content:
        """What a request asks."""
        rows = self._v1.decode(body)
        return Content(len(rows), rows=rows)

    def write(self, call: Call, answer: Answer, headers: Headers) -> tuple[bytes, HeaderList]:
        """Body and headers of the response."""
        return self._v1.encode(answer, explains(self._service.config, headers)), [_JSON]


class V2Codec:
    """Reads and writes Open Inference Protocol v2 over REST."""

    content_types = (b"application/json", b"application/octet-stream")

    def __init__(self, service: Service, v2: V2) -> None:
        self._service = service
        self._v2 = v2

    def read(self, body: bytes, headers: Headers) -> Content:
        """What a request asks."""
        length = headers.get(HEADER_LENGTH_KEY)
        if length is not None and not is_number(length):
            raise MalformedRequest(f"{rest.HEADER_LENGTH} must be a number of bytes")
        request = rest.decode_request(body, int(length) if length is not None else None)
        columns = self._v2.decode(request)
        return Content(len(next(iter(columns.values()))), columns=columns, request=request)

    def write(self, call: Call, answer: Answer, headers: Headers) -> tuple[bytes, HeaderList]:
        """Body and headers of the response."""
        assert call.request is not None  # noqa: S101 (read put it there)
        response = rest.encode_response(self._v2.encode(answer, call.request), call.request)
        reply_headers = [(b"content-type", response.content_type.encode())]
        if response.header_length is not None:
            reply_headers.append((HEADER_LENGTH_KEY, b"%d" % response.header_length))
        return response.content, reply_headers


def timeout_of(headers: Headers) -> float | None:
    """Seconds that the client's side will wait; None if it does not say."""
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    if not is_number(text):
        raise MalformedRequest(f"{TIMEOUT_HEADER.decode()} must be a number of milliseconds")
    return int(text) / 1000


def request_id_of(headers: Headers) -> bytes:
    """The client's own name for its request, or one of ours."""
    return headers.get(b"x-request-id") or b"%s-%x" % (_id_start.encode(), next(_id_numbers))


def server_timing(answer: Answer, total_s: float) -> bytes:
    """Value of ``Server-Timing`` (W3C): milliseconds of the batch's stages, and of the request as a whole."""
    stages: Sequence[tuple[str, float]] = (*zip(STAGES, answer.batch.stages, strict=True), ("total", total_s))
    return ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in stages).encode()


def explains(config: Config, headers: Headers) -> bool:
    """Whether vectors are asked for and may be shown."""
    return config.explain and headers.get(b"x-explain") == b"vector"


def error_reply(
    error: RequestError, request_id: bytes, vectors: Sequence[dict[str, Any]] = ()
) -> tuple[bytes, HeaderList]:
    """Body and headers of an error.

    Args:
        error: What the client is told.
        request_id: Of the request.
        vectors: What the model was given, row by row, if the client is to see it.
    """
    shown = {"vectors": vectors} if vectors else {}
    content = _encode({**error.body(), **shown, "request_id": request_id.decode("latin-1")})
    headers = [_JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    return content, headers


def log_error(error: RequestError, request_id: bytes) -> None:
    """Log what a client was told: our faults as warnings, its own only at debug level."""
    level = logging.WARNING if error.status >= 500 else logging.DEBUG
    if log.isEnabledFor(level):
        extra = {"code": error.code, "status": error.status, "request_id": request_id.decode("latin-1")}
        log.log(level, "%s", error, extra=extra)


def media_type(content_type: bytes) -> bytes:
    """A content type without its parameters."""
    return content_type if content_type == b"application/json" else content_type.partition(b";")[0].strip().lower()


def is_number(text: bytes) -> bool:
    """Whether it is a natural number of a sensible length: Python refuses to read one of thousands of digits."""
    return text.isdigit() and len(text) < 20
