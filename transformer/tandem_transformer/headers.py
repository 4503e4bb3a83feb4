"""What the headers of a predict request say."""

from __future__ import annotations

import itertools
import secrets

from tandem.errors import MalformedRequest
from tandem.oip.rest import TIMEOUT_KEY
from tandem_transformer.config import TransformerConfig

Headers = dict[bytes, bytes]
"""Headers by lower-case name."""

PRIORITY_KEY = b"x-priority"
"""Header with the priority of a request: ``low``, or anything else for high."""

HeaderList = list[tuple[bytes, bytes]]

# Request ids of our own: a random start for each process, then a number.
_id_start = secrets.token_hex(6).encode()
_id_numbers = itertools.count(1)


def timeout_of(headers: Headers) -> float | None:
    """Seconds that the client's side will wait; None if it does not say."""
    text = headers.get(TIMEOUT_KEY)
    if text is None:
        return None
    if not is_number(text):
        raise MalformedRequest(f"{TIMEOUT_KEY.decode()} must be a number of milliseconds")
    return int(text) / 1000


def request_id_of(headers: Headers) -> bytes:
    """The client's id of its request, or a new one."""
    return headers.get(b"x-request-id") or b"%s-%x" % (_id_start, next(_id_numbers))


def explains(config: TransformerConfig, headers: Headers) -> bool:
    """Whether vectors are asked for and may be shown."""
    return config.explain and headers.get(b"x-explain") == b"vector"


def media_type(content_type: bytes) -> bytes:
    """A content type without its parameters."""
    return content_type.partition(b";")[0].strip().lower()


def is_number(text: bytes) -> bool:
    """Whether it is a natural number of a sensible length: Python refuses to read one of thousands of digits."""
    return text.isdigit() and len(text) < 20
