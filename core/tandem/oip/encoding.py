"""Content encodings of HTTP bodies: gzip and deflate (RFC 9110, section 8.4.1), bounded when they are read."""

from __future__ import annotations

import zlib
from typing import Final

from tandem.errors import MalformedRequest, RequestTooLarge, UnsupportedMedia

MIN_COMPRESSED_BYTES: Final = 1400
"""Shorter answers go out as they are: they fit into one packet."""

_LEVEL: Final = 1
"""Three times as fast as the default level of zlib, for a tenth more bytes of JSON."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


def decompress(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """The content of a body.

    Never holds more than ``max_bytes`` of content, whatever the body would become.

    Args:
        body: The whole body, as it was sent.
        encoding: Value of ``Content-Encoding``: ``gzip``, ``deflate`` or ``identity``.
        max_bytes: Longest content.

    Raises:
        MalformedRequest: if it is damaged or ends too early, or bytes follow it.
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
    parts, size, rest = [], 0, body
    while rest:
        stream = zlib.decompressobj(window)
        try:
            part = stream.decompress(rest, max_bytes - size + 1)
        except zlib.error as error:
            raise MalformedRequest(f"the body is not valid {name.decode()}: {error}") from None
        size += len(part)
        if size > max_bytes:
            raise RequestTooLarge(f"the body is longer than {max_bytes} bytes when decompressed")
        if not stream.eof:
            raise MalformedRequest(f"the body ends before its {name.decode()} stream does")
        parts.append(part)
        rest = stream.unused_data
        # gzip may have several members (RFC 1952, section 2.2)
        if rest and window != _GZIP:
            raise MalformedRequest(f"{len(rest)} bytes follow the {name.decode()} stream of the body")
    if not parts:
        raise MalformedRequest(f"the body is empty, which is not valid {name.decode()}")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def accepted(accept_encoding: bytes) -> bytes | None:
    """The encoding to answer in: ``gzip`` if the client takes it, else ``deflate``; None for neither.

    Args:
        accept_encoding: Value of ``Accept-Encoding`` (RFC 9110, section 12.5.3).
    """
    takes: dict[bytes, bool] = {}
    for item in accept_encoding.lower().split(b","):
        name, _, weight = item.partition(b";")
        quality = weight.replace(b" ", b"").removeprefix(b"q=")
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
