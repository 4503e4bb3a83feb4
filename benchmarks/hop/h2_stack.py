"""HTTP/2 by the library ``h2``, with the least on top of it that unary calls of gRPC need.

It is to be as fast as the library can be: windows and frames are as large as ours, headers are neither checked nor
normalised, what a call sends goes out in one write.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.settings import SettingCodes

from benchmarks.hop.stack import Call, Handler
from tandem.oip.grpc_messages import PREFIX, pack
from tandem.oip.protobuf import INFER_METHOD

_WINDOW: Final = 2**31 - 1
_FRAME: Final = 2**18
_HEAD: Final = [(":status", "200"), ("content-type", "application/grpc")]
_TRAILERS: Final = [("grpc-status", "0")]


class _Connection(asyncio.Protocol):
    """One end of a connection.

    Args:
        client_side: Which one.
    """

    def __init__(self, *, client_side: bool) -> None:
        config = H2Configuration(
            client_side=client_side,
            header_encoding=None,
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_inbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._http2 = H2Connection(config)
        self._transport: asyncio.Transport
        self._contents: dict[int, bytearray] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: announce the windows."""
        self._transport = transport  # type: ignore[assignment]
        self._http2.initiate_connection()
        self._http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW, SettingCodes.MAX_FRAME_SIZE: _FRAME})
        self._http2.increment_flow_control_window(_WINDOW - 65_535)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        for event in self._http2.receive_data(data):
            if isinstance(event, DataReceived):
                number = event.stream_id
                self._contents[number] += event.data
                self._http2.acknowledge_received_data(event.flow_controlled_length, number)
            elif isinstance(event, RequestReceived | ResponseReceived):
                self._contents[event.stream_id] = bytearray()
            elif isinstance(event, StreamEnded):
                self.ended(event.stream_id, bytes(memoryview(self._contents.pop(event.stream_id))[PREFIX:]))
            else:
                self.happened(event)
        self.flush()

    def ended(self, number: int, message: bytes) -> None:
        """All of a stream has come."""
        raise NotImplementedError

    def happened(self, event: Any) -> None:
        """Something else has come."""

    def send(self, number: int, message: bytes, *, last: bool) -> None:
        """A message in as many frames as it takes; windows are never used up by messages of the sizes measured here."""
        framed = pack(message)
        size = self._http2.max_outbound_frame_size
        for at in range(0, len(framed), size):
            end = last and at + size >= len(framed)
            self._http2.send_data(number, framed[at : at + size], end_stream=end)

    def flush(self) -> None:
        """Write what is to be sent."""
        if data := self._http2.data_to_send():
            self._transport.write(data)


class _Server(_Connection):
    def __init__(self, handler: Handler) -> None:
        super().__init__(client_side=False)
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def ended(self, number: int, message: bytes) -> None:
        task = self._loop.create_task(self._answer(number, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, number: int, message: bytes) -> None:
        response = await self._handler(message)
        self._http2.send_headers(number, _HEAD)
        self.send(number, response, last=False)
        self._http2.send_headers(number, _TRAILERS, end_stream=True)
        self.flush()


class _Client(_Connection):
    def __init__(self, authority: str) -> None:
        super().__init__(client_side=True)
        self._loop = asyncio.get_running_loop()
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", INFER_METHOD),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]

    async def call(self, message: bytes) -> bytes:
        number = self._http2.get_next_available_stream_id()
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._answers[number] = answer
        self._http2.send_headers(number, self._head)
        self.send(number, message, last=True)
        self.flush()
        return await answer

    def ended(self, number: int, message: bytes) -> None:
        answer = self._answers.pop(number)
        if not answer.done():
            answer.set_result(message)

    def happened(self, event: Any) -> None:
        if isinstance(event, TrailersReceived) and dict(event.headers).get(b"grpc-status") != b"0":
            self._answers[event.stream_id].set_exception(ConnectionError(f"trailers {event.headers}"))
        elif isinstance(event, StreamReset):
            self._answers.pop(event.stream_id).set_exception(ConnectionError(f"reset with {event.error_code}"))

    def connection_lost(self, exc: Exception | None) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(exc or ConnectionError("the connection was closed"))


async def serve(port: int, handler: Handler) -> asyncio.Server:
    """Answer calls."""
    return await asyncio.get_running_loop().create_server(lambda: _Server(handler), "127.0.0.1", port)


async def connect(port: int) -> Call:
    """A connection."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: _Client(f"127.0.0.1:{port}"), "127.0.0.1", port)
    return client.call
