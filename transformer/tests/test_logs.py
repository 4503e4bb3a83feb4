from __future__ import annotations

import json
import logging
import sys

from tandem_transformer.logs import JsonFormatter


def formatted(**changes: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": "%s rows", "args": (3,), **changes})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    return dict(json.loads(line))


def test_a_line() -> None:
    entry = formatted(created=0.25)
    assert entry == {"time": "1970-01-01T00:00:00.250+00:00", "level": "info", "logger": "n", "message": "3 rows"}


def test_extra_keys() -> None:
    assert formatted(request_id="r1", status=503)["request_id"] == "r1"


def test_values_that_json_does_not_know_become_text() -> None:
    assert formatted(what={1, 2}, why=ValueError("no"))["why"] == "no"


def test_text_that_no_encoding_has() -> None:
    assert "lone" in str(formatted(request_id="lone \ud800")["request_id"])


def test_exceptions() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        entry = formatted(exc_info=sys.exc_info())
    assert "ValueError: two\nlines" in str(entry["exception"])
