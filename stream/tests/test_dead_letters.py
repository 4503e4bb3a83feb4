from __future__ import annotations

import json
from typing import Any

from tandem.errors import ContractViolation, MalformedRequest, Violation
from tandem_stream.dead_letters import DeadLetters

LETTERS = DeadLetters("dead", ("tandem-model", "m-1"), 100_000)


def test_a_record_is_kept_as_it_was_with_the_reason(records_of: Any) -> None:
    records = records_of([b"{}", b"\x00\xff"], headers=[("trace", b"t")])
    error = ContractViolation([Violation(0, "parts", "must be <= 20")])
    letter = LETTERS.letter(records, 1, error)
    assert (letter.topic, letter.key, letter.value) == ("dead", b"k1", b"\x00\xff")
    assert letter.timestamp == records.timestamps[1]
    headers = dict(letter.headers)
    assert headers["trace"] == b"t" and headers["tandem-model"] == "m-1"
    assert headers["tandem-reason"] == "contract_violation"
    assert headers["tandem-source"] == "rides/1/100"
    assert json.loads(headers["tandem-details"] or "") == [{"field": "parts", "rule": "must be <= 20"}]


def test_a_value_that_would_be_too_long_is_left_out(records_of: Any) -> None:
    records = records_of([b"x" * 99_000])
    letter = LETTERS.letter(records, 0, MalformedRequest("no"))
    assert letter.value is None and dict(letter.headers)["tandem-omitted-bytes"] == "99000"
    assert letter.key == b"k0"


def test_half_of_a_surrogate_pair_can_be_named(records_of: Any) -> None:
    error = MalformedRequest("unknown field '\ud800'")
    letter = LETTERS.letter(records_of([b"{}"]), 0, error)
    assert dict(letter.headers)["tandem-message"] == b"unknown field '\\ud800'"
