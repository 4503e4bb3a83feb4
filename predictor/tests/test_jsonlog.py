from __future__ import annotations

import json
import logging
import subprocess
import sys

from tandem_predictor.jsonlog import JsonFormatter


def test_one_line_of_json() -> None:
    record = logging.LogRecord("name", logging.WARNING, "file", 1, "loaded %s", ("m",), None)
    record.created, record.msecs = 0.25, 250
    record.model = "m\n"
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "warning",
        "logger": "name",
        "message": "loaded m",
        "model": "m\n",
    }


def test_exception() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.LogRecord("name", logging.ERROR, "file", 1, "failed", (), sys.exc_info())
    assert "ValueError: why" in json.loads(JsonFormatter().format(record))["exception"]


def test_warnings_of_numpy_are_lines_of_json() -> None:
    program = (
        "import numpy as np\n"
        "from tandem_predictor.jsonlog import configure\n"
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
