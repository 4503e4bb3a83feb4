"""Calls that stream either way, as a server answers them: health checks and reflection, nothing that infers."""

from __future__ import annotations

import logging
from typing import Final

from tandem.errors import Internal, Overloaded, RequestError
from tandem.oip import grpc_headers, grpc_messages
from tandem.oip.budgets import ANSWER_EARNS, Overhead
from tandem.oip.grpc_calls import Calls
from tandem.oip.grpc_methods import AUXILIARY_BYTES, StreamHandler
from tandem.oip.grpc_requests import Requests
from tandem.oip.grpc_unpacking import unpack_or_refuse
from tandem.oip.http2_sender import Sender
from tandem.oip.http2_stream import Http2Stream

logger = logging.getLogger(__name__)

_MAX_WAITING: Final = 100
_MAX_UNSENT: Final = 2**20


class Conversations:
    """Those of one connection.

    Args:
        calls: Its calls.
        sender: What is sent goes through it.
        overhead: What its client may cost.
    """

    def __init__(self, calls: Calls, sender: Sender, overhead: Overhead) -> None:
        self._calls = calls
        self._sender = sender
        self._overhead = overhead

    def receive(self, stream: Http2Stream, handler: StreamHandler) -> None:
        """Hand over the requests that have come in a stream.

        Args:
            stream: Of the call.
            handler: What answers it.
        """
        if stream.trailers:  # ended already
            return
        if grpc_messages.announced(stream.content) > AUXILIARY_BYTES:
            self._calls.refuse(stream, grpc_messages.too_large(AUXILIARY_BYTES))
            return
        requests = self._calls.requests(stream)
        if requests is None:
            requests = Requests()
            self._calls.begin(stream, self._answer(stream, handler, requests), 0, requests)
        messages, stream.content = grpc_messages.split(stream.content)
        # counted before any is unpacked: a hundred compressed ones would take the event loop long
        if requests.qsize() + len(messages) > _MAX_WAITING:
            self._calls.refuse(stream, Overloaded("requests arrive faster than they are answered"))
            return
        for framed in messages:
            message = unpack_or_refuse(self._calls, stream, framed, AUXILIARY_BYTES)
            if message is None:
                return
            # a client that goes on asking does not let its call lie
            stream.waits = 0
            requests.add(message)
        self._calls.hold(stream, len(stream.content) + requests.size)
        if stream.ended:
            requests.put_nowait(None)

    async def _answer(self, stream: Http2Stream, handler: StreamHandler, requests: Requests) -> None:
        end = grpc_headers.OK
        try:
            async for content in handler(aiter(requests)):
                if stream.number not in self._calls.streams:
                    return
                if self._sender.send_part(stream, grpc_headers.HEAD, grpc_messages.pack(content)):
                    self._calls.progressed(stream)
                self._overhead.earn(ANSWER_EARNS)
                # reflection answers a few bytes with kilobytes, which a client that reads nothing would have the
                # server hold
                if stream.left > _MAX_UNSENT:
                    end = grpc_headers.status("RESOURCE_EXHAUSTED", "the client does not read its answers")
                    break
        except RequestError as error:
            end = grpc_headers.refusal(error)
        except Exception as error:
            logger.error("unexpected error", exc_info=error)
            end = grpc_headers.refusal(Internal("internal error"))
        finally:
            self._calls.release(stream)
        self._calls.end(stream, end)
