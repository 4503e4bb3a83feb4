from __future__ import annotations

import json
import logging
import subprocess
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


def test_warnings_of_numpy_are_lines_of_json() -> None:
    program = (
        "import numpy as np\n"
        "from tandem_transformer.logs import configure\n"
        "configure()\n"
        "np.array([1.0]) / np.array([0.0])\n"
        "np.log(np.array([-1.0]))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert [line["message"].partition(" encountered")[0] for line in lines] == [
        "RuntimeWarning: divide by zero",
        "RuntimeWarning: invalid value",
    ]
    assert {(line["level"], line["logger"]) for line in lines} == {("warning", "warnings")}
    assert lines[0]["line"] == 4
