"""The gRPC connection against real gRPC servers, and against peers that misbehave."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.http2_connection import CallingConnection

METHOD = "/test.Echo/Call"
Handler = Callable[[bytes, Any], Awaitable[bytes]]


async def echo(message: bytes, context: Any) -> bytes:
    return message


@asynccontextmanager
async def served(handler: Handler, **options: int) -> AsyncIterator[str]:
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", -1), *((f"grpc.{name}", value) for name, value in options.items())]
    )
    methods = {"Call": grpc.unary_unary_rpc_method_handler(handler)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def peer(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that reads the request and answers with bytes of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        await answer(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 300_000, 5_000_000])
async def test_messages_of_any_size_both_ways(size: int) -> None:
    message = bytes(range(256)) * (size // 256 + 1)
    async with served(echo) as host:
        connection = await CallingConnection.open(Address(host), METHOD)
        answer = await connection.call(message[:size])
        assert (answer.status, answer.content) == (0, message[:size])
        connection.close()


async def test_many_calls_share_a_connection_and_none_gets_the_answer_of_another() -> None:
    async def slower_for_some(message: bytes, context: Any) -> bytes:
        for _ in range(message[0] % 7):
            await asyncio.sleep(0)
        return message

    async with served(slower_for_some) as host:
        connection = await CallingConnection.open(Address(host), METHOD)
        messages = [bytes([number % 256]) * (number * 977 % 40_000 + 1) for number in range(200)]
        answers = await asyncio.gather(*(connection.call(message) for message in messages))
        assert [answer.content for answer in answers] == messages
        connection.close()


async def test_more_data_than_the_windows_hold_goes_out_as_the_server_makes_room() -> None:
    message = b"x" * 3_000_000
    async with served(echo, **{"http2.lookahead_bytes": 65_536, "http2.bdp_probe": 0}) as host:
        connection = await CallingConnection.open(Address(host), METHOD)
        answers = await asyncio.gather(*(connection.call(message) for _ in range(4)))
        assert all(answer.content == message for answer in answers)
        connection.close()


async def test_statuses_and_messages() -> None:
    async def refuse(message: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "kein Modell «m» hier")
        raise AssertionError

    async with served(refuse) as host:
        connection = await CallingConnection.open(Address(host), METHOD)
        for _ in range(3):
            answer = await connection.call(b"?")
            assert (answer.status, answer.message) == (5, "kein Modell «m» hier")
        connection.close()


async def test_an_unknown_method() -> None:
    async with served(echo) as host:
        connection = await CallingConnection.open(Address(host), "/test.Echo/Other")
        assert (await connection.call(b"?")).status == grpc.StatusCode.UNIMPLEMENTED.value[0]
        connection.close()


async def test_a_call_that_is_given_up_is_cancelled_at_the_server_and_disturbs_no_other() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(message: bytes, context: Any) -> bytes:
        if message == b"hang":
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
        return message

    async with served(hang) as host:
        connection = await CallingConnection.open(Address(host), METHOD)
        hanging = asyncio.create_task(connection.call(b"hang"))
        assert (await connection.call(b"a")).content == b"a"
        await started.wait()
        hanging.cancel()
        await cancelled.wait()
        assert (await connection.call(b"b")).content == b"b"
        connection.close()


async def test_a_server_that_stops_fails_what_is_not_answered_and_the_connection_is_not_used_again() -> None:
    started = asyncio.Event()

    async def hang(message: bytes, context: Any) -> bytes:
        started.set()
        await asyncio.Event().wait()
        return message

    async with served(hang) as host:
        connection = await CallingConnection.open(Address(host), METHOD)
        assert connection.usable
        call = asyncio.create_task(connection.call(b"?"))
        await started.wait()
    assert (await call).status == grpc.StatusCode.UNAVAILABLE.value[0]
    assert not connection.usable


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


# the header table shrinks to 0 as we asked, ":status: 200" is number 8 of the static table, grpc-status a literal
OK = frame(1, 4, 1, b"\x20\x88")
TRAILERS = frame(1, 5, 1, b"\x00\x0bgrpc-status\x010")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame(3, 0, 1, b"\0\0\0\x07"),
        frame(7, 0, 0, b"\0\0\0\0\0\0\0\0"),
        OK + frame(0, 0, 1, b"\0\0\0\0\x05ab") + TRAILERS,
        OK + frame(0, 0, 1, b"\x01\0\0\0\x02ab") + TRAILERS,
        OK + TRAILERS,
        frame(1, 4, 1, b"\xff\xff\xff\xff\xff"),
        frame(1, 5, 1, b"\x20\x00\x0bgrpc-status\x01x"),
    ],
    ids=["hangs up", "HTTP/1", "reset", "going away", "cut off", "compressed", "no message", "no HPACK", "no status"],
)
async def test_whatever_a_peer_says_the_caller_gets_an_error(content: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(frame(4, 0, 0, b"") + content)
        await writer.drain()

    async with peer(answer) as host:
        connection = await CallingConnection.open(Address(host), METHOD)
        with pytest.raises(ConnectionError):
            await connection.call(b"?")
        connection.close()


async def test_padding_priority_continuation_and_pings_are_understood() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(
            frame(4, 0, 0, b"")
            + frame(6, 0, 0, b"12345678")
            + frame(1, 0x20, 1, b"\0\0\0\0\x10")  # priority, headers go on in the next frame
            + frame(9, 4, 1, b"\x20\x88")
            + frame(0, 8, 1, b"\x03\0\0\0\0\x02hi\0\0\0")  # padded
            + frame(99, 0, 1, b"unknown frames are passed over")
            + TRAILERS
        )
        await writer.drain()

    async with peer(answer) as host:
        connection = await CallingConnection.open(Address(host), METHOD)
        assert (await connection.call(b"?")).content == b"hi"
        connection.close()


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_in_any_pieces_break_nothing_but_the_connection(noise: bytes, size: int) -> None:
    class Transport(asyncio.Transport):
        closed = False

        def write(self, data: bytes | bytearray | memoryview) -> None:
            pass

        def abort(self) -> None:
            self.closed = True

        def close(self) -> None:
            self.closed = True

        def is_closing(self) -> bool:
            return self.closed

    async def run() -> None:
        connection = CallingConnection("host:1", METHOD, "http")
        connection.connection_made(Transport())
        call = asyncio.create_task(connection.call(b"?"))
        await asyncio.sleep(0)
        for at in range(0, len(noise), size):
            connection.data_received(noise[at : at + size])
        connection.connection_lost(None)
        with pytest.raises(ConnectionError):
            await call

    asyncio.run(run())


async def test_a_connection_that_is_given_up_is_closed_once_its_calls_are_answered() -> None:
    started, answer = asyncio.Event(), asyncio.Event()

    async def wait(message: bytes, context: Any) -> bytes:
        started.set()
        await answer.wait()
        return message

    async with served(wait) as host:
        connection = await CallingConnection.open(Address(host), METHOD)
        call = asyncio.create_task(connection.call(b"?"))
        await started.wait()
        connection.retire()
        assert not connection.usable
        assert connection.connected
        answer.set()
        assert (await call).content == b"?"
        assert not connection.connected
        with pytest.raises(ConnectionError):  # rather than wait for an answer that cannot come
            await connection.call(b"?")
