"""Requests that are complete, and whose client takes nothing of an answer: they are not answered before it does."""

from __future__ import annotations

from collections.abc import Iterator

from tandem.oip.http2_sender import Sender
from tandem.oip.http2_stream import Http2Stream


class DeferredRequests:
    """Those of one connection.

    Args:
        streams: Streams of the connection that are not over, by number.
        sender: Says whether the client takes something of an answer.
    """

    def __init__(self, streams: dict[int, Http2Stream], sender: Sender) -> None:
        self._streams = streams
        self._sender = sender
        self._deferred: dict[int, Http2Stream] = {}

    def __contains__(self, number: object) -> bool:
        return number in self._deferred

    def add(self, stream: Http2Stream) -> None:
        """Defer a request."""
        self._deferred[stream.number] = stream

    def clear(self) -> None:
        """Forget all: the connection is over."""
        self._deferred.clear()

    def candidates(self, number: int) -> list[int]:
        """Streams that may be answered after the client has made room.

        Args:
            number: The stream that there is room for; 0 for the whole connection.
        """
        if number:
            return [number] if number in self._deferred else []
        return list(self._deferred)

    def release(self, numbers: list[int]) -> Iterator[Http2Stream]:
        """Take those out whose client takes answers now; streams that are over are forgotten.

        Args:
            numbers: From :meth:`candidates`.
        """
        for number in numbers:
            stream = self._deferred[number]
            if number not in self._streams:
                del self._deferred[number]
            elif self._sender.takes(stream):
                del self._deferred[number]
                yield stream
