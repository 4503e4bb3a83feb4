"""Messages in a gRPC stream: each with a prefix that says whether it is compressed, and how long it is.

Source: gRPC's ``PROTOCOL-HTTP2.md`` (Length-Prefixed-Message) and ``compression.md``; ``deflate`` is zlib's format
(RFC 1950) there.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from tandem.errors import RequestError, RequestTooLarge
from tandem.oip import encoding as encodings

PREFIX: Final = 5
"""Bytes before each message."""

ENCODINGS: Final = ("gzip", "deflate")
"""Encodings of compressed messages."""

ACCEPTED: Final = ",".join(("identity", *ENCODINGS))
"""Value of ``grpc-accept-encoding``."""


_PLAIN: Final = struct.Struct(">BI").pack
_LONGEST_COPY: Final = 2**22
_COPY: Final = 2**20


class BadFraming(Exception):
    """What came in a stream is not one message as the protocol frames it."""


REFUSALS: Final = (BadFraming, RequestError)
"""What :func:`unpack` raises."""


def split(content: bytes | bytearray) -> tuple[list[bytes], bytes | bytearray]:
    """Whole messages with their prefixes, and what has come of the next one."""
    messages: list[bytes] = []
    at = 0
    while len(content) - at >= PREFIX and len(content) >= (end := at + _length(content, at)):
        messages.append(bytes(content[at:end]))
        at = end
    return messages, content[at:] if at else content


def announced(content: bytes | bytearray) -> int:
    """How long the message is that has begun to come, as it says; 0 where that is not to be seen yet."""
    return int.from_bytes(content[1:PREFIX], "big") if len(content) >= PREFIX else 0


def takes_long(framed: bytes | bytearray) -> bool:
    """Whether a message with its prefix must not be unpacked on the event loop: it is compressed, or very long."""
    return len(framed) > _LONGEST_COPY or (bool(framed) and framed[0] != 0)


def encoding(headers: Mapping[str, str]) -> str:
    """How the messages of a call with these headers are compressed, those that are."""
    return headers.get("grpc-encoding", "identity")


def unpack(framed: bytes | bytearray, encoding: str, limit: int) -> bytes:
    """The serialised message out of one with its prefix.

    Args:
        framed: Prefix and message.
        encoding: Value of ``grpc-encoding``.
        limit: Longest message, in bytes; what is compressed is unpacked up to it and no further.

    Raises:
        BadFraming: It is not one whole message, or says that it is compressed and not by which method.
        MalformedRequest: It is not in this encoding.
        Overloaded: Too much is being unpacked already.
        RequestTooLarge: It is longer.
    """
    size = len(framed) - PREFIX
    if size < 0 or size != int.from_bytes(framed[1:PREFIX], "big"):
        raise BadFraming("it is not one whole message")
    if size > limit:
        raise too_large(limit)
    if not framed[0]:
        return _content(framed)
    if encoding not in ENCODINGS or framed[0] != 1:
        raise BadFraming("the message is flagged as compressed, but no encoding was announced")
    return encodings.decompress(_content(framed), encoding.encode(), limit)


def pack(content: bytes, encoding: str = "identity") -> bytes:
    """A message with its prefix, compressed where that makes it shorter."""
    if encoding in ENCODINGS:
        compressed = encodings.compress(content, encoding.encode())
        # a message need not be compressed although an encoding is announced (compression.md)
        if len(compressed) < len(content):
            return b"\1" + struct.pack(">I", len(compressed)) + compressed
    return _PLAIN(0, len(content)) + content


def answer_encoding(headers: Mapping[str, str]) -> str:
    """How to compress the answer to a request with these headers: as the request was, if the client takes that back."""
    encoding = headers.get("grpc-encoding", "identity")
    accepted = headers.get("grpc-accept-encoding", "").replace(" ", "").split(",")
    return encoding if encoding in ENCODINGS and encoding in accepted else "identity"


def too_large(limit: int) -> RequestTooLarge:
    """The error for a message that is longer than ``limit`` bytes."""
    return RequestTooLarge(f"the message is larger than {limit} bytes")


def _content(framed: bytes | bytearray) -> bytes:
    """What follows the prefix. To copy many bytes at once would keep the interpreter's lock; to join them does not."""
    if len(framed) <= _LONGEST_COPY:
        return bytes(framed[PREFIX:])
    content = memoryview(framed)[PREFIX:]
    return b"".join([bytes(content[at : at + _COPY]) for at in range(0, len(content), _COPY)])


def _length(content: bytes | bytearray, at: int) -> int:
    return PREFIX + int.from_bytes(content[at + 1 : at + PREFIX], "big")
