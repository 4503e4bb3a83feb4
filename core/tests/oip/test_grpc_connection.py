"""The server's end of a connection, with grpcio's client at the other, and with clients that misbehave."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import NotFound
from tandem.oip import grpc_messages, header_blocks, http2
from tandem.oip.budgets import Backlog, shared_overhead
from tandem.oip.grpc_connection import ServingConnection
from tandem.oip.grpc_methods import CallContext, Method
from tandem.oip.grpc_server import GrpcServer
from tandem.oip.http2 import frame

METHOD = "/test.Echo/Call"
STREAM_METHOD = "/test.Echo/Stream"
LIMIT = 6_000_000
Handler = Callable[[bytes], Awaitable[bytes]]


async def echo(message: bytes) -> bytes:
    return message


def method_of(handler: Handler) -> Method:
    async def answer(message: bytes, context: CallContext) -> bytes:
        return await handler(message)

    return Method(answer, LIMIT)


@asynccontextmanager
async def serving(handler: Handler = echo) -> AsyncIterator[tuple[GrpcServer, str]]:
    server = GrpcServer({METHOD: method_of(handler)})
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    await server.start(listener)
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        await server.stop(5)


@asynccontextmanager
async def calling(
    handler: Handler = echo, method: str = METHOD, **options: int
) -> AsyncIterator[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]]:
    arguments = [("grpc.max_receive_message_length", -1), *((f"grpc.{name}", value) for name, value in options.items())]
    async with serving(handler) as (_, host), grpc.aio.insecure_channel(host, options=arguments) as channel:
        yield channel.unary_unary(method)


async def refusal(call: Awaitable[bytes]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 65_535, 65_536, 300_000, 5_000_000])
async def test_messages_of_any_size_both_ways(size: int) -> None:
    message = (bytes(range(256)) * (size // 256 + 1))[:size]
    async with calling() as call:
        assert await call(message) == message


async def test_answers_that_the_clients_window_does_not_hold_follow_as_it_makes_room() -> None:
    message = b"x" * 2_000_000
    async with calling(**{"http2.lookahead_bytes": 65_536, "http2.bdp_probe": 0}) as call:
        assert await asyncio.gather(*(call(message) for _ in range(4))) == [message] * 4


async def test_many_calls_share_a_connection_and_none_gets_the_answer_of_another() -> None:
    async def slower_for_some(message: bytes) -> bytes:
        for _ in range(message[0] % 7):
            await asyncio.sleep(0)
        return message

    async with calling(slower_for_some) as call:
        messages = [bytes([number % 256]) * (number * 977 % 40_000 + 1) for number in range(200)]
        assert await asyncio.gather(*(call(message) for message in messages)) == messages


async def test_a_refusal_has_its_status_its_words_and_its_code() -> None:
    async def refuse(message: bytes) -> bytes:
        raise NotFound("kein Modell «m» hier, 100 %")

    async with calling(refuse) as call:
        for _ in range(2):
            refused = await refusal(call(b"?"))
            assert refused.code() is grpc.StatusCode.NOT_FOUND
            assert refused.details() == "kein Modell «m» hier, 100 %"
            assert dict(refused.trailing_metadata())["tandem-error-code"] == "model_not_found"


async def test_a_fault_of_ours_says_nothing_of_its_insides() -> None:
    async def fail(message: bytes) -> bytes:
        raise ZeroDivisionError("secret")

    async with calling(fail) as call:
        refused = await refusal(call(b"?"))
    assert (refused.code(), refused.details()) == (grpc.StatusCode.INTERNAL, "internal error")


async def test_a_very_long_message_does_not_burst_the_headers() -> None:
    async def refuse(message: bytes) -> bytes:
        raise NotFound("x" * 100_000)

    async with calling(refuse) as call:
        assert (await refusal(call(b"?"))).code() is grpc.StatusCode.NOT_FOUND


async def test_unknown_methods() -> None:
    async with calling(method="/test.Echo/Other") as call:
        assert (await refusal(call(b"?"))).code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("size", [0, 1, 10_000, LIMIT])
async def test_compressed_messages(compression: grpc.Compression, size: int) -> None:
    async with calling() as call:
        assert await call(b"x" * size, compression=compression) == b"x" * size


async def test_compressed_messages_are_bounded_after_decompression() -> None:
    async with calling() as call:
        for size in (LIMIT + 1, 20 * LIMIT):
            refused = await refusal(call(b"x" * size, compression=grpc.Compression.Gzip))
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert dict(refused.trailing_metadata())["tandem-error-code"] == "request_too_large"
        assert await call(b"a") == b"a"


@pytest.mark.parametrize(
    ("size", "compression"), [(1000, grpc.Compression.Gzip), (5_000_000, grpc.Compression.NoCompression)]
)
async def test_others_are_answered_while_a_message_is_unpacked(
    size: int, compression: grpc.Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacking, go_on = asyncio.Event(), threading.Event()
    loop, unpack = asyncio.get_running_loop(), grpc_messages.unpack

    def slowly(framed: bytes | bytearray, encoding: str, limit: int) -> bytes:
        if grpc_messages.takes_long(framed):
            loop.call_soon_threadsafe(unpacking.set)
            go_on.wait()
        return unpack(framed, encoding, limit)

    monkeypatch.setattr(grpc_messages, "unpack", slowly)
    async with calling() as call:
        long = call(b"x" * size, compression=compression)
        await unpacking.wait()
        assert await call(b"a") == b"a"
        go_on.set()
        assert await long == b"x" * size


async def test_long_answers_are_compressed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, pack = set[str](), grpc_messages.pack

    def noted(content: bytes, encoding: str = "identity") -> bytes:
        threads.add(threading.current_thread().name.partition("_")[0])
        return pack(content, encoding)

    monkeypatch.setattr(grpc_messages, "pack", noted)
    async with calling() as call:
        assert await call(b"x" * 100_000, compression=grpc.Compression.Gzip) == b"x" * 100_000
    assert threads == {"writer"}


async def test_too_large_messages_are_refused_and_the_connection_goes_on() -> None:
    async with calling() as call:
        for size in (LIMIT + 1, 2 * LIMIT):
            refused = await refusal(call(b"x" * size))
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger than 6000000 bytes" in str(refused.details())
        assert await call(b"a") == b"a"
        assert len(await call(b"x" * LIMIT)) == LIMIT


async def test_a_call_that_is_given_up_is_cancelled_and_disturbs_no_other() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(message: bytes) -> bytes:
        if message == b"hang":
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return message

    async with calling(hang) as call:
        hanging = call(b"hang")
        assert await call(b"a") == b"a"
        await started.wait()
        hanging.cancel()
        await cancelled.wait()
        assert await call(b"b") == b"b"


async def test_a_deadline_ends_the_work() -> None:
    cancelled = asyncio.Event()

    async def hang(message: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return message

    async with calling(hang) as call:
        assert (await refusal(call(b"?", timeout=0.05))).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await cancelled.wait()


async def test_stopping_lets_calls_end_and_takes_no_new_connections() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(message: bytes) -> bytes:
        started.set()
        await go_on.wait()
        return message

    async with serving(slow) as (server, host), grpc.aio.insecure_channel(host) as channel:
        call = asyncio.ensure_future(channel.unary_unary(METHOD)(b"a"))
        await started.wait()
        stopping = asyncio.create_task(server.stop(60))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await said(host, SETTINGS, b"never")
        assert not stopping.done()
        go_on.set()
        assert await call == b"a"
        await stopping


async def test_stopping_waits_for_nobody_longer_than_the_grace() -> None:
    started = asyncio.Event()

    async def hang(message: bytes) -> bytes:
        started.set()
        await asyncio.Event().wait()
        return message

    async with serving(hang) as (server, host), grpc.aio.insecure_channel(host) as channel:
        call = asyncio.ensure_future(channel.unary_unary(METHOD)(b"a"))
        await started.wait()
        await server.stop(0)
        assert (await refusal(call)).code() is grpc.StatusCode.UNAVAILABLE


SETTINGS = http2.PREFACE + frame(http2.SETTINGS, 0, 0, b"")
HEAD = (
    header_blocks.NO_TABLE
    + b"\x83\x86"
    + header_blocks.indexed(4, METHOD)
    + header_blocks.indexed(31, "application/grpc")
)
REQUEST = frame(http2.HEADERS, http2.END_HEADERS, 1, HEAD)
HI = b"\0\0\0\0\x02hi"


def headers(*more: bytes) -> bytes:
    return frame(http2.HEADERS, http2.END_HEADERS, 1, HEAD + b"".join(more))


GZIP = header_blocks.literal("grpc-encoding", "gzip")
ACCEPTS_GZIP = header_blocks.literal("grpc-accept-encoding", "identity,gzip")


@pytest.mark.parametrize(("accepted", "compressed"), [(ACCEPTS_GZIP, True), (b"", False)])
async def test_answers_are_compressed_as_the_request_where_the_client_accepts_it(
    accepted: bytes, compressed: bool
) -> None:
    message = grpc_messages.pack(b"x" * 1000, "gzip")
    sent = SETTINGS + headers(GZIP, accepted) + frame(http2.DATA, http2.END_STREAM, 1, message)
    async with serving() as (_, host):
        answer = await said(host, sent, header_blocks.literal("grpc-status", "0"))
    assert (GZIP in answer) == (message in answer) == compressed
    assert (b"x" * 1000 in answer) == (not compressed)


async def test_an_encoding_that_is_not_read_is_refused_with_those_that_are() -> None:
    sent = SETTINGS + headers(header_blocks.literal("grpc-encoding", "br")) + frame(http2.DATA, http2.END_STREAM, 1, HI)
    async with serving() as (_, host):
        answer = await said(host, sent, b"identity,gzip,deflate")
    assert header_blocks.literal("grpc-status", "12") in answer


@pytest.mark.parametrize("obeys", [True, False])
async def test_clients_whose_header_blocks_refer_to_earlier_ones(obeys: bool) -> None:
    """Some note what a server announces and go on with a table of 4096 all the same."""
    encoder = hpack.Encoder()
    sent = [SETTINGS]
    fields = [(":method", "POST"), (":path", METHOD), ("content-type", "application/grpc"), ("x-trace", "0")]
    for number in range(1, 12, 2):
        if obeys and number == 5:
            encoder.header_table_size = 0
        fields[-1] = ("x-trace", str(number // 4))
        sent.append(frame(http2.HEADERS, http2.END_HEADERS, number, encoder.encode(fields)))
        sent.append(frame(http2.DATA, http2.END_STREAM, number, b"\0\0\0\0\1" + bytes([64 + number])))
    async with serving() as (_, host):
        answer = await said(host, b"".join(sent), b"\0\0\0\0\1" + bytes([64 + 11]))
    assert re.findall(rb"\0\0\0\0\x01([A-Z])", answer) == [bytes([64 + number]) for number in range(1, 12, 2)]


async def doubled(messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Two answers to each request; refuses a request for it."""
    async for message in messages:
        if message == b"refuse":
            raise NotFound("no")
        if message == b"fail":
            raise ZeroDivisionError("secret")
        yield message
        yield message


@asynccontextmanager
async def streaming(**options: int) -> AsyncIterator[Any]:
    server = GrpcServer({}, {METHOD: doubled})
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    arguments = [(f"grpc.{name}", value) for name, value in options.items()]
    async with grpc.aio.insecure_channel(host, options=arguments) as channel:
        yield server, channel.stream_stream(METHOD)
    await server.stop(5)


async def test_a_stream_is_answered_while_it_goes_on() -> None:
    async with streaming() as (_, method):
        call = method()
        for size in (0, 5, 60_000):
            await call.write(b"x" * size)
            assert [await call.read(), await call.read()] == [b"x" * size] * 2
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_of_compressed_messages() -> None:
    async with streaming() as (_, method):
        call = method(iter([b"x" * 1000, b"y" * 1000]), compression=grpc.Compression.Gzip)
        assert [answer[:1] async for answer in call] == [b"x", b"x", b"y", b"y"]


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize(("message", "status"), [(b"refuse", "NOT_FOUND"), (b"fail", "INTERNAL")])
async def test_a_stream_that_is_refused(before: int, message: bytes, status: str) -> None:
    async with streaming() as (_, method):
        call = method(iter([b"a"] * before + [message]))
        for _ in range(2 * before):
            assert await call.read() == b"a"
        assert (await call.code()).name == status


async def test_a_stream_whose_answers_the_clients_window_does_not_hold() -> None:
    async with streaming(**{"http2.lookahead_bytes": 65_536, "http2.bdp_probe": 0}) as (_, method):
        assert [len(answer) async for answer in method(iter([b"x" * 60_000] * 7))] == [60_000] * 14


async def test_a_stream_whose_client_never_reads_is_ended() -> None:
    window = http2.PREFACE + frame(http2.SETTINGS, 0, 0, struct.pack(">HI", http2.INITIAL_WINDOW, 0))
    sent = window + headers() + frame(http2.DATA, 0, 1, grpc_messages.pack(b"x" * 60_000)) * 20
    sent += frame(http2.SETTINGS, 0, 0, struct.pack(">HI", http2.INITIAL_WINDOW, http2.LARGEST_WINDOW))
    sent += frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30))
    server = GrpcServer({}, {METHOD: doubled})
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    answer = await said(f"127.0.0.1:{listener.getsockname()[1]}", sent, b"grpc-status")
    assert b"grpc-status\x018" in answer
    await server.stop(0)


async def test_a_stream_that_waits_ends_with_the_server() -> None:
    async with streaming() as (server, method):
        call = method()
        await call.write(b"a")
        assert [await call.read(), await call.read()] == [b"a"] * 2
        await server.stop(60)
        assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_that_is_given_up_or_late_disturbs_no_other() -> None:
    async with streaming() as (_, method):
        given_up, other_call = method(), method()
        for call in (given_up, other_call):
            await call.write(b"a")
            assert await call.read() == b"a"
        given_up.cancel()
        late = method(timeout=0.05)
        assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await other_call.write(b"b")
        assert [await other_call.read() for _ in range(3)] == [b"a", b"b", b"b"]


async def test_what_a_client_sends_as_the_server_stops_does_not_break_its_connection() -> None:
    """A client that is told so by a reset loses answers that it has not read yet."""
    async with serving() as (server, host):
        name, port = host.split(":")
        with socket.create_connection((name, int(port))) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, SETTINGS + headers() + frame(http2.DATA, http2.END_STREAM, 1, HI))
            received = b""
            while HI not in received:
                received += await loop.sock_recv(client, 65_536)
            stopped = asyncio.create_task(server.stop(60))
            while part := await loop.sock_recv(client, 65_536):
                received += part
                if frame(http2.PING, 0, 0, b"\0" * 8) in received:
                    await loop.sock_sendall(client, frame(http2.PING, http2.ACK, 0, b"\0" * 8))
            for _ in range(3):
                await loop.sock_sendall(client, frame(http2.PING, 0, 0, b"12345678"))
        await stopped


async def said(host: str, sent: bytes, until: bytes) -> bytes:
    """What the server answers, up to some bytes of it or to its end."""
    name, port = host.split(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    writer.write(sent)
    content = b""
    while until not in content and (more := await reader.read(4096)):
        content += more
    writer.close()
    return content


async def test_padding_priority_continuation_pings_and_unknown_frames_are_understood() -> None:
    sent = (
        SETTINGS
        + frame(http2.PING, 0, 0, b"12345678")
        + frame(http2.HEADERS, 0x28, 1, b"\x02\0\0\0\0\x10" + HEAD[:10] + b"\0\0")
        + frame(http2.CONTINUATION, http2.END_HEADERS, 1, HEAD[10:])
        + frame(99, 0, 1, b"unknown")
        + frame(http2.DATA, 8 | http2.END_STREAM, 1, b"\x03" + HI + b"\0\0\0")
    )
    async with serving() as (_, host):
        answer = await said(host, sent, header_blocks.literal("grpc-status", "0"))
    assert frame(http2.PING, http2.ACK, 0, b"12345678") in answer
    assert HI in answer
    assert answer.endswith(header_blocks.literal("grpc-status", "0"))


def error_of(answer: bytes) -> int:
    """The code of the GOAWAY frame that an answer ends with."""
    assert answer[-17:-8] == frame(http2.GOAWAY, 0, 0, b"\0" * 8)[:9]
    return int.from_bytes(answer[-4:], "big")


def window_update(stream: int, increment: int) -> bytes:
    return frame(http2.WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


BREACHES = {
    "even stream": (frame(http2.HEADERS, http2.END_HEADERS, 2, HEAD), http2.PROTOCOL_ERROR),
    "no HPACK": (frame(http2.HEADERS, http2.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), http2.PROTOCOL_ERROR),
    "interrupted": (frame(http2.HEADERS, 0, 1, HEAD) + frame(http2.PING, 0, 0, b"12345678"), http2.PROTOCOL_ERROR),
    "no beginning": (frame(http2.CONTINUATION, http2.END_HEADERS, 1, HEAD), http2.PROTOCOL_ERROR),
    "long block": (
        frame(http2.HEADERS, 0, 1, b"") + frame(http2.CONTINUATION, 0, 1, b"\0" * 60_000) * 2,
        http2.ENHANCE_YOUR_CALM,
    ),
    "long block at once": (frame(http2.HEADERS, http2.END_HEADERS, 1, b"\x82" * 65_537), http2.ENHANCE_YOUR_CALM),
    "endless block": (
        frame(http2.HEADERS, 0, 1, HEAD) + frame(http2.CONTINUATION, 0, 1, b"") * 100,
        http2.ENHANCE_YOUR_CALM,
    ),
    "padding": (REQUEST + frame(http2.DATA, 8, 1, b"\x09" + HI), http2.PROTOCOL_ERROR),
    "huge frame": (b"\xff\xff\xff\0\0\0\0\0\0", http2.FRAME_SIZE_ERROR),
    "no increment": (frame(http2.WINDOW_UPDATE, 0, 0, b""), http2.PROTOCOL_ERROR),
    "increment of nothing": (window_update(0, 0), http2.FLOW_CONTROL_ERROR),
    "window too large": (window_update(0, 2**31 - 1), http2.FLOW_CONTROL_ERROR),
    "first window too large": (
        frame(http2.SETTINGS, 0, 0, struct.pack(">HI", http2.INITIAL_WINDOW, 2**31)),
        http2.FLOW_CONTROL_ERROR,
    ),
    "half a setting": (frame(http2.SETTINGS, 0, 0, b"123"), http2.PROTOCOL_ERROR),
    "many settings": (
        frame(http2.SETTINGS, 0, 0, struct.pack(">HI", http2.INITIAL_WINDOW, 9) * 33),
        http2.ENHANCE_YOUR_CALM,
    ),
    "short ping": (frame(http2.PING, 0, 0, b"1234"), http2.FRAME_SIZE_ERROR),
    "pushed": (frame(http2.PUSH_PROMISE, http2.END_HEADERS, 1, HEAD), http2.PROTOCOL_ERROR),
    "data before headers": (frame(http2.DATA, 0, 1, HI), http2.PROTOCOL_ERROR),
    "data of no stream": (frame(http2.DATA, 0, 0, HI), http2.PROTOCOL_ERROR),
    "reset before headers": (frame(http2.RST_STREAM, 0, 1, b"\0\0\0\x08"), http2.PROTOCOL_ERROR),
    "window before headers": (window_update(1, 1), http2.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("sent", "code"), BREACHES.values(), ids=BREACHES)
async def test_whoever_breaks_the_protocol_is_told_and_left(sent: bytes, code: int) -> None:
    async with serving() as (_, host):
        assert error_of(await said(host, SETTINGS + sent, b"\0\0\0\0never")) == code
        async with grpc.aio.insecure_channel(host) as channel:
            assert await channel.unary_unary(METHOD)(b"a") == b"a"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (frame(http2.HEADERS, 5, 1, HEAD), b"grpc-status\x0213"),
        (REQUEST + frame(http2.DATA, 1, 1, HI + HI), b"grpc-status\x0213"),
        (REQUEST + frame(http2.DATA, 1, 1, b"\x01" + HI[1:]), b"grpc-status\x0213"),
        (frame(http2.HEADERS, 5, 1, HEAD[:-19] + header_blocks.indexed(31, "text/html")), b"415"),
    ],
    ids=["no message", "two messages", "compressed unannounced", "no gRPC"],
)
async def test_requests_that_are_none(sent: bytes, status: bytes) -> None:
    async with serving() as (_, host):
        assert status in await said(host, SETTINGS + sent, status)


async def test_http_1_is_hung_up_on() -> None:
    async with serving() as (_, host):
        assert b"HTTP" not in await said(host, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"never")


@given(st.binary(max_size=300), st.integers(1, 60), st.booleans())
def test_any_bytes_in_any_pieces_break_nothing_but_the_connection(noise: bytes, size: int, greets: bool) -> None:
    class Transport(asyncio.Transport):
        closed = False

        def write(self, data: bytes | bytearray | memoryview) -> None:
            pass

        def abort(self) -> None:
            self.closed = True

        close = abort

        def is_closing(self) -> bool:
            return self.closed

    async def run() -> None:
        closed: list[ServingConnection] = []
        streams = {STREAM_METHOD: doubled}
        overhead = shared_overhead(lambda: 0.0)
        connection = ServingConnection({METHOD: method_of(echo)}, streams, Backlog(LIMIT), overhead, closed.append)
        connection.connection_made(Transport())
        sent = SETTINGS + noise if greets else noise
        for at in range(0, len(sent), size):
            connection.data_received(sent[at : at + size])
            await asyncio.sleep(0)
        connection.connection_lost(None)
        assert closed

    asyncio.run(run())


async def test_of_too_many_connections_the_idle_ones_are_closed() -> None:
    server = GrpcServer({METHOD: method_of(echo)}, max_connections=2)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    idle = asyncio.create_task(said(host, SETTINGS, b"never"))
    calls = [asyncio.create_task(said(host, SETTINGS + REQUEST, b"never")) for _ in range(2)]
    assert error_of(await idle) == http2.NO_ERROR
    assert not any(call.done() for call in calls)
    await server.stop(0)
    await asyncio.gather(*calls, return_exceptions=True)
