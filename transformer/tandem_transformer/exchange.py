"""One predict request over HTTP, from its headers to its response, whichever server carries the bytes."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from tandem.errors import DeadlineExceeded, Internal, RequestError, UnsupportedMedia
from tandem.oip import encoding, threads
from tandem.oip.jsonscan import LONG
from tandem.telemetry import TRAFFIC_HEADER
from tandem_transformer.batch import Call
from tandem_transformer.explain import describe_vectors
from tandem_transformer.headers import (
    PRIORITY_KEY,
    HeaderList,
    Headers,
    explains,
    media_type,
    request_id_of,
    timeout_of,
)
from tandem_transformer.http_codecs import Codec, Content
from tandem_transformer.http_responses import HttpResponse, error_reply, log_error, server_timing
from tandem_transformer.service import Service
from tandem_transformer.traffic import DIRECT, traffic_of

log = logging.getLogger(__name__)
access_log = logging.getLogger("tandem.access")

_TRAFFIC_HEADER = TRAFFIC_HEADER.encode()


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

    def __init__(self, service: Service, codec: Codec, path: bytes, headers: Headers) -> None:
        self._started = time.perf_counter()
        self._service = service
        self._codec = codec
        self._path = path
        self._headers = headers
        self._request_id = request_id_of(headers)
        self._call: Call | None = None
        self._unit = headers.get(service.unit_header)
        mark = headers.get(_TRAFFIC_HEADER)
        self._traffic = DIRECT if mark is None else service.recorder.traffic(traffic_of(mark), self._unit)
        service.recorder.inflight += 1

    def admit(self) -> None:
        """Refuse what can be refused before the body is read.

        Raises:
            Overloaded: as :meth:`Service.check_room` says.
            UnsupportedMedia: if the body is of another media type.
        """
        self._service.check_room()
        content_type = self._headers.get(b"content-type")
        media_types = self._codec.content_types
        # what most clients send needs no parsing
        if content_type is None or content_type in media_types:
            return
        if media_type(content_type) not in media_types:
            stated, accepted = content_type.decode("latin-1"), " or ".join(name.decode() for name in media_types)
            raise UnsupportedMedia(f"content type {stated!r} is not supported; send {accepted}")

    def ask(self, body: bytes) -> Call:
        """Read the body and put its rows on their way.

        Raises:
            RequestError: if it cannot be read, breaks the contract, or too much is waiting.
        """
        return self._submit(self._codec.read(body, self._headers))

    def is_long(self, body: bytes) -> bool:
        """Whether the body may take so long to read that it must be done by :meth:`ask_long`."""
        return len(body) > LONG or b"content-encoding" in self._headers

    async def ask_long(self, body: bytes) -> Call:
        """The same in another thread, one body at a time, while other requests go on.

        Raises:
            RequestError: also if it cannot be done in the time that a request has.
        """
        # the time that it takes to be read is part of the time that it has
        arrived, own = self._service.now(), timeout_of(self._headers)
        limit = self._service.request_timeout if own is None else min(own, self._service.request_timeout)
        reading = threads.read(self._read_long, body)
        try:
            content = await asyncio.wait_for(reading, limit)
        except TimeoutError:
            raise DeadlineExceeded("the request could not be read before its deadline") from None
        return self._submit(content, arrived)

    def _read_long(self, body: bytes) -> Content:
        content_encoding = self._headers.get(b"content-encoding")
        if content_encoding is not None:
            body = encoding.decompress(body, content_encoding, self._service.config.max_body_bytes)
        content = self._codec.read(body, self._headers)
        if content.rows is None:
            return content
        # made here too: for many rows it would hold up the event loop
        return Content(content.size, columns=self._service.reader.columns(content.rows))

    def _submit(self, content: Content, arrived: float | None = None) -> Call:
        headers, service = self._headers, self._service
        priority, tenant = headers.get(PRIORITY_KEY), headers.get(service.fairness_header)
        call = service.call(content.size, timeout_of(headers), arrived, priority=priority, tenant=tenant)
        self._call = call
        call.rows, call.columns, call.request = content.rows, content.columns, content.request
        call.request_id = self._request_id
        call.traffic = self._traffic
        call.decode_s = time.perf_counter() - self._started
        service.submit(call)
        return call

    def respond(self) -> HttpResponse:
        """The response, once the call's answer is there."""
        assert self._call is not None  # noqa: S101 (ask put it there)
        try:
            answer = self._call.answer.result()
            content, headers = self._codec.write(self._call, answer, self._headers)
        except Exception as error:
            return self.refuse(error)
        if answer.prediction_id:
            headers.append((b"x-prediction-id", answer.prediction_id.encode()))
        if b"x-server-timing" in self._headers:
            headers.append((b"server-timing", server_timing(answer, time.perf_counter() - self._started)))
        if len(content) >= encoding.MIN_COMPRESSED_BYTES and b"accept-encoding" in self._headers:
            content = self._compressed(content, headers)
        return self._end(200, headers, content)

    def _compressed(self, content: bytes, headers: HeaderList) -> bytes:
        # also on an answer that is not compressed: a cache must not give it to all (RFC 9110, section 12.5.5)
        headers.append((b"vary", b"accept-encoding"))
        chosen = encoding.accepted(self._headers[b"accept-encoding"])
        if chosen is None:
            return content
        headers.append((b"content-encoding", chosen))
        return encoding.compress(content, chosen)

    def refuse(self, error: Exception) -> HttpResponse:
        """The response for an error; an internal error is logged in full and answered without its message."""
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
        return describe_vectors(self._service.bundle.signature, self._call.tensors)

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
        # Envoy's deadline is that of its route and no client's own, so an answer that misses it is a failure here
        recorder.answered(status, seconds, self._traffic, unit=self._unit)
        if self._service.config.access_log:
            path, request_id = self._path.decode("latin-1"), self._request_id.decode("latin-1")
            extra = {"path": path, "status": status, "seconds": seconds, "request_id": request_id}
            access_log.info("answered", extra=extra)
        return HttpResponse(status, headers, content)
