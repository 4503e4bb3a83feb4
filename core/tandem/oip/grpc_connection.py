"""A connection that answers gRPC calls over HTTP/2: unary ones, and those that stream either way.

    grpc_dispatch         from a request to the method that answers it     Dispatcher
    grpc_conversations    calls that stream                                Conversations
    grpc_calls            calls under way, and how they end                Calls
    budgets               what a client may cost, and what it may hold     Overhead, Backlog
    grpc_metering         pauses for what a client costs                   MeteredConnection
    grpc_deferred         requests whose client takes no answer yet        DeferredRequests
    http2_connection      HTTP/2                                           Http2Connection

What belongs to the connection as a whole is here: its beginning and end, and what a client leaves lying on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from tandem.errors import UploadTimeout
from tandem.oip import grpc_headers, http2
from tandem.oip.budgets import (
    RESET_COST,
    SEGMENT_COST,
    SHORT_DATA,
    STREAMS_PER_UNIT,
    Allowance,
    Backlog,
    headers_cost,
)
from tandem.oip.grpc_calls import Calls
from tandem.oip.grpc_deferred import DeferredRequests
from tandem.oip.grpc_dispatch import Dispatcher
from tandem.oip.grpc_metering import MeteredConnection
from tandem.oip.grpc_methods import Method, StreamHandler
from tandem.oip.http2_stream import Http2Stream

logger = logging.getLogger(__name__)

MAX_STREAMS: Final = 1000
"""Calls that one connection may have under way."""

CALLS_PER_TURN: Final = 64
"""Calls that one connection may begin in one turn of the event loop: others have theirs in between."""

# one thread unpacks for all connections: more of one client would only make the others wait
_MOST_UNPACKING: Final = 16
_UNPACKING_S: Final = 0.005
# a client that does not answer pings must not keep the server from stopping
_SETTLED_S: Final = 1.0
# the server looks six times in the time that a client has to send a request or to take an answer
_LOOKS_WAITED: Final = 6
# ten times as long: a conversation may rest between two requests
_LOOKS_IDLE_STREAM: Final = 60


class ServingConnection(MeteredConnection):
    """One client's connection.

    Args:
        methods: What answers unary calls, by the full path of the method.
        streams: What answers other calls, by the full path of the method.
        backlog: Shared by all connections.
        overhead: From :func:`~tandem.oip.budgets.shared_overhead`, likewise.
        closed: Called when the connection is over.

    Attributes:
        quiet_checks: How many checks in a row have seen no frame.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        streams: Mapping[str, StreamHandler],
        backlog: Backlog,
        overhead: Allowance,
        closed: Callable[[ServingConnection], object],
    ) -> None:
        super().__init__(overhead, settings=[(http2.MAX_STREAMS, MAX_STREAMS)])
        self._closed = closed
        self._calls = Calls(self.streams, self.sender, backlog)
        self._dispatcher = Dispatcher(methods, streams, self._calls, self.sender, backlog, self._overhead)
        self._preface: bytes | None = b""
        self._draining = False
        self._frames_seen = self._begun = 0
        self._deferred = DeferredRequests(self.streams, self.sender)
        self.quiet_checks = 0

    # what a server does with it

    def drain(self) -> None:
        """Take no new calls, and close once those under way are answered.

        A client learns of it by the answer to its next packet at the earliest; so calls go on being taken until it has
        answered a ping that was sent after the news.
        """
        self._draining = True
        # a client that has not greeted has no call to lose
        if self._preface is not None:
            self.close()
            return
        # the highest number, so no call on its way is lost; the last follows once all are answered (RFC 9113, 6.8)
        farewell = http2.goaway(http2.LARGEST_STREAM, http2.NO_ERROR)
        self.sender.write(farewell + http2.frame(http2.PING, 0, 0, b"\0" * 8))
        self._loop.call_later(_SETTLED_S, self.pinged_back)

    def check(self, idle_checks: int) -> None:
        """Give up what a client has left lying. To be called every few seconds.

        Args:
            idle_checks: An idle connection is closed when so many checks have seen it idle.
        """
        self.quiet_checks = self.quiet_checks + 1 if self.reader.count == self._frames_seen else 0
        self._frames_seen = self.reader.count
        # a connection that is closing waits for its client too, which may never read the rest
        is_awaited = self.reader.within_frame or self._preface is not None or not self.connected
        waits = self.quiet_checks if is_awaited else 0
        # counted by itself: a header block of empty fragments that never ends is never quiet
        if self.reader.block is not None:
            self.reader.block.waits += 1
            waits = max(waits, self.reader.block.waits)
        if waits > _LOOKS_WAITED:
            self.abort()
            return
        for stream in list(self.streams.values()):
            # a deferred request has ended, but its client makes no room for the answer
            if stream.left or not stream.ended or stream.number in self._deferred:
                stream.waits += 1
                is_conversing = not stream.left and self._calls.requests(stream) is not None
                if stream.waits > (_LOOKS_IDLE_STREAM if is_conversing else _LOOKS_WAITED):
                    self._calls.drop(stream, UploadTimeout("the request did not arrive in time"))
        if not self.streams and self.quiet_checks >= idle_checks:
            self.retire()

    def retire(self) -> None:
        """Close an idle connection; its client may open another."""
        self.sender.write(http2.goaway(self._calls.last, http2.NO_ERROR))
        self.sender.end()

    # what asyncio calls

    def data_received(self, data: bytes) -> None:
        """Take what has come; the first of it must be the preface."""
        if not self.connected:
            return
        if self._preface is not None:
            data = self._preface + data
            if not http2.PREFACE.startswith(data[: len(http2.PREFACE)]):
                self.abort()
                return
            if len(data) < len(http2.PREFACE):
                self._preface = data
                return
            self._preface, data = None, data[len(http2.PREFACE) :]
        self._begun = 0
        # what a thread could not unpack is paid for here: only what is read can be paused
        if self._dispatcher.unpaid:
            cost, self._dispatcher.unpaid = self._dispatcher.unpaid, 0
            self.spend(cost)
        super().data_received(data)
        # a frame that comes byte by byte costs a turn of the event loop for each
        if 0 < len(data) < SHORT_DATA and self.reader.within_frame and not self.reader.paused:
            self.spend(SEGMENT_COST)

    # what happens on it

    def is_idle(self, number: int) -> bool:
        """Whether a stream has not been opened yet."""
        # a server opens no streams here, and those of clients have odd numbers (RFC 9113, section 5.1.1)
        return number > self._calls.last or number % 2 == 0

    def opened(self, number: int, headers: dict[str, str], size: int) -> Http2Stream | None:
        """A new call, or the client's trailers of one under way."""
        if number in self.streams:
            return self.streams[number]
        if number % 2 == 0:
            raise http2.ProtocolError(f"stream {number} is not a client's to open")
        # frames for a stream that is over may have crossed its end on their way (RFC 9113, section 5.1)
        if number <= self._calls.last:
            self.spend()
            return None
        # a client may not have read the limit yet; a refused stream may safely be sent again (RFC 9113, section 8.7)
        if len(self.streams) >= MAX_STREAMS:
            self._calls.last = number
            self.sender.write(http2.reset(number, http2.REFUSED_STREAM))
            self.spend(RESET_COST)
            return None
        # other connections have their turn before this one begins further calls
        self._begun += 1
        if self._dispatcher.unpacking >= _MOST_UNPACKING:
            self.pause(_UNPACKING_S)
        elif self._begun == CALLS_PER_TURN:
            self.pause(0.0)
        return self._calls.open(number, headers, headers_cost(size))

    def refused(self, number: int, size: int) -> None:
        """Headers that are too long are the fault of one call only: others may share the connection."""
        if stream := self.streams.get(number):
            self.violated(stream, http2.ENHANCE_YOUR_CALM)
        elif (stream := self.opened(number, {}, size)) is not None:
            self._calls.reject(stream, grpc_headers.LONG_HEADERS)

    def violated(self, stream: Http2Stream, code: int) -> None:
        """Give up one stream."""
        self._calls.reset(stream, code)
        self.spend(RESET_COST)

    def grown(self, stream: Http2Stream) -> None:
        """A request is on its way."""
        self._dispatcher.grown(stream)

    def finished(self, stream: Http2Stream) -> None:
        """A request is complete; it is not answered as long as its client takes nothing of an answer."""
        if self.sender.takes(stream):
            self._dispatcher.finished(stream)
        else:
            self._deferred.add(stream)
            self._calls.hold(stream, len(stream.content))

    def widened(self, number: int) -> None:
        """Answer the requests whose client takes answers now."""
        if numbers := self._deferred.candidates(number):
            # room for the whole connection has all that waits looked at, and costs by that
            self.spend(len(numbers) // STREAMS_PER_UNIT)
            for stream in self._deferred.release(numbers):
                self._dispatcher.finished(stream)

    def progressed(self, stream: Http2Stream) -> None:
        """The client takes some more of an answer."""
        self._calls.progressed(stream)

    def given_up(self, number: int, code: int) -> None:
        """The client does not want the answer any more."""
        # asked before the call is forgotten: giving up a call that is over costs no more than any frame
        cost = RESET_COST if number in self.streams else 1
        self._calls.give_up(number)
        self.spend(cost)

    def pinged_back(self) -> None:
        """The client has seen all that was sent before the ping."""
        if self._draining:
            self._calls.settle()

    def broken_off(self, error: Exception) -> None:
        """Drop the calls: their client is gone."""
        self._calls.give_up_all()
        # what refers back to the connection goes now: it would hold its buffers until the next full collection
        self._deferred.clear()
        self.stop_pausing()
        self._closed(self)

    def refuse(self, error: http2.ProtocolError) -> None:
        """Say so, and close."""
        logger.warning("a client does not speak HTTP/2: %s", error)
        self.sender.write(http2.goaway(self._calls.last, error.code))
        self.close()
