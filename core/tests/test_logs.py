from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.logs import JsonFormatter


def formatted(**fields: Any) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": "%s rows", "args": (3,), **fields})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    # strict: bytes that are UTF-8, and no escape of half of a surrogate pair
    return dict(json.loads(line.encode()))


def test_a_line() -> None:
    assert formatted(created=0.25) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "n",
        "message": "3 rows",
    }


@pytest.mark.parametrize(
    ("created", "time"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.0004, "2023-11-14T22:13:20.000Z"),
        (1_719_792_000.999, "2024-07-01T00:00:00.999Z"),
    ],
)
def test_times_are_utc_with_milliseconds_wherever_the_process_runs(created: float, time: str) -> None:
    program = (
        "import logging, sys\n"
        "from tandem.logs import JsonFormatter\n"
        f"print(JsonFormatter().format(logging.makeLogRecord({{'created': {created}}})))\n"
    )
    environment = {"TZ": "Asia/Kathmandu", "PATH": ""}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout)["time"] == time


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
def test_levels(level: str) -> None:
    assert formatted(levelname=level)["level"] == level.lower()


def test_every_field_of_the_caller_is_kept() -> None:
    entry = formatted(request_id="r1", status=503, took_s=0.5, nothing=None, rows=[1, 2], of={"a": True})
    assert entry.items() >= {"request_id": "r1", "status": 503, "took_s": 0.5, "nothing": None}.items()
    assert (entry["rows"], entry["of"]) == ([1, 2], {"a": True})


def test_a_field_that_is_called_like_one_of_ours_replaces_nothing() -> None:
    entry = formatted(created=0.0, time="noon", level=5, logger="other")
    assert (entry["time"], entry["level"], entry["logger"]) == ("1970-01-01T00:00:00.000Z", "info", "n")
    assert (entry["time_"], entry["level_"], entry["logger_"]) == ("noon", 5, "other")


def test_colors_of_uvicorn_are_left_out() -> None:
    assert "color_message" not in formatted(color_message="\x1b[1mready\x1b[0m")


def test_values_that_json_does_not_know_become_text() -> None:
    entry = formatted(why=ValueError("no"), at=complex(0, 1), of={(1, 2): "x"})
    assert (entry["why"], entry["at"], entry["of"]) == ("no", "1j", {"(1, 2)": "x"})


def test_half_of_a_surrogate_pair_is_shown_as_text() -> None:
    entry = formatted(path="lone \ud800", whole="\N{GRINNING FACE}", rows=["\udcff"], status=503)
    assert (entry["path"], entry["rows"]) == ("lone \\ud800", ["\\udcff"])
    assert (entry["whole"], entry["status"]) == ("\N{GRINNING FACE}", 503)


def test_what_contains_itself_is_a_line_all_the_same() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert formatted(rows=endless, status=503)["rows"] == "[[...]]"


def test_an_exception_with_its_lines() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        entry = formatted(exc_info=sys.exc_info())
    assert entry["exception"].startswith("Traceback") and "ValueError: two\nlines" in entry["exception"]


def test_a_stack() -> None:
    assert formatted(stack_info="Stack:\n  here")["stack"] == "Stack:\n  here"


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
    max_leaves=8,
)


@given(st.text(st.characters()), _values)
def test_everything_is_one_line_of_json_with_its_fields(message: str, value: object) -> None:
    entry = formatted(msg=message, args=(), given=value)
    assert set(entry) == {"time", "level", "logger", "message", "given"}
    if message.isascii():
        assert entry["message"] == message


PROGRAM = """
import logging, sys
import numpy as np
from tandem.logs import configure
configure({level!r})
configure({level!r})
np.array([1.0]) / np.array([0.0])
np.log(np.array([-1.0]))
logging.getLogger("a").debug("one")
logging.getLogger("a").info("two", extra={{"rows": 2}})
"""


def run(level: str) -> list[dict[str, Any]]:
    program = [sys.executable, "-c", PROGRAM.format(level=level)]
    result = subprocess.run(program, capture_output=True, text=True, check=True)
    assert result.stdout == ""
    return [json.loads(line) for line in result.stderr.splitlines()]


def test_warnings_of_python_are_lines_of_the_log_and_come_once() -> None:
    first, second, _ = run("INFO")
    assert [line["message"].partition(" encountered")[0] for line in (first, second)] == [
        "RuntimeWarning: divide by zero",
        "RuntimeWarning: invalid value",
    ]
    assert {(line["level"], line["logger"]) for line in (first, second)} == {("warning", "warnings")}
    assert (first["file"], first["line"]) == ("<string>", 7)


@pytest.mark.parametrize(("level", "messages"), [("DEBUG", ["one", "two"]), ("INFO", ["two"]), ("ERROR", [])])
def test_what_is_below_the_level_is_not_written(level: str, messages: list[str]) -> None:
    assert [line["message"] for line in run(level) if line["logger"] == "a"] == messages
