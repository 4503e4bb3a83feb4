"""Avro with the id of a schema, from a registry over HTTP."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import fastavro
import pytest
from transformer.tests.world import good_row

from tandem import Bundle, StoreError
from tandem.errors import Unavailable
from tandem_stream.avro import AvroDecoder, SchemaRegistry
from tandem_stream.decoding import JsonDecoder

INSTANT = {"type": "long", "logicalType": "timestamp-micros"}
FIELDS = [
    {"name": "customer_id", "type": "string"},
    {"name": "depot_id", "type": "long"},
    {"name": "weight_kg", "type": "double"},
    {"name": "fragile", "type": "boolean"},
    {"name": "asked_at", "type": INSTANT},
    {"name": "pickup_at", "type": INSTANT},
    {"name": "postcode", "type": "string"},
    {"name": "parts", "type": ["null", "int"]},
]
FIRST = {"type": "record", "name": "Parcel", "fields": FIELDS}
SECOND = {"type": "record", "name": "Parcel", "fields": [*FIELDS[::-1], {"name": "tariff", "type": "string"}]}
TIME = datetime(2026, 5, 1, 8, tzinfo=UTC)
ROW = {name: value for name, value in good_row(asked_at=TIME, pickup_at=TIME).items() if name != "depth_m"}


def encoded(schema_id: int, schema: Any, **changes: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), ROW | changes)
    return b"\0" + schema_id.to_bytes(4, "big") + stream.getvalue()


class Handler(BaseHTTPRequestHandler):
    """The registry: schemas by id."""

    entries: ClassVar = {
        1: {"schema": json.dumps(FIRST)},
        2: {"schema": json.dumps(SECOND), "schemaType": "AVRO"},
        3: {"schema": 'syntax = "proto3";', "schemaType": "PROTOBUF"},
        4: {"schema": '{"type": "nothing"}'},
    }
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        schema_id = int(self.path.rpartition("/")[2])
        body = json.dumps(self.entries.get(schema_id, {"error_code": 40403})).encode()
        self.send_response({5: 500}.get(schema_id, 200 if schema_id in self.entries else 404))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    Handler.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def decoder(bundle: Bundle, registry: str) -> AvroDecoder:
    return AvroDecoder(JsonDecoder(bundle.contract), SchemaRegistry(f"http://u:p%40@{registry}/").fetch)


def test_a_schema_may_change_in_mid_stream(decoder: AvroDecoder, records_of: Any) -> None:
    values = [encoded(1, FIRST), encoded(2, SECOND), encoded(1, FIRST, parts=None), encoded(2, SECOND, parts=3)]
    decoded = decoder.decode(records_of(values))
    assert not decoded.rejected
    assert [row.tariff for row in decoded.rows][1] == "night"  # type: ignore[attr-defined]
    assert [row.parts for row in decoded.rows] == [2, 2, None, 3]  # type: ignore[attr-defined]
    assert all(row.asked_at == TIME for row in decoded.rows)  # type: ignore[attr-defined]
    # each schema once, with the password of the URL
    assert Handler.asked == [("/schemas/ids/1", "Basic dTpwQA=="), ("/schemas/ids/2", "Basic dTpwQA==")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"{}", "no schema id"),
        (b"", "no schema id"),
        (encoded(9, FIRST), "no schema 9"),
        (encoded(3, FIRST), "schema 3 is PROTOBUF"),
        (encoded(4, FIRST), "schema 4 cannot be read"),
        (encoded(1, FIRST)[:-3], "not of schema 1"),
        (encoded(1, FIRST) + b"x", "longer than a record of schema 1"),
    ],
)
def test_what_cannot_be_read_is_malformed(decoder: AvroDecoder, records_of: Any, value: bytes, message: str) -> None:
    decoded = decoder.decode(records_of([value, encoded(1, FIRST)]))
    assert decoded.positions == [1]
    assert decoded.rejected[0].code == "malformed_request" and message in str(decoded.rejected[0])


def test_a_record_that_breaks_the_contract_is_rejected(decoder: AvroDecoder, records_of: Any) -> None:
    decoded = decoder.decode(records_of([encoded(1, FIRST, weight_kg=-1.0)]))
    assert [(detail["field"], detail["rule"]) for detail in decoded.rejected[0].details] == [
        ("weight_kg", "must be > 0")
    ]


def test_a_registry_that_does_not_answer_is_an_outage(bundle: Bundle, decoder: AvroDecoder, records_of: Any) -> None:
    with pytest.raises(Unavailable) as caught:
        decoder.decode(records_of([encoded(5, FIRST)]))
    assert caught.value.code == "schema_registry_unavailable"
    nowhere = AvroDecoder(JsonDecoder(bundle.contract), SchemaRegistry("http://127.0.0.1:1").fetch)
    with pytest.raises(Unavailable):
        nowhere.decode(records_of([encoded(1, FIRST)]))


def test_an_address_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"^the URL of a schema registry begins with http:// or https://$"):
        SchemaRegistry("ftp://user:secret@host")
