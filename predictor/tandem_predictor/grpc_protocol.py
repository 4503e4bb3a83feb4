"""A connection that answers gRPC calls over HTTP/2: unary ones, and those that stream either way."""

from __future__ import annotations

import asyncio
import logging
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from tandem.errors import Internal, RequestError
from tandem.oip import grpc_messages, http2
from tandem.oip.http2 import Http2Connection, Stream

logger = logging.getLogger(__name__)

Handler = Callable[[bytes], Awaitable[bytes]]
"""From a serialised request to a serialised response; a refusal is a :class:`~tandem.errors.RequestError`."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What answers a unary call whose headers it must see.

    Attributes:
        answer: From the call's headers, by lower-case name, and its serialised request to a serialised response.
    """

    answer: Callable[[Mapping[str, str], bytes], Awaitable[bytes]]


StreamHandler = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]
"""From serialised requests as they come to serialised responses; refuses as a :data:`Handler` does."""

MAX_STREAMS: Final = 1000
"""Calls that one connection may have under way."""

_STATUS: Final[Mapping[str, int]] = {
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "RESOURCE_EXHAUSTED": 8,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
_REFUSED_STREAM: Final = 7

# Header blocks; 0x88 is ":status: 200" and 31 the name "content-type" of HPACK's static table.
_HEAD: Final = http2.NO_TABLE + b"\x88" + http2.indexed(31, "application/grpc")
_ACCEPTED: Final = http2.literal("grpc-accept-encoding", grpc_messages.ACCEPTED)
_HEADS: Final[Mapping[str, bytes]] = {
    "identity": _HEAD,
    **{name: _HEAD + http2.literal("grpc-encoding", name) + _ACCEPTED for name in grpc_messages.ENCODINGS},
}
_OK: Final = http2.literal("grpc-status", "0")
_NOT_GRPC: Final = http2.NO_TABLE + http2.indexed(8, "415")

_TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PRINTABLE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_LONGEST_MESSAGE: Final = 2000  # clients take some kilobytes of headers, no more
_SETTLED_S: Final = 1.0
_MAX_WAITING: Final = 100
_MAX_UNSENT: Final = 2**20


class ServingConnection(Http2Connection):
    """One client's connection.

    Args:
        handlers: What answers unary calls, by the full path of the method.
        streams: What answers other calls, by the full path of the method.
        max_message_bytes: Longest request, after decompression.
        closed: Is told when the connection is over.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler | Guarded],
        streams: Mapping[str, StreamHandler],
        max_message_bytes: int,
        closed: Callable[[ServingConnection], object],
    ) -> None:
        super().__init__(settings=[(http2.MAX_STREAMS, MAX_STREAMS)])
        self._loop = asyncio.get_running_loop()
        self._handlers = handlers
        self._stream_handlers = streams
        self._max_message_bytes = max_message_bytes
        self._closed = closed
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._requests: dict[int, asyncio.Queue[bytes | None]] = {}
        self._last = 0
        self._greeted = False
        self._draining = False
        self._settled = False

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

    def data_received(self, data: bytes) -> None:
        """Take what has come; the first of it must be the preface."""
        if not self._greeted:
            data = self._rest + data
            if not http2.PREFACE.startswith(data[: len(http2.PREFACE)]):
                self.abort()
                return
            if len(data) < len(http2.PREFACE):
                self._rest = data
                return
            self._greeted, self._rest, data = True, b"", data[len(http2.PREFACE) :]
        super().data_received(data)

    def opened(self, number: int) -> Stream | None:
        """A new call, or the client's trailers of one under way."""
        if number in self.streams:
            return self.streams[number]
        if number % 2 == 0:
            raise http2.ProtocolError(f"stream {number} is not a client's to open")
        if number <= self._last:
            return None
        self._last = number
        if len(self.streams) >= MAX_STREAMS:
            self._reset(number, _REFUSED_STREAM)
            return None
        stream = self.streams[number] = Stream(number, self.stream_window)
        return stream

    def grown(self, stream: Stream) -> None:
        """A request is on its way; one that is too long need not come to its end."""
        if stream.size > self._max_message_bytes + grpc_messages.PREFIX:
            self._end(stream, _refusal(grpc_messages.too_large(self._max_message_bytes)))
            self._reset(stream.number, http2.NO_ERROR)
        elif handler := self._stream_handlers.get(stream.headers.get(":path", "")):
            self._go_on(stream, handler, last=False)

    def ended(self, stream: Stream) -> None:
        """A request is complete."""
        headers = stream.headers
        if not headers.get("content-type", "").startswith("application/grpc"):
            del self.streams[stream.number]
            self._write_only_headers(stream, _NOT_GRPC)
            return
        path, encoding = headers.get(":path", ""), headers.get("grpc-encoding")
        handler = self._handlers.get(path)
        if encoding and encoding != "identity" and encoding not in grpc_messages.ENCODINGS:
            self._end(stream, _status("UNIMPLEMENTED", f"encoding {encoding!r} is not read here") + _ACCEPTED)
        elif handler is not None:
            message = self._unpacked(stream, stream.joined())
            if message is not None:
                stream.content.clear()
                if isinstance(handler, Guarded):
                    handler = partial(handler.answer, headers)
                self._begin(stream, self._answer(stream, handler, message))
        elif streaming := self._stream_handlers.get(path):
            self._go_on(stream, streaming, last=True)
        else:
            self._end(stream, _status("UNIMPLEMENTED", f"there is no method {path}"))

    def given_up(self, stream: Stream, code: int) -> None:
        """The client does not want the answer any more."""
        if task := self._tasks.get(stream.number):
            task.cancel()
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
        if self._settled:
            self._loop.call_soon(self._close_if_done)  # when the last of it has been written

    def broken_off(self, error: Exception) -> None:
        """Nobody waits for the answers any more."""
        self.streams.clear()
        for task in self._tasks.values():
            task.cancel()
        self._closed(self)

    def refuse(self, error: http2.ProtocolError) -> None:
        """Say so, and close."""
        logger.warning("a client does not speak HTTP/2: %s", error)
        self.write(_goaway(self._last, http2.PROTOCOL_ERROR))
        self.close()

    async def _answer(self, stream: Stream, handler: Handler, message: bytes) -> None:
        try:
            content = await handler(message)
        except RequestError as error:
            self._end(stream, _refusal(error))
        except Exception as error:
            logger.error("unexpected error", exc_info=error)
            self._end(stream, _refusal(Internal("internal error")))
        else:
            if stream.number in self.streams:
                encoding = "identity"
                if "grpc-encoding" in stream.headers:
                    encoding = grpc_messages.answer_encoding(stream.headers)
                self.write(self.message(stream, _HEADS[encoding], content, _OK, encoding))
        finally:
            del self._tasks[stream.number]

    def _go_on(self, stream: Stream, handler: StreamHandler, *, last: bool) -> None:
        """Hand over the requests that have come in a stream that may have more of them."""
        if stream.trailers:  # ended already
            return
        framed, rest = grpc_messages.split(stream.joined())
        stream.content[:] = [rest] if rest else []
        stream.size = len(rest)
        requests = self._requests.get(stream.number)
        if requests is None:
            requests = self._requests[stream.number] = asyncio.Queue()
            self._begin(stream, self._converse(stream, handler, requests))
        for one in framed:
            message = self._unpacked(stream, one)
            if message is None:
                return
            requests.put_nowait(message)
        if requests.qsize() > _MAX_WAITING:
            self._end(stream, _status("RESOURCE_EXHAUSTED", "more requests have come than could be answered"))
        elif last:
            requests.put_nowait(None)

    async def _converse(self, stream: Stream, handler: StreamHandler, requests: asyncio.Queue[bytes | None]) -> None:
        end = _OK
        try:
            async for content in handler(_until_none(requests)):
                if stream.number not in self.streams:
                    return
                head = b"" if stream.open else http2.frame(http2.HEADERS, http2.END_HEADERS, stream.number, _HEAD)
                self.write(head + self.further(stream, grpc_messages.pack(content)))
                if len(stream.unsent) > _MAX_UNSENT:
                    end = _status("RESOURCE_EXHAUSTED", "the client does not read its answers")
                    break
        except RequestError as error:
            end = _refusal(error)
        except Exception as error:
            logger.error("unexpected error", exc_info=error)
            end = _refusal(Internal("internal error"))
        finally:
            del self._tasks[stream.number], self._requests[stream.number]
        self._end(stream, end)

    def _begin(self, stream: Stream, answering: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[stream.number] = self._loop.create_task(answering)
        if timeout := stream.headers.get("grpc-timeout"):
            self._limit(stream, task, timeout)

    def _unpacked(self, stream: Stream, framed: bytes) -> bytes | None:
        """A serialised request; None if it was refused."""
        encoding = stream.headers.get("grpc-encoding", "identity")
        try:
            return grpc_messages.unpack(framed, encoding, self._max_message_bytes)
        except grpc_messages.BadFraming as error:
            self._end(stream, _status("INTERNAL", str(error)))
        except RequestError as error:
            self._end(stream, _refusal(error))
        return None

    def _limit(self, stream: Stream, task: asyncio.Task[None], timeout: str) -> None:
        """Give up a call whose client will have done so."""
        if given := _TIMEOUT.fullmatch(timeout):
            timer = self._loop.call_later(int(given[1]) * _UNITS[given[2]], self._expire, stream)
            task.add_done_callback(lambda _: timer.cancel())

    def _expire(self, stream: Stream) -> None:
        self._end(stream, _status("DEADLINE_EXCEEDED", "no result within the time that the call had"))

    def _end(self, stream: Stream, trailers: bytes) -> None:
        """End a call with its status, and let go of what answers it. Without a message head and trailers are one."""
        if stream.number not in self.streams:
            return
        task = self._tasks.get(stream.number)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        if stream.open:
            self.write(self.further(stream, trailers=trailers))
            return
        del self.streams[stream.number]
        self._write_only_headers(stream, _HEAD + trailers)

    def _write_only_headers(self, stream: Stream, block: bytes) -> None:
        self.write(http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream.number, block))
        self._close_if_done()

    def _reset(self, number: int, code: int) -> None:
        self.write(http2.frame(http2.RST_STREAM, 0, number, struct.pack(">I", code)))

    def _close_if_done(self) -> None:
        if self._settled and not self.streams and self.connected:
            self.write(_goaway(self._last, http2.NO_ERROR))
            self.close()


def _goaway(last: int, code: int) -> bytes:
    return http2.frame(http2.GOAWAY, 0, 0, struct.pack(">II", last, code))


async def _until_none(requests: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while (message := await requests.get()) is not None:
        yield message


def _status(status: str, message: str) -> bytes:
    """Trailers of a refusal."""
    text = quote(message[:_LONGEST_MESSAGE], safe=_PRINTABLE)
    return http2.literal("grpc-status", str(_STATUS[status])) + http2.literal("grpc-message", text)


def _refusal(error: RequestError) -> bytes:
    return _status(error.grpc_status, str(error)) + http2.literal("tandem-error-code", error.code)
