"""How V1 and the Open Inference Protocol v2 read requests over HTTP and write answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tandem.dtypes import Columns
from tandem.errors import MalformedRequest
from tandem.oip import InferRequest, rest, rest_header
from tandem.oip.rest import HEADER_LENGTH_KEY
from tandem.rows import Row
from tandem_transformer.batch import Call, CallAnswer
from tandem_transformer.headers import HeaderList, Headers, explains, is_number
from tandem_transformer.http_responses import JSON
from tandem_transformer.service import Service
from tandem_transformer.v1 import V1
from tandem_transformer.v2 import V2


class Content(msgspec.Struct, frozen=True):
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

    def write(self, call: Call, answer: CallAnswer, headers: Headers) -> tuple[bytes, HeaderList]:
        """Body of the response, and the headers that belong to it."""
        ...


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

    def write(self, call: Call, answer: CallAnswer, headers: Headers) -> tuple[bytes, HeaderList]:
        """Body and headers of the response."""
        return self._v1.encode(answer, explains(self._service.config, headers)), [JSON]


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
            raise MalformedRequest(f"{rest_header.HEADER_LENGTH} must be a number of bytes")
        request = rest.decode_request(body, int(length) if length is not None else None)
        columns = self._v2.decode(request)
        return Content(len(next(iter(columns.values()))), columns=columns, request=request)

    def write(self, call: Call, answer: CallAnswer, headers: Headers) -> tuple[bytes, HeaderList]:
        """Body and headers of the response."""
        assert call.request is not None  # noqa: S101 (read put it there)
        response = rest.encode_response(self._v2.encode(answer, call.request), call.request)
        reply_headers = [(b"content-type", response.content_type.encode())]
        if response.header_length is not None:
            reply_headers.append((HEADER_LENGTH_KEY, b"%d" % response.header_length))
        return response.content, reply_headers
