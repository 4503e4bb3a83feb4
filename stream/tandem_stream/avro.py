"""Values in Avro, each with the id of its schema in a schema registry.

A value is a zero byte, four bytes of the schema's id, big-endian, and the encoded record. Each schema is fetched once.
Fields bind to the contract by name, so that a producer may change its schema while the stream runs.

Source: Confluent's wire format of the schema registry, and its REST interface (``GET /schemas/ids/{id}``), which other
registries have too. Needs the extra ``avro``.
"""

from __future__ import annotations

import base64
import http.client
import io
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, Final

import fastavro
import msgspec

from tandem.errors import MalformedRequest, StoreError, Unavailable
from tandem_stream.decoding import DecodedRows, JsonDecoder, decode_all
from tandem_stream.records import Records

_HEAD: Final = 5
_TIMEOUT_S: Final = 5.0

FetchSchema = Callable[[int], Any]
"""From an id to the parsed schema. Raises ``Unavailable`` while the registry does not answer, ``MalformedRequest`` for
an id that it does not know."""


class AvroDecoder:
    """Reads Avro records that have the fields of the contract.

    Args:
        rows: Checks rows.
        fetch: Finds schemas.
    """

    def __init__(self, rows: JsonDecoder, fetch: FetchSchema) -> None:
        self._rows = rows
        self._fetch = fetch
        self._schemas: dict[int, Any] = {}

    def decode(self, records: Records) -> DecodedRows:
        """Rows of all records that can be decoded, and the reasons why others cannot.

        Raises:
            Unavailable: ``schema_registry_unavailable``.
        """
        return decode_all(records.values, lambda value: self._rows.to_row(self._fields(value)))

    def _fields(self, value: bytes) -> Any:
        if len(value) < _HEAD or value[0] != 0:
            raise MalformedRequest("the value is not Avro of a schema registry: it has no schema id")
        schema_id = int.from_bytes(value[1:_HEAD], "big")
        if schema_id not in self._schemas:
            self._schemas[schema_id] = self._fetch(schema_id)
        stream = io.BytesIO(value)
        stream.seek(_HEAD)
        try:
            fields = fastavro.schemaless_reader(stream, self._schemas[schema_id])
        except Exception as error:  # fastavro raises whatever the bytes lead it to
            raise MalformedRequest(f"the value is not of schema {schema_id}: {type(error).__name__}: {error}") from None
        if stream.tell() != len(value):
            raise MalformedRequest(f"the value is longer than a record of schema {schema_id}")
        return fields


class SchemaRegistry:
    """A registry over HTTP.

    Args:
        url: ``http://host:8081`` or ``https://…``; ``user:password@`` before the host is sent as basic authentication.

    Raises:
        StoreError: if the URL is none.
    """

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            # it may hold a password
            raise StoreError("the URL of a schema registry begins with http:// or https://")
        host = parts.netloc.rpartition("@")[2]
        self._base = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json"}
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def fetch(self, schema_id: int) -> Any:
        """The parsed Avro schema of an id.

        Raises:
            MalformedRequest: the registry does not know it, or it is not an Avro schema.
            Unavailable: ``schema_registry_unavailable``: the registry does not answer.
        """
        request = urllib.request.Request(f"{self._base}/schemas/ids/{schema_id}", headers=self._headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 (its scheme is checked)
                return _parse(schema_id, msgspec.json.decode(response.read(), type=_Entry))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise MalformedRequest(f"the schema registry has no schema {schema_id}") from None
            raise _unavailable(error) from error
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            raise _unavailable(error) from error


class _Entry(msgspec.Struct):
    """What the registry has for an id."""

    schema: str
    schemaType: str = "AVRO"  # noqa: N815 (the name in the registry's answer)
    references: list[Any] = []


def _parse(schema_id: int, entry: _Entry) -> Any:
    if entry.schemaType != "AVRO" or entry.references:
        raise MalformedRequest(f"schema {schema_id} is {entry.schemaType}, or refers to others; it must be Avro")
    try:
        return fastavro.parse_schema(msgspec.json.decode(entry.schema))
    except Exception as error:  # fastavro's exceptions have no common base of their own
        raise MalformedRequest(f"schema {schema_id} cannot be read: {error}") from None


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"the schema registry does not answer: {error}", code="schema_registry_unavailable")
