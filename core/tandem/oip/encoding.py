"""Content encodings of HTTP bodies: gzip and deflate (RFC 9110, section 8.4.1), bounded when they are read."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from typing import Final

from tandem.errors import MalformedRequest, Overloaded, RequestTooLarge, UnsupportedMedia
from tandem.oip.budgets import Allowance, shared_inflation

MIN_COMPRESSED_BYTES: Final = 1400
"""Shorter answers go out as they are: they fit into one packet."""

FREE_RATIO: Final = 2
"""A content up to this many times as long as its body costs nothing …"""

FREE_BYTES: Final = 2**14
"""… nor do this many bytes more."""

INFLATION: Final = shared_inflation(time.monotonic)
"""What all requests of this process may be inflated to, beyond that."""

_FEED: Final = 2**14
_STEP: Final = 2**16
_STEP_COST: Final = 2**12
_RETRY_AFTER_S: Final = 1.0

_LEVEL: Final = 1
"""Three times as fast as the default level of zlib, for a tenth more bytes of JSON."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


def decompress(body: bytes, encoding: bytes, max_bytes: int, budget: Allowance = INFLATION) -> bytes:
    """The content of a body.

    Never holds more than ``max_bytes`` of content and one step, whatever the body would become. Steps are small, so
    that other threads get their turn. What goes beyond :data:`FREE_RATIO` times the body comes out of a budget that all
    requests share.

    Args:
        body: The whole body, as it was sent.
        encoding: Value of ``Content-Encoding``: ``gzip``, ``deflate`` or ``identity``.
        max_bytes: Longest content.
        budget: Bytes.

    Raises:
        MalformedRequest: if it is damaged or ends too early, or bytes follow it.
        Overloaded: if the budget is used up.
        RequestTooLarge: if the content is longer than ``max_bytes``.
        UnsupportedMedia: if the encoding is another one.
    """
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name in (b"gzip", b"x-gzip"):
        window = _GZIP
    elif name == b"deflate":
        # RFC 9110 means the zlib format; some clients send the bare stream
        window = _ZLIB if body[:1] and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0 else _RAW
    else:
        text = encoding.decode("latin-1")
        raise UnsupportedMedia(
            f"content encoding {text!r} is not supported; send gzip, deflate or none", code="unsupported_encoding"
        )
    if not body:
        raise MalformedRequest(f"the body is empty, which is not valid {name.decode()}")
    parts, size, free = [], 0, FREE_BYTES + FREE_RATIO * len(body)
    try:
        for part in _inflate(body, window):
            size += len(part)
            if size > max_bytes:
                raise RequestTooLarge(f"the body is longer than {max_bytes} bytes when decompressed")
            # a step costs time even where nothing comes out of it, as of many empty members
            free -= max(len(part), _STEP_COST)
            if free < 0:
                if budget.spend(-free):
                    raise Overloaded("too much is being decompressed already", retry_after=_RETRY_AFTER_S)
                free = 0
            parts.append(part)
    except zlib.error as error:
        raise MalformedRequest(f"the body is not valid {name.decode()}: {error}") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inflate(body: bytes, window: int) -> Iterator[bytes]:
    """The content of a body step by step: each is at most :data:`_STEP` bytes, or the end of a stream.

    Raises:
        MalformedRequest: It ends too early, or bytes follow it.
        zlib.error: It is damaged.
    """
    stream = zlib.decompressobj(window)
    for at in range(0, len(body), _FEED):
        rest = body[at : at + _FEED]
        while rest:
            if stream.eof:
                # gzip may have several members (RFC 1952, section 2.2)
                if window != _GZIP:
                    raise MalformedRequest("bytes follow the compressed stream of the body")
                stream = zlib.decompressobj(window)
            yield stream.decompress(rest, _STEP)
            rest = stream.unused_data if stream.eof else stream.unconsumed_tail
    while not stream.eof:
        # the last of what was fed may stand for more than one step
        part = stream.decompress(b"", _STEP)
        if not part and not stream.eof:
            raise MalformedRequest("the body ends before its compressed stream does")
        yield part


def accepted(accept_encoding: bytes) -> bytes | None:
    """The encoding to answer in: ``gzip`` if the client takes it, else ``deflate``; None for neither.

    Args:
        accept_encoding: Value of ``Accept-Encoding`` (RFC 9110, section 12.5.3).
    """
    takes: dict[bytes, bool] = {}
    for item in accept_encoding.lower().split(b","):
        name, _, weight = item.partition(b";")
        quality = weight.replace(b" ", b"").removeprefix(b"q=")
        # a weight of zero, however it is written, means not at all (RFC 9110, section 12.4.2)
        takes[name.strip()] = not (quality and not quality.strip(b"0."))
    return next((name for name in (b"gzip", b"deflate") if takes.get(name, takes.get(b"*", False))), None)


def compress(content: bytes, encoding: bytes) -> bytes:
    """Content in an encoding.

    Args:
        content: What to send.
        encoding: ``gzip`` or ``deflate``.
    """
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP if encoding == b"gzip" else _ZLIB)
    return stream.compress(content) + stream.flush()
