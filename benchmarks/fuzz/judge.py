"""Which answers are documented: those of ``docs/errors.md``, and what HTTP and gRPC say by themselves."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grpc import StatusCode

ERRORS: Final = Path(__file__).parents[2] / "docs" / "errors.md"

_PROTOCOL: Final = frozenset({"1", "4", "8", "12", "13"})
"""What gRPC itself answers (its ``statuscodes.md``): cancelled, late, too large, no such method, or badly framed."""

_HTTP2_STATUS: Final = frozenset({"400", "404", "405", "413", "415", "431"})
_LAST_HTTP2_CODE: Final = 13
_HTTP2_INTERNAL: Final = 2

FAULTS: Final = frozenset(
    {
        *("internal_error", "predictor_refused", "predictor_unavailable", "predictor_mismatch"),
        *("prediction_log_unavailable", "prediction_log_off"),
    }
)
"""Documented, but not for what a client sends: they say that something is wrong with a server, or with its settings."""


@dataclass(frozen=True)
class Judge:
    """Judges the answers of one server.

    Attributes:
        codes: By the code of an error: its statuses over HTTP, and over gRPC.
    """

    codes: Mapping[str, tuple[str, str]]

    def http(self, status: int, headers: Mapping[str, str], body: bytes, *, headless: bool) -> str:
        """What is wrong with an answer over HTTP/1; empty if nothing is.

        Args:
            status: Of the answer.
            headers: By name, in lower case.
            body: As it was sent.
            headless: Whether it answers HEAD, and so has no body.
        """
        if status == 200:
            return _json_fault(headers, body) if not headless else ""
        if not 400 <= status < 600:
            return f"status {status}"
        if headless:
            return "" if any(str(status) == number for number, _ in self.codes.values()) else f"status {status}"
        try:
            error = json.loads(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
            code, text = error["code"], error["error"]
        except (OSError, ValueError, KeyError, TypeError):
            return f"status {status} without a code"
        if not isinstance(text, str) or not text:
            return f"{code}: without a message"
        if code not in self.codes or self.codes[code][0] != str(status):
            return f"status {status} with code {code}"
        if status in (429, 503) and "retry-after" not in headers:
            return f"status {status} without Retry-After"
        return code if code in FAULTS else ""

    def grpc(self, headers: Mapping[str, str]) -> str:
        """What is wrong with the headers and trailers of an answer over HTTP/2; empty if nothing is."""
        http_status = headers.get(":status")
        if http_status != "200":
            return "" if http_status in _HTTP2_STATUS else f"HTTP status {http_status}"
        status, code = headers.get("grpc-status"), headers.get("tandem-error-code")
        if code is None:
            return "" if status == "0" or status in _PROTOCOL else f"grpc-status {status} without a code"
        if code not in self.codes or self.codes[code][1] != status:
            return f"grpc-status {status} with code {code}"
        return code if code in FAULTS else ""

    def reset(self, code: int) -> str:
        """What is wrong with the end of a stream or a connection by a code of RFC 9113, section 7."""
        if code == _HTTP2_INTERNAL:
            return "HTTP/2 INTERNAL_ERROR"
        return "" if 0 <= code <= _LAST_HTTP2_CODE else f"HTTP/2 code {code}"


def documented(server: str) -> Judge:
    """The judge of a server, by the name that its chapter of the documentation has."""
    chapter = ERRORS.read_text().split(f"## Codes of the {server}")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\w+) \|", chapter, re.MULTILINE)
    return Judge({code: (status, str(StatusCode[name].value[0])) for code, status, name in rows})


def _json_fault(headers: Mapping[str, str], body: bytes) -> str:
    if headers.get("content-type") != "application/json" or "content-encoding" in headers:
        return ""
    try:
        json.loads(body, parse_constant=_refuse)
    except ValueError:
        return "status 200 with a body that is not JSON"
    return ""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
