"""Serialised requests out of messages with their prefix; a call whose message is invalid ends."""

from __future__ import annotations

from tandem.errors import RequestError
from tandem.oip import grpc_headers, grpc_messages
from tandem.oip.grpc_calls import Calls
from tandem.oip.http2_stream import Http2Stream


def unpack_or_refuse(calls: Calls, stream: Http2Stream, framed: bytes | bytearray, limit: int) -> bytes | None:
    """A serialised request; None if its call was ended with an error.

    Args:
        calls: The calls of the connection.
        stream: Of the call.
        framed: The request with its prefix.
        limit: Longest request, in bytes.
    """
    try:
        return grpc_messages.unpack(framed, grpc_messages.encoding(stream.headers), limit)
    except grpc_messages.REFUSALS as error:
        refuse_message(calls, stream, error)
    return None


def refuse_message(calls: Calls, stream: Http2Stream, error: Exception) -> None:
    """End a call whose request could not be unpacked.

    Args:
        calls: The calls of the connection.
        stream: Of the call.
        error: One of :data:`~tandem.oip.grpc_messages.REFUSALS`.
    """
    if isinstance(error, RequestError):
        calls.refuse(stream, error)
    else:
        # the code that gRPC demands where a message is flagged as compressed without an encoding (compression.md)
        calls.end(stream, grpc_headers.status("INTERNAL", str(error)))
