"""The log of every process: one JSON object in each line of standard error.

A line has ``time`` (UTC, RFC 3339 with milliseconds), ``level``, ``logger`` and ``message``, then the fields that the
caller gave as ``extra``, then ``exception`` and ``stack`` where there are any.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""What every record has. All else came in by ``extra``; uvicorn's ``color_message`` is its message with ANSI codes."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. A value that JSON has no form for is written as its ``str``."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "time": time.removesuffix("+00:00") + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        # a field of the caller's that is called like one of ours keeps its value under another name
        entry |= {f"{name}_" if name in entry else name: value for name, value in extra.items()}
        try:
            return msgspec.json.encode(entry, enc_hook=str).decode()
        except (UnicodeEncodeError, TypeError, RecursionError):
            return _encode_any(entry)


def _encode_any(entry: dict[str, Any]) -> str:
    """The line for what msgspec refuses, such as half of a surrogate pair, as in a path that is not UTF-8."""
    try:
        line = json.dumps(entry, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        line = json.dumps({name: str(value) for name, value in entry.items()}, ensure_ascii=False)
    # an escape that stands for half of a pair would be refused by strict parsers: it is shown as text
    return _SURROGATE.sub(lambda match: rf"\\u{ord(match[0]):04x}", line)


def configure(level: int | str = logging.INFO) -> None:
    """Send all logs of this process, and Python's warnings, to standard error as lines of JSON.

    Args:
        level: The lowest level that is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    # force: a handler of a library would write each line a second time
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # logging.captureWarnings would put file, line and source text into the message
    warnings.showwarning = _log_warning


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of Python's, such as one of NumPy's in a transform, as a line of the log instead of plain text."""
    logging.getLogger("warnings").warning(
        "%s: %s", category.__name__, message, extra={"file": filename, "line": lineno}
    )
