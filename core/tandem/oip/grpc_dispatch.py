"""From a request to the method that answers it, and back: what a server does with a call."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tandem.errors import Internal, Overloaded, RequestError
from tandem.oip import grpc_headers, grpc_messages, threads
from tandem.oip.budgets import ANSWER_EARNS, RESET_COST, Backlog, Overhead
from tandem.oip.grpc_calls import Calls
from tandem.oip.grpc_conversations import Conversations
from tandem.oip.grpc_methods import CallContext, Handler, Method, StreamHandler
from tandem.oip.grpc_unpacking import refuse_message, unpack_or_refuse
from tandem.oip.http2_sender import Sender
from tandem.oip.http2_stream import Http2Stream

logger = logging.getLogger(__name__)


class Dispatcher:
    """Hands the requests of one connection to what answers them.

    Args:
        methods: What answers unary calls, by the full path of the method.
        streams: What answers other calls, by the full path of the method.
        calls: Those of the connection.
        sender: What is sent goes through it.
        backlog: Shared by all connections.
        overhead: What the client may cost.

    Attributes:
        unpacking: Requests that are being unpacked, or wait for that.
        unpaid: What those have cost that could not be unpacked, in units of :mod:`tandem.oip.budgets`.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        streams: Mapping[str, StreamHandler],
        calls: Calls,
        sender: Sender,
        backlog: Backlog,
        overhead: Overhead,
    ) -> None:
        self._methods = methods
        self._stream_handlers = streams
        self._calls = calls
        self._sender = sender
        self._backlog = backlog
        self._overhead = overhead
        self.unpacking = 0
        self.unpaid = 0
        self._conversations = Conversations(calls, sender, overhead)

    def grown(self, stream: Http2Stream) -> None:
        """A request is on its way; one that is too long need not come to its end."""
        path = stream.headers.get(":path", "")
        method = self._methods.get(path)
        content = stream.content
        if method is None:
            if path in self._stream_handlers:
                self._conversations.receive(stream, self._stream_handlers[path])
            else:
                self.finished(stream)
        # refused by its prefix already: what is too long need not be held first
        elif max(len(content) - grpc_messages.PREFIX, grpc_messages.announced(content)) > method.max_bytes:
            self._calls.refuse(stream, grpc_messages.too_large(method.max_bytes))
        else:
            self._calls.hold(stream, len(content))

    def finished(self, stream: Http2Stream) -> None:
        """A request is complete."""
        self._backlog.release(stream)
        headers = stream.headers
        if not headers.get("content-type", "").startswith("application/grpc"):
            self._calls.reject(stream, grpc_headers.NOT_GRPC)
            return
        path, encoding = headers.get(":path", ""), headers.get("grpc-encoding")
        method = self._methods.get(path)
        if encoding and encoding != "identity" and encoding not in grpc_messages.ENCODINGS:
            message = f"encoding {encoding!r} is not read here"
            self._calls.end(stream, grpc_headers.status("UNIMPLEMENTED", message) + grpc_headers.ACCEPTED)
        elif method is not None:
            self._begin(stream, method)
        elif streaming := self._stream_handlers.get(path):
            self._conversations.receive(stream, streaming)
        else:
            self._calls.end(stream, grpc_headers.status("UNIMPLEMENTED", f"there is no method {path[:200]}"))

    def _begin(self, stream: Http2Stream, method: Method) -> None:
        framed, stream.content = stream.content, b""
        if grpc_messages.takes_long(framed):
            if self._admits(stream, len(framed)):
                self._calls.begin(stream, self._unpack_and_answer(stream, method, framed), len(framed))
            return
        message = unpack_or_refuse(self._calls, stream, framed, method.max_bytes)
        if message is not None and self._admits(stream, len(message)):
            self._calls.begin(stream, self._answer(stream, method.handler, message), len(message))

    def _admits(self, stream: Http2Stream, size: int, counted: int = 0) -> bool:
        """Whether a request may be answered beside others; it is refused where not.

        Args:
            stream: Of its call.
            size: Its bytes.
            counted: Those of them that are among the bytes that are being answered already.
        """
        working = self._backlog.working - counted
        # a request that is alone is taken whatever its size, or a long one would never be
        if working and working + size > self._backlog.limit:
            self._calls.refuse(stream, Overloaded(f"{working} bytes of requests are being answered already"))
            return False
        return True

    async def _unpack_and_answer(self, stream: Http2Stream, method: Method, framed: bytes | bytearray) -> None:
        """Unpack a request beside the event loop, and answer it."""
        try:
            encoding = grpc_messages.encoding(stream.headers)
            self.unpacking += 1
            try:
                # compressed bytes say little about how long this takes, so none of it is done on the event loop
                message = await threads.read(grpc_messages.unpack, framed, encoding, method.max_bytes)
            finally:
                self.unpacking -= 1
            # asked once more: unpacked it may be many times as long
            if self._admits(stream, len(message), len(framed)):
                self._calls.resize(stream.number, len(message))
                await self._answer(stream, method.handler, message)
        except grpc_messages.REFUSALS as error:
            refuse_message(self._calls, stream, error)
            # paid when the client next sends something, since only what is read can be paused
            self.unpaid += RESET_COST
        finally:
            self._calls.done(stream.number)

    async def _answer(self, stream: Http2Stream, handler: Handler, message: bytes) -> None:
        try:
            content = await handler(message, CallContext(stream.headers, self._calls.deadline(stream)))
        except RequestError as error:
            self._calls.refuse(stream, error)
        except Exception as error:
            logger.error("unexpected error", exc_info=error)
            self._calls.refuse(stream, Internal("internal error"))
        else:
            encoding = "identity"
            if "grpc-encoding" in stream.headers:
                encoding = grpc_messages.answer_encoding(stream.headers)
            if encoding != "identity" and threads.is_long(content):
                framed = await threads.write(grpc_messages.pack, content, encoding)
            else:
                framed = grpc_messages.pack(content, encoding)
            # the call may have come to its end meanwhile, by its client or its deadline
            if stream.number in self._calls.streams:
                self._send(stream, framed, encoding)
        finally:
            self._calls.done(stream.number)

    def _send(self, stream: Http2Stream, framed: bytes, encoding: str) -> None:
        self._overhead.earn(ANSWER_EARNS + stream.cost)
        self._sender.send(stream, grpc_headers.HEADS[encoding], framed, grpc_headers.OK)
        if stream.unsent:
            self._calls.progressed(stream)
        else:
            self._calls.answered(stream)
