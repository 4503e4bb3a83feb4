from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from transformer.tests.world import good_row

from tandem import Bundle
from tandem_stream.cloudevents import CloudEventDecoder, event_headers, is_attribute
from tandem_stream.decoding import JsonDecoder

DATA = msgspec.json.encode(good_row())
ATTRIBUTES = {"specversion": "1.0", "id": "e1", "source": "/watch", "type": "ride"}
BINARY = [(f"ce_{name}", value.encode()) for name, value in ATTRIBUTES.items()]
STRUCTURED = [("Content-Type", b"application/cloudevents+json; charset=utf-8")]


@pytest.fixture
def decoder(bundle: Bundle) -> CloudEventDecoder:
    return CloudEventDecoder(JsonDecoder(bundle.contract))


def test_events_in_both_modes_are_read(decoder: CloudEventDecoder, records_of: Any) -> None:
    inline = msgspec.json.encode(ATTRIBUTES | {"data": msgspec.Raw(DATA)})
    packed = msgspec.json.encode(ATTRIBUTES | {"data_base64": base64.b64encode(DATA).decode()})
    in_binary_mode = decoder.decode(records_of([DATA], BINARY))
    in_structured_mode = decoder.decode(records_of([inline, packed], STRUCTURED))
    assert not in_binary_mode.rejected and not in_structured_mode.rejected
    assert in_binary_mode.rows * 2 == in_structured_mode.rows


@pytest.mark.parametrize(
    ("value", "headers", "message"),
    [
        (DATA, [], "no header ce_specversion"),
        (DATA, BINARY[1:], "no header ce_specversion"),
        (DATA, [("ce_specversion", b"0.3"), *BINARY[1:]], "specversion '0.3'"),
        (DATA, BINARY[:-1], "no header ce_type"),
        (None, BINARY, "no data"),
        (b"{}", STRUCTURED, "not a CloudEvent"),
        (msgspec.json.encode(ATTRIBUTES), STRUCTURED, "no data"),
        (msgspec.json.encode(ATTRIBUTES | {"data_base64": "?"}), STRUCTURED, "data_base64"),
    ],
)
def test_what_is_no_event_is_malformed(
    decoder: CloudEventDecoder, records_of: Any, value: bytes | None, headers: Any, message: str
) -> None:
    decoded = decoder.decode(records_of([value], headers))
    assert decoded.rejected[0].code == "malformed_request" and message in str(decoded.rejected[0])


def test_positions_are_those_of_the_records(decoder: CloudEventDecoder, records_of: Any) -> None:
    decoded = decoder.decode(records_of([None, DATA, b"{}", DATA], BINARY))
    assert decoded.positions == [1, 3]
    assert {position: error.code for position, error in decoded.rejected.items()} == {
        0: "malformed_request",
        2: "contract_violation",
    }


def test_an_event_that_is_made_again_has_the_same_id() -> None:
    headers = dict(event_headers("rides/0/7", "/models/m/versions/v1", None))
    assert headers["ce_id"] == "rides/0/7" and "ce_time" not in headers
    assert all(map(is_attribute, headers))
    assert not is_attribute("traceparent")
