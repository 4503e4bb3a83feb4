"""Heads of HTTP/1 requests: how long they are, what they announce, and what is offered in them.

A client may offer another protocol with any request (RFC 9110, section 7.8), as the HTTP clients of Java and Spring and
``curl --http2`` do with their first one. A server that does not take the offer answers the request as it is. The parser
stops at the end of such a head, and what follows would be read as another request although it is the body of this one.
So the head is parsed once more without the offer, by a parser that then reads the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tandem.errors import HeadTooLarge
from tandem.oip.uploads import MAX_HEAD_BYTES

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, and values."""

_OFFER: Final = frozenset((b"upgrade", b"http2-settings"))


def head_bytes(url: bytes, headers: Headers) -> int:
    """How long a head is, as :data:`~tandem.oip.uploads.MAX_HEAD_BYTES` counts."""
    return len(url) + sum(len(name) + len(value) for name, value in headers)


def head_too_large() -> HeadTooLarge:
    """The error for a head that is longer than allowed."""
    return HeadTooLarge(f"the request line and headers are longer than {MAX_HEAD_BYTES} bytes")


def content_length(headers: Headers) -> int:
    """How long the body will be, 0 where the head does not say."""
    # the parser has refused a head whose length is no number
    return int(dict(headers).get(b"content-length", 0))


def without_offer(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """A head without the protocol that it offers.

    Args:
        method: Of the request.
        url: As it was sent.
        version: ``1.0`` or ``1.1``.
        headers: All of them.
    """
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in headers:
        # what is named there concerns this hop only, so an offer that is gone must not be named (RFC 9110, section
        # 7.6.1)
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            value = b", ".join(option for option in options if option.lower() not in _OFFER)
        if name not in _OFFER:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join((*lines, b"", b""))
