"""The calls of one connection that are under way on a server: what each holds, until when, and how it ends.

A call ends in one of four ways: it is answered; it is ended with a status; it is reset, where nothing can follow that
says why; or its client gives it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tandem.errors import DeadlineExceeded, Overloaded, RequestError
from tandem.oip import grpc_headers, http2
from tandem.oip.budgets import Backlog
from tandem.oip.deadlines import Deadlines
from tandem.oip.grpc_requests import Requests
from tandem.oip.http2_sender import Sender
from tandem.oip.http2_stream import Http2Stream


class Calls:
    """Calls under way.

    Args:
        streams: Those of the connection that are not over, by number.
        sender: What is sent goes through it.
        backlog: Shared by all connections.

    Attributes:
        streams: As above.
        last: Highest number of a stream so far.
    """

    def __init__(self, streams: dict[int, Http2Stream], sender: Sender, backlog: Backlog) -> None:
        self.streams = streams
        self.last = 0
        self._sender = sender
        self._backlog = backlog
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, tuple[asyncio.Task[None], int, Requests | None]] = {}
        self._deadlines = Deadlines(self._expire)
        self._settled = False

    # what a call has

    def open(self, number: int, headers: dict[str, str], cost: int) -> Http2Stream:
        """A new call.

        Args:
            number: Of its stream.
            headers: Of its request.
            cost: What reading them has cost.
        """
        self.last = number
        stream = self.streams[number] = Http2Stream(number, self._sender.stream_window, headers=headers, cost=cost)
        # counted from the head of the request: a slow upload uses up its own time
        if (timeout := headers.get("grpc-timeout")) and (seconds := grpc_headers.timeout_of(timeout)) is not None:
            self._deadlines.set(number, seconds)
        return stream

    def begin(
        self, stream: Http2Stream, answering: Coroutine[Any, Any, None], size: int, requests: Requests | None = None
    ) -> None:
        """Let a call be answered; what answers it ends in :meth:`done`.

        Args:
            stream: Of the call.
            answering: What answers it.
            size: Bytes of its request.
            requests: Where further ones wait, if the call streams.
        """
        self._backlog.working += size
        # no callback when it is done: the task calls done() itself, which costs less
        self._tasks[stream.number] = self._loop.create_task(answering), size, requests

    def done(self, number: int, *, cancel: bool = False) -> None:
        """Let go of what answers a call. A task that is cancelled before it runs does not come to do so itself."""
        running = self._tasks.pop(number, None)
        if running is None:
            return
        task, size, _ = running
        self._backlog.working -= size
        # a handler that ends its own call must not cancel itself on the way out
        if cancel and task is not asyncio.current_task():
            task.cancel()

    def resize(self, number: int, size: int) -> None:
        """The request of a call that is being answered has other bytes than it began with: it has been unpacked.

        Args:
            number: Of its stream.
            size: Bytes that it has now.
        """
        task, before, requests = self._tasks[number]
        self._backlog.working += size - before
        self._tasks[number] = task, size, requests

    def requests(self, stream: Http2Stream) -> Requests | None:
        """Where the requests of a call wait that streams; None for another, or before it begins."""
        running = self._tasks.get(stream.number)
        return None if running is None else running[2]

    def deadline(self, stream: Http2Stream) -> float | None:
        """When a client gives up its call, on the event loop's clock; None for never."""
        return self._deadlines.get(stream.number)

    def hold(self, stream: Http2Stream, size: int) -> None:
        """Count what a call holds while it waits for its client: bytes of requests, or of an answer."""
        self._backlog.hold(stream, size, lambda: self.drop(stream, _overloaded()))

    def release(self, stream: Http2Stream) -> None:
        """A call waits for its client no longer."""
        self._backlog.release(stream)

    # how it ends

    def progressed(self, stream: Http2Stream) -> None:
        """The client takes some more of an answer, or none for now."""
        if stream.left:
            self.hold(stream, stream.left)
        else:
            self.release(stream)
            if not stream.open:
                self.answered(stream)

    def answered(self, stream: Http2Stream) -> None:
        """All of an answer has been sent."""
        self.streams.pop(stream.number, None)
        self._deadlines.drop(stream.number)
        self._close_if_done()

    def end(self, stream: Http2Stream, trailers: bytes) -> None:
        """End a call with its status, and let go of what answers it. Without a message head and trailers are one."""
        if stream.number not in self.streams:
            return
        if stream.open:
            self.done(stream.number, cancel=True)
            if self._sender.send_end(stream, trailers):
                self.progressed(stream)
            else:
                self.answered(stream)
        # a part of the answer is out: trailers would have to wait behind the rest
        elif stream.left:
            self.reset(stream, http2.CANCEL)
        else:
            self.reject(stream, grpc_headers.HEAD + trailers)

    def refuse(self, stream: Http2Stream, error: RequestError) -> None:
        """End a call with an error."""
        self.end(stream, grpc_headers.refusal(error))

    def reject(self, stream: Http2Stream, block: bytes) -> None:
        """End a call of which nothing was sent with a header block alone."""
        self._forget(stream.number)
        self._sender.write(http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream.number, block))
        if not stream.ended:  # the rest of the request need not come
            self._sender.write(http2.reset(stream.number, http2.NO_ERROR))
        self._close_if_done()

    def reset(self, stream: Http2Stream, code: int) -> None:
        """Give up a call without a status."""
        self._forget(stream.number)
        self._sender.write(http2.reset(stream.number, code))
        self._close_if_done()

    def give_up(self, number: int) -> None:
        """The client does not want the answer any more."""
        self._forget(number)
        self._close_if_done()

    def give_up_all(self) -> None:
        """Drop the calls: their client is gone."""
        for number in list(self.streams):
            self._forget(number)
        self._deadlines.clear()

    def drop(self, stream: Http2Stream, error: RequestError) -> None:
        """Give up a call that waits for its client: one whose answer is not taken, or else with an error."""
        if stream.left:
            self.reset(stream, http2.CANCEL)
        else:
            self.refuse(stream, error)

    def settle(self) -> None:
        """No new call comes: ask for no further requests, and close the connection once all calls are answered."""
        self._settled = True
        # a conversation goes on for as long as its client likes, and would keep the server from stopping
        for _, _, requests in self._tasks.values():
            if requests is not None:
                requests.put_nowait(None)
        self._close_if_done()

    def _expire(self, number: int) -> None:
        self.refuse(self.streams[number], DeadlineExceeded("no answer before the deadline of the call"))

    def _forget(self, number: int) -> None:
        """Let go of a stream and of all that it has."""
        stream = self.streams.pop(number, None)
        if stream is None:
            return
        self.release(stream)
        # the sender refers to the stream until it next looks at those that wait
        stream.content = stream.unsent = b""
        self._deadlines.drop(number)
        self.done(number, cancel=True)

    def _close_if_done(self) -> None:
        # the first farewell named no last call; this one does (RFC 9113, section 6.8)
        if self._settled and not self.streams and self._sender.connected:
            self._sender.write(http2.goaway(self.last, http2.NO_ERROR))
            self._sender.end()


def _overloaded() -> Overloaded:
    return Overloaded("too many bytes of other requests are held already", code="too_many_uploads")
