"""CloudEvents 1.0 on Kafka, with the fields of the contract as JSON data.

In binary mode the attributes are headers ``ce_…`` and the value is the data. In structured mode the header
``content-type`` is ``application/cloudevents+json``, and the value has attributes and data.

Source: CloudEvents, ``kafka-protocol-binding.md`` and ``json-format.md``, version 1.0.2.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from tandem.errors import MalformedRequest
from tandem_stream.decoding import DecodedRows, JsonDecoder
from tandem_stream.records import Header, Records

ATTRIBUTE_PREFIX: Final = "ce_"
"""What the headers of attributes begin with in binary mode."""

PREDICTION_TYPE: Final = "io.tandem-serving.prediction"
"""Attribute ``type`` of the events that are written."""

_STRUCTURED: Final = b"application/cloudevents+json"
_VERSION: Final = "1.0"
_REQUIRED: Final = ("id", "source", "type")


class _Envelope(msgspec.Struct):
    """An event in structured mode, as far as it is read."""

    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


class CloudEventDecoder:
    """Reads CloudEvents whose data are JSON objects with the fields of the contract.

    Args:
        rows: Reads the data.
    """

    def __init__(self, rows: JsonDecoder) -> None:
        self._rows = rows
        self._envelope = msgspec.json.Decoder(_Envelope).decode

    def decode(self, records: Records) -> DecodedRows:
        """Rows of all records that can be decoded, and the reasons why others cannot."""
        data: list[bytes] = []
        positions: list[int] = []
        decoded = DecodedRows()
        for position, (value, headers) in enumerate(zip(records.values, records.headers, strict=True)):
            try:
                data.append(self._data(value, headers))
                positions.append(position)
            except MalformedRequest as error:
                decoded.rejected[position] = error
        inner = self._rows.decode_values(data)
        decoded.rows = inner.rows
        decoded.positions = [positions[index] for index in inner.positions]
        decoded.rejected |= {positions[index]: error for index, error in inner.rejected.items()}
        return decoded

    def _data(self, value: bytes | None, headers: Sequence[Header]) -> bytes:
        if value is None:
            raise MalformedRequest("the event has no data")
        named = {name.lower(): content for name, content in headers}
        content_type = named.get("content-type") or b""
        if isinstance(content_type, str):
            content_type = content_type.encode()
        if content_type.partition(b";")[0].strip().lower() == _STRUCTURED:
            return self._unwrap(value)
        _check_attributes(named)
        return value

    def _unwrap(self, value: bytes) -> bytes:
        try:
            envelope = self._envelope(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedRequest(f"the value is not a CloudEvent: {error}") from None
        _check_version(envelope.specversion)
        if envelope.data_base64 is None:
            if not envelope.data:
                raise MalformedRequest("the event has no data")
            return bytes(envelope.data)
        try:
            return binascii.a2b_base64(envelope.data_base64, strict_mode=True)
        except binascii.Error as error:
            raise MalformedRequest(f"data_base64 of the event cannot be read: {error}") from None


def event_headers(place: str, source: str, time: str | None) -> list[Header]:
    """Headers of an event in binary mode.

    Args:
        place: Where the record is that it was made of: the attribute ``id``, the same however often it is made.
        source: The attribute ``source``.
        time: The attribute ``time``, RFC 3339.
    """
    attributes = {"specversion": _VERSION, "id": place, "source": source, "type": PREDICTION_TYPE}
    if time is not None:
        attributes["time"] = time
    headers: list[Header] = [(ATTRIBUTE_PREFIX + name, value) for name, value in attributes.items()]
    return [*headers, ("content-type", "application/json")]


def is_attribute(name: str) -> bool:
    """Whether a header belongs to the event that it came with, and not to what is made of it."""
    return name.lower().startswith(ATTRIBUTE_PREFIX) or name.lower() == "content-type"


def _check_attributes(headers: Mapping[str, str | bytes | None]) -> None:
    version = headers.get(ATTRIBUTE_PREFIX + "specversion")
    if version is None:
        raise MalformedRequest("the record is not a CloudEvent: it has no header ce_specversion")
    _check_version(version.decode(errors="replace") if isinstance(version, bytes) else version)
    if missing := [name for name in _REQUIRED if not headers.get(ATTRIBUTE_PREFIX + name)]:
        raise MalformedRequest(f"the event has no header {ATTRIBUTE_PREFIX}{missing[0]}")


def _check_version(version: str) -> None:
    if version != _VERSION:
        raise MalformedRequest(f"the event has specversion {version!r}; {_VERSION} is read")
