"""Header blocks of the answers to gRPC calls.

Source: gRPC's ``PROTOCOL-HTTP2.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from tandem.errors import RequestError
from tandem.oip import grpc_messages
from tandem.oip.header_blocks import NO_TABLE, indexed, literal

_STATUS: Final[Mapping[str, int]] = {
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "RESOURCE_EXHAUSTED": 8,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}

# Header blocks; 0x88 is ":status: 200" and 31 the name "content-type" of HPACK's static table.
HEAD: Final = NO_TABLE + b"\x88" + indexed(31, "application/grpc")
ACCEPTED: Final = literal("grpc-accept-encoding", grpc_messages.ACCEPTED)
HEADS: Final[Mapping[str, bytes]] = {
    "identity": HEAD,
    **{name: HEAD + literal("grpc-encoding", name) + ACCEPTED for name in grpc_messages.ENCODINGS},
}
OK: Final = literal("grpc-status", "0")
# a gRPC status comes with 200, which other clients would take for success (PROTOCOL-HTTP2.md, Content-Type)
NOT_GRPC: Final = NO_TABLE + indexed(8, "415")
LONG_HEADERS: Final = NO_TABLE + indexed(8, "431")

# at most eight digits (PROTOCOL-HTTP2.md, TimeoutValue)
_TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# all else is sent as %XX (PROTOCOL-HTTP2.md, Status-Message)
_PRINTABLE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_LONGEST_MESSAGE: Final = 2000  # clients take some kilobytes of headers, no more


def status(status: str, message: str) -> bytes:
    """Trailers of a refusal."""
    text = quote(message[:_LONGEST_MESSAGE], safe=_PRINTABLE)
    return literal("grpc-status", str(_STATUS[status])) + literal("grpc-message", text)


def refusal(error: RequestError) -> bytes:
    """Trailers of an error, with its code, and when to try again (gRPC's proposal A6, "Pushback")."""
    trailers = status(error.grpc_status, str(error)) + literal("tandem-error-code", error.code)
    if error.retry_after is not None:
        trailers += literal("grpc-retry-pushback-ms", str(round(error.retry_after * 1000)))
    return trailers


@lru_cache
def timeout_of(text: str) -> float | None:
    """Seconds that a ``grpc-timeout`` gives; None if it is not valid."""
    parsed = _TIMEOUT.fullmatch(text)
    return int(parsed[1]) * _UNITS[parsed[2]] if parsed else None
