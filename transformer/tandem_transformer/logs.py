"""Logs: one JSON object per line on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object; what was given as ``extra`` becomes keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(entry, enc_hook=str).decode()
        except UnicodeEncodeError:  # half of a surrogate pair, as in a path that is not UTF-8
            return json.dumps(entry, default=str)


def configure(level: str = "INFO") -> None:
    """Send all logs of the process to standard error in JSON."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own lines are no JSON; what matters it raises
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True
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
