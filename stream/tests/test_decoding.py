"""Values are read by the rules that a request's instances obey."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from transformer.tests.world import good_row

from tandem import Bundle
from tandem.errors import RequestError
from tandem_stream.decoding import JsonDecoder


def encoded(**changes: Any) -> bytes:
    return msgspec.json.encode(good_row(**changes))


def rejection(bundle: Bundle, value: bytes | None, **options: Any) -> RequestError:
    decoded = JsonDecoder(bundle.contract, **options).decode_values([encoded(), value, encoded()])
    assert decoded.positions == [0, 2] and len(decoded.rows) == 2
    (error,) = decoded.rejected.values()
    return error


def test_bad_values_are_rejected_among_good_ones(bundle: Bundle) -> None:
    error = rejection(bundle, encoded(parts=99, tariff="noon", customer_id=...))
    assert error.code == "contract_violation"
    assert {(detail["row"], detail["field"], detail["rule"]) for detail in error.details} == {
        (None, "customer_id", "is required"),
        (None, "parts", "must be <= 20"),
        (None, "tariff", "must be one of day, night"),
    }
    assert "row" not in str(error)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "the record has no value"),
        (b"", "the value is not JSON"),
        (b"\xff\xfe", "the value is not JSON"),
        (b"[]", "must be a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (encoded() + encoded(), "the value is not JSON"),
        (encoded().replace(b"2.5", b"NaN"), "weight_kg: NaN is not JSON"),
    ],
)
def test_what_is_no_object_is_malformed(bundle: Bundle, value: bytes | None, message: str) -> None:
    error = rejection(bundle, value)
    assert error.code == "malformed_request" and message in str(error)


@pytest.mark.parametrize("unknown_fields", ["reject", "ignore"])
def test_a_key_given_twice_is_refused(bundle: Bundle, unknown_fields: str) -> None:
    twice = encoded()[:-1] + b',"parts":3}'
    assert rejection(bundle, twice, unknown_fields=unknown_fields).code == "duplicate_key"


def test_whole_floats_are_whole_numbers(bundle: Bundle) -> None:
    (row,) = JsonDecoder(bundle.contract).decode_values([encoded(parts=4.0)]).rows
    assert row.parts == 4  # type: ignore[attr-defined]


def test_other_fields_are_refused_or_ignored(bundle: Bundle) -> None:
    value = encoded(event_id="e1", nested={"a": [1]})
    assert "event_id" in str(rejection(bundle, value))
    decoded = JsonDecoder(bundle.contract, unknown_fields="ignore").decode_values([value])
    assert decoded.positions == [0] and not decoded.rejected
    broken = rejection(bundle, encoded(event_id="e1", parts=99), unknown_fields="ignore")
    assert [detail["field"] for detail in broken.details] == ["parts"]
