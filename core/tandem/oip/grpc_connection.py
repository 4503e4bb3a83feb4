"""A connection that answers gRPC calls over HTTP/2: unary ones, and those that stream either way.

What a client can make it do that brings no call forward is bounded by an :class:`~tandem.oip.budgets.Allowance`, and
what it can make it hold by a :class:`~tandem.oip.budgets.Backlog` that all connections share.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final

from tandem.errors import DeadlineExceeded, Internal, Overloaded, RequestError, UploadTimeout
from tandem.oip import grpc_headers, grpc_messages, http2
from tandem.oip.budgets import Allowance, Backlog
from tandem.oip.grpc_methods import AUXILIARY_BYTES, CallContext, Handler, Method, StreamHandler
from tandem.oip.http2 import Http2Connection
from tandem.oip.http2_stream import Stream

logger = logging.getLogger(__name__)


MAX_STREAMS: Final = 1000
"""Calls that one connection may have under way."""

_SETTLED_S: Final = 1.0
_MAX_WAITING: Final = 100
_MAX_UNSENT: Final = 2**20

# Units of about 3 µs, which is what a control frame takes. A call that is given up takes thirty; a byte of headers in
# Huffman's code takes 0.19 µs. An answer pays for ten calls that are given up, and for its own headers: so a gateway
# whose clients give up calls goes on, as does a client with long headers. What a connection has not earned comes out of
# a budget that all connections share, a hundredth of the processor.
_FIRST: Final = 200
_MOST_SAVED: Final = 30_000
_PER_S: Final = 100
_EARNED: Final = 300
_RESET_COST: Final = 30
_FREE_BLOCK: Final = 2**9
_BYTES_PER_UNIT: Final = 16
_SHARED: Final = 600
_SHARED_PER_S: Final = 3000
_LEAST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 1.0

_LOOKS_WAITED: Final = 6
_LOOKS_IDLE_STREAM: Final = 60


class ServingConnection(Http2Connection):
    """One client's connection.

    Args:
        methods: What answers unary calls, by the full path of the method.
        streams: What answers other calls, by the full path of the method.
        backlog: Shared by all connections.
        overhead: From :func:`shared_overhead`, likewise.
        closed: Is told when the connection is over.

    Attributes:
        quiet_looks: How many looks in a row have seen that no frame had come.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        streams: Mapping[str, StreamHandler],
        backlog: Backlog,
        overhead: Allowance,
        closed: Callable[[ServingConnection], object],
    ) -> None:
        super().__init__(settings=[(http2.MAX_STREAMS, MAX_STREAMS)])
        self._loop = asyncio.get_running_loop()
        self._methods = methods
        self._stream_handlers = streams
        self._backlog = backlog
        self._closed = closed
        self._overhead = overhead
        self._allowance = Allowance(_MOST_SAVED, _PER_S, self._loop.time, first=_FIRST)
        self._tasks: dict[int, tuple[asyncio.Task[None], int]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._requests: dict[int, _Requests] = {}
        self._last = 0
        self._greeted = False
        self._draining = False
        self._settled = False
        self._frames_seen = 0
        self.quiet_looks = 0

    def drain(self) -> None:
        """Take no new calls, and close once those under way are answered.

        A client learns of it by the answer to its next packet at the earliest; so calls go on being taken until it has
        answered a ping that was sent after the news.
        """
        self._draining = True
        if not self._greeted:
            self.close()
            return
        self.write(_goaway(http2.LARGEST_STREAM, http2.NO_ERROR) + http2.frame(http2.PING, 0, 0, b"\0" * 8))
        self._loop.call_later(_SETTLED_S, self.pinged_back)

    def look(self, idle_looks: int) -> None:
        """Give up what a client has left lying. To be called every few seconds.

        Args:
            idle_looks: An idle connection is closed when so many looks have seen it idle.
        """
        self.quiet_looks = self.quiet_looks + 1 if self._frames == self._frames_seen else 0
        self._frames_seen = self._frames
        waits = self.quiet_looks if self._rest or not self._greeted or not self.connected else 0
        if self._block is not None:
            self._block.waits += 1
            waits = max(waits, self._block.waits)
        if waits > _LOOKS_WAITED:
            self.abort()
            return
        for stream in list(self.streams.values()):
            if stream.left or not stream.ended:
                stream.waits += 1
                conversing = stream.number in self._requests and not stream.left
                if stream.waits > (_LOOKS_IDLE_STREAM if conversing else _LOOKS_WAITED):
                    self._overdue(stream)
        if not self.streams and self.quiet_looks >= idle_looks:
            self.retire()

    def retire(self) -> None:
        """Close an idle connection; its client may open another."""
        self.write(_goaway(self._last, http2.NO_ERROR))
        self.close()

    def data_received(self, data: bytes) -> None:
        """Take what has come; the first of it must be the preface."""
        if not self._greeted:
            data = bytes(self._rest) + data
            if not http2.PREFACE.startswith(data[: len(http2.PREFACE)]):
                self.abort()
                return
            if len(data) < len(http2.PREFACE):
                self._rest = data
                return
            self._greeted, self._rest, data = True, b"", data[len(http2.PREFACE) :]
        super().data_received(data)

    def pause_writing(self) -> None:
        """The client does not read: nor do we, or what we have to tell it would pile up."""
        super().pause_writing()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._transport is not None and self.connected and not self._waits:
            self._transport.resume_reading()

    def is_idle(self, number: int) -> bool:
        """Whether a stream has not been opened yet."""
        return number > self._last or number % 2 == 0

    def spend(self, cost: int = 1) -> None:
        """Bear with a client's overhead up to its allowance; what is beyond that waits, and so does all that follows.

        A client that is cut off would come back with a new connection.
        """
        missing = self._allowance.spend(cost)
        if missing and (seconds := self._overhead.owe(missing)) and not self._waits:
            self.wait()
            self._loop.call_later(min(max(seconds, _LEAST_WAIT_S), _LONGEST_WAIT_S), self.go_on)

    def opened(self, number: int, headers: dict[str, str], size: int) -> Stream | None:
        """A new call, or the client's trailers of one under way."""
        cost = size // _BYTES_PER_UNIT if size > _FREE_BLOCK else 0
        if cost:
            self.spend(cost)
        if number in self.streams:
            return self.streams[number]
        if number % 2 == 0:
            raise http2.ProtocolError(f"stream {number} is not a client's to open")
        if number <= self._last:
            self.spend()
            return None
        self._last = number
        if len(self.streams) >= MAX_STREAMS:
            self._reset(number, http2.REFUSED_STREAM)
            self.spend(_RESET_COST)
            return None
        stream = self.streams[number] = Stream(number, self.stream_window, headers=headers, cost=cost)
        if timeout := headers.get("grpc-timeout"):
            self._limit(stream, timeout)
        return stream

    def refused(self, number: int, size: int) -> None:
        """Headers that are too long are the fault of one call only: others may share the connection."""
        if stream := self.streams.get(number):
            self.violated(stream, http2.ENHANCE_YOUR_CALM)
        elif (refused := self.opened(number, {}, size)) is not None:
            self._forget(number)
            self._write_only_headers(refused, grpc_headers.LONG_HEADERS)

    def violated(self, stream: Stream, code: int) -> None:
        """Give up one stream."""
        self._forget(stream.number)
        self._reset(stream.number, code)
        self.spend(_RESET_COST)
        self._close_if_done()

    def grown(self, stream: Stream) -> None:
        """A request is on its way; one that is too long need not come to its end."""
        path = stream.headers.get(":path", "")
        method = self._methods.get(path)
        content = stream.content
        if method is None:
            if path in self._stream_handlers:
                self._go_on(stream, self._stream_handlers[path], last=False)
            else:
                self.finished(stream)
        elif max(len(content) - grpc_messages.PREFIX, grpc_messages.announced(content)) > method.max_bytes:
            self._end(stream, grpc_headers.refusal(grpc_messages.too_large(method.max_bytes)))
        else:
            self._backlog.hold(stream, len(content), lambda: self._drop(stream))

    def finished(self, stream: Stream) -> None:
        """A request is complete."""
        self._backlog.release(stream)
        headers = stream.headers
        if not headers.get("content-type", "").startswith("application/grpc"):
            self._forget(stream.number)
            self._write_only_headers(stream, grpc_headers.NOT_GRPC)
            return
        path, encoding = headers.get(":path", ""), headers.get("grpc-encoding")
        method = self._methods.get(path)
        if encoding and encoding != "identity" and encoding not in grpc_messages.ENCODINGS:
            self._end(
                stream,
                grpc_headers.status("UNIMPLEMENTED", f"encoding {encoding!r} is not read here") + grpc_headers.ACCEPTED,
            )
        elif method is not None:
            content, stream.content = stream.content, b""
            message = self._unpacked(stream, content, method.max_bytes)
            if message is None:
                return
            working = self._backlog.working
            if working and working + len(message) > self._backlog.limit:
                error = Overloaded(f"{working} bytes of requests are being answered already")
                self._end(stream, grpc_headers.refusal(error))
            else:
                self._begin(stream, self._answer(stream, method.handler, message), len(message))
        elif streaming := self._stream_handlers.get(path):
            self._go_on(stream, streaming, last=True)
        else:
            self._end(stream, grpc_headers.status("UNIMPLEMENTED", f"there is no method {path[:200]}"))

    def held_up(self, stream: Stream) -> None:
        """An answer waits for a client that does not take it, or does so again."""
        if stream.left:
            self._backlog.hold(stream, stream.left, lambda: self._drop(stream))
        else:
            self._backlog.release(stream)

    def given_up(self, number: int, code: int) -> None:
        """The client does not want the answer any more."""
        known = number in self.streams
        self._forget(number)
        self.spend(_RESET_COST if known else 1)
        self._close_if_done()

    def pinged_back(self) -> None:
        """The client has seen all that was sent before the ping."""
        if self._draining:
            self._settled = True
            for requests in self._requests.values():
                requests.put_nowait(None)
            self._close_if_done()

    def sent(self, stream: Stream) -> None:
        """An answer is complete."""
        self.streams.pop(stream.number, None)
        if self._timers:
            self._cancel_timer(stream.number)
        if self._settled:
            self._loop.call_soon(self._close_if_done)  # when the last of it has been written

    def broken_off(self, error: Exception) -> None:
        """Nobody waits for the answers any more."""
        for number in list(self.streams):
            self._forget(number)
        self._closed(self)

    def refuse(self, error: http2.ProtocolError) -> None:
        """Say so, and close."""
        logger.warning("a client does not speak HTTP/2: %s", error)
        self.write(_goaway(self._last, error.code))
        self.close()

    async def _answer(self, stream: Stream, handler: Handler, message: bytes) -> None:
        try:
            deadline = self._deadline(stream) if self._timers else None
            content = await handler(message, CallContext(stream.headers, deadline))
        except RequestError as error:
            self._end(stream, grpc_headers.refusal(error))
        except Exception as error:
            logger.error("unexpected error", exc_info=error)
            self._end(stream, grpc_headers.refusal(Internal("internal error")))
        else:
            if stream.number in self.streams:
                encoding = "identity"
                if "grpc-encoding" in stream.headers:
                    encoding = grpc_messages.answer_encoding(stream.headers)
                self._allowance.earn(_EARNED + stream.cost)
                self.write(self.message(stream, grpc_headers.HEADS[encoding], content, grpc_headers.OK, encoding))
        finally:
            self._done(stream.number)

    def _go_on(self, stream: Stream, handler: StreamHandler, *, last: bool) -> None:
        """Hand over the requests that have come in a stream that may have more of them."""
        if stream.trailers:  # ended already
            return
        if grpc_messages.announced(stream.content) > AUXILIARY_BYTES:
            self._end(stream, grpc_headers.refusal(grpc_messages.too_large(AUXILIARY_BYTES)))
            return
        requests = self._requests.get(stream.number)
        if requests is None:
            requests = self._requests[stream.number] = _Requests()
            self._begin(stream, self._converse(stream, handler, requests), 0)
        framed, stream.content = grpc_messages.split(stream.content)
        for one in framed:
            message = self._unpacked(stream, one, AUXILIARY_BYTES)
            if message is None:
                return
            stream.waits = 0
            requests.add(message)
        if requests.qsize() > _MAX_WAITING:
            self._end(stream, grpc_headers.refusal(Overloaded("more requests have come than could be answered")))
            return
        self._backlog.hold(stream, len(stream.content) + requests.size, lambda: self._drop(stream))
        if last:
            requests.put_nowait(None)

    async def _converse(self, stream: Stream, handler: StreamHandler, requests: _Requests) -> None:
        end = grpc_headers.OK
        try:
            async for content in handler(aiter(requests)):
                if stream.number not in self.streams:
                    return
                head = (
                    b""
                    if stream.open
                    else http2.frame(http2.HEADERS, http2.END_HEADERS, stream.number, grpc_headers.HEAD)
                )
                self.write(head + self.further(stream, grpc_messages.pack(content)))
                self._allowance.earn(_EARNED)
                if stream.left > _MAX_UNSENT:
                    end = grpc_headers.status("RESOURCE_EXHAUSTED", "the client does not read its answers")
                    break
        except RequestError as error:
            end = grpc_headers.refusal(error)
        except Exception as error:
            logger.error("unexpected error", exc_info=error)
            end = grpc_headers.refusal(Internal("internal error"))
        finally:
            self._backlog.release(stream)
        self._end(stream, end)

    def _begin(self, stream: Stream, answering: Coroutine[Any, Any, None], size: int) -> None:
        self._backlog.working += size
        self._tasks[stream.number] = self._loop.create_task(answering), size

    def _done(self, number: int, *, cancel: bool = False) -> None:
        """Let go of what answers a call. A task that is cancelled before it runs does not come to do so itself."""
        running = self._tasks.pop(number, None)
        if running is None:
            return
        task, size = running
        self._backlog.working -= size
        if cancel and task is not asyncio.current_task():
            task.cancel()
        self._requests.pop(number, None)

    def _unpacked(self, stream: Stream, framed: bytes | bytearray, limit: int) -> bytes | None:
        """A serialised request; None if it was refused."""
        encoding = stream.headers.get("grpc-encoding", "identity")
        try:
            return grpc_messages.unpack(framed, encoding, limit)
        except grpc_messages.BadFraming as error:
            self._end(stream, grpc_headers.status("INTERNAL", str(error)))
        except RequestError as error:
            self._end(stream, grpc_headers.refusal(error))
        return None

    def _limit(self, stream: Stream, timeout: str) -> None:
        """Give up a call whose client will have done so."""
        seconds = grpc_headers.timeout_of(timeout)
        if seconds is not None:
            self._timers[stream.number] = self._loop.call_later(seconds, self._expire, stream)

    def _deadline(self, stream: Stream) -> float | None:
        timer = self._timers.get(stream.number)
        return None if timer is None else timer.when()

    def _expire(self, stream: Stream) -> None:
        self._end(stream, grpc_headers.refusal(DeadlineExceeded("no answer within the time that the call had")))

    def _overdue(self, stream: Stream) -> None:
        """A client has not sent its request, or not taken its answer, for too long."""
        if stream.left:
            self._drop(stream)
        else:
            self._end(stream, grpc_headers.refusal(UploadTimeout("the request did not arrive in time")))

    def _drop(self, stream: Stream) -> None:
        """Make room for others."""
        if stream.left:
            self._cancel(stream)
        else:
            error = Overloaded("too many bytes of other requests are held already", code="too_many_uploads")
            self._end(stream, grpc_headers.refusal(error))

    def _cancel(self, stream: Stream) -> None:
        """Give up a call that is answered in part, which nothing can follow that says why."""
        self._forget(stream.number)
        self._reset(stream.number, http2.CANCEL)
        self._close_if_done()

    def _forget(self, number: int) -> None:
        """Let go of a stream and of all that it has."""
        stream = self.streams.pop(number, None)
        if stream is None:
            return
        self._backlog.release(stream)
        stream.content = stream.unsent = b""
        self._cancel_timer(number)
        self._done(number, cancel=True)

    def _cancel_timer(self, number: int) -> None:
        if (timer := self._timers.pop(number, None)) is not None:
            timer.cancel()

    def _end(self, stream: Stream, trailers: bytes) -> None:
        """End a call with its status, and let go of what answers it. Without a message head and trailers are one."""
        if stream.number not in self.streams:
            return
        if stream.open:
            self._done(stream.number, cancel=True)
            self.write(self.further(stream, trailers=trailers))
        elif stream.left:
            self._cancel(stream)
        else:
            self._forget(stream.number)
            self._write_only_headers(stream, grpc_headers.HEAD + trailers)

    def _write_only_headers(self, stream: Stream, block: bytes) -> None:
        self.write(http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream.number, block))
        if not stream.ended:  # the rest of the request need not come
            self._reset(stream.number, http2.NO_ERROR)
        self._close_if_done()

    def _reset(self, number: int, code: int) -> None:
        self.write(http2.frame(http2.RST_STREAM, 0, number, struct.pack(">I", code)))

    def _close_if_done(self) -> None:
        if self._settled and not self.streams and self.connected:
            self.write(_goaway(self._last, http2.NO_ERROR))
            self.close()


def shared_overhead(clock: Callable[[], float]) -> Allowance:
    """What the connections of a server may cost together beyond what each has earned.

    Args:
        clock: Seconds.
    """
    return Allowance(_SHARED, _SHARED_PER_S, clock)


def _goaway(last: int, code: int) -> bytes:
    return http2.frame(http2.GOAWAY, 0, 0, struct.pack(">II", last, code))


class _Requests(asyncio.Queue[bytes | None]):
    """Requests of a stream that wait to be answered, None after the last.

    Attributes:
        size: Their bytes.
    """

    size = 0

    def add(self, message: bytes) -> None:
        """One more."""
        self.size += len(message)
        self.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.get()) is not None:
            self.size -= len(message)
            yield message
