"""What one client can cost a server, frame by frame: no sockets, no clock."""

from __future__ import annotations

import asyncio
import gc
import struct
import time
import weakref
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import NotFound
from tandem.oip import grpc_messages, http2, threads
from tandem.oip.budgets import Allowance, Backlog, shared_overhead
from tandem.oip.grpc_connection import CALLS_PER_TURN, MAX_STREAMS, ServingConnection
from tandem.oip.grpc_methods import AUXILIARY_BYTES, CallContext, Method
from tandem.oip.header_blocks import NO_TABLE, HeaderBlocks, indexed, literal
from tandem.oip.http2 import frame

ECHO, HANG, STREAM = "/t/Echo", "/t/Hang", "/t/Stream"
CHECKS = 7
IDLE_CHECKS = 20


class Wire(asyncio.Transport):
    """What a server writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.state = "open"
        self.reading = True
        self.resumed = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.state == "open":
            self.sent += data

    def close(self) -> None:
        self.state = "closed"

    def write_eof(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def is_closing(self) -> bool:
        return self.state != "open"

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        self.resumed.set()

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """Type, flags, stream and payload of each frame since the last time."""
        sent_frames = []
        while self.sent:
            length = int.from_bytes(self.sent[:3], "big")
            kind, flags, stream = self.sent[3], self.sent[4], int.from_bytes(self.sent[5:9], "big")
            sent_frames.append((kind, flags, stream, bytes(self.sent[9 : 9 + length])))
            del self.sent[: 9 + length]
        return sent_frames


class Client:
    """One end of a connection without a network; the other is the server's."""

    def __init__(self, limit: int = 2**20, *, greet: bool = True, overhead: Allowance | None = None) -> None:
        self.wire = Wire()
        self.backlog = Backlog(limit)
        self.hung = 0
        self.cancelled = 0
        methods = {ECHO: Method(self._echo, 2**20), HANG: Method(self._hang, 2**20)}
        self.connection = ServingConnection(
            methods, {STREAM: self._stream}, self.backlog, overhead or shared_overhead(lambda: 0.0), lambda _: None
        )
        self.connection.connection_made(self.wire)
        if greet:
            self.say(http2.PREFACE, frame(http2.SETTINGS, 0, 0, b""))
            self.wire.frames()

    def say(self, *sent: bytes) -> None:
        self.connection.data_received(b"".join(sent))

    async def heard(self) -> list[tuple[int, int, int, bytes]]:
        """Frames that the server has sent by the time that it has nothing more to do."""
        for _ in range(5):
            await asyncio.sleep(0)
        return self.wire.frames()

    def check(self, times: int = CHECKS) -> None:
        for _ in range(times):
            self.connection.check(IDLE_CHECKS)

    async def _echo(self, message: bytes, context: CallContext) -> bytes:
        if message == b"refuse":
            raise NotFound("no")
        return message

    async def _hang(self, message: bytes, context: CallContext) -> bytes:
        self.hung += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
        return b""

    async def _stream(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message


def head(number: int, path: str = ECHO, *more: bytes, flags: int = http2.END_HEADERS) -> bytes:
    block = NO_TABLE + b"\x83\x86" + indexed(4, path) + indexed(31, "application/grpc") + b"".join(more)
    return frame(http2.HEADERS, flags, number, block)


def data(number: int, message: bytes = b"hi") -> bytes:
    return frame(http2.DATA, http2.END_STREAM, number, grpc_messages.pack(message))


def reset(number: int) -> bytes:
    return frame(http2.RST_STREAM, 0, number, struct.pack(">I", http2.CANCEL))


def window(number: int, increment: int) -> bytes:
    return frame(http2.WINDOW_UPDATE, 0, number, struct.pack(">I", increment))


FIRST_WINDOW_0 = frame(http2.SETTINGS, 0, 0, struct.pack(">HI", http2.INITIAL_WINDOW, 0))
FIRST_WINDOW_1 = frame(http2.SETTINGS, 0, 0, struct.pack(">HI", http2.INITIAL_WINDOW, 1))


def resets(frames: list[tuple[int, int, int, bytes]]) -> dict[int, int]:
    """Codes by stream."""
    return {number: int.from_bytes(payload, "big") for kind, _, number, payload in frames if kind == http2.RST_STREAM}


def farewells(frames: list[tuple[int, int, int, bytes]]) -> list[int]:
    """Codes of GOAWAY frames."""
    return [int.from_bytes(payload[4:8], "big") for kind, _, _, payload in frames if kind == http2.GOAWAY]


def statuses(frames: list[tuple[int, int, int, bytes]]) -> dict[int, int]:
    """gRPC statuses by stream."""
    codes = {}
    for kind, _, number, block in frames:
        _, name, rest = block.partition(b"grpc-status")
        if kind == http2.HEADERS and name:
            codes[number] = int(rest[1 : 1 + rest[0]])
    return codes


async def test_calls_that_are_reset_at_once_leave_nothing_and_have_to_wait_when_they_are_too_many() -> None:
    client = Client()
    client.say(*(head(n, HANG) + data(n) + reset(n) for n in range(1, 40, 2)))
    assert client.wire.reading
    await client.heard()
    assert len(asyncio.all_tasks()) == 1
    client.say(*(head(n, HANG) + data(n) + reset(n) for n in range(41, 4000, 2)))
    assert not client.wire.reading
    assert farewells(await client.heard()) == []
    assert (client.wire.state, client.hung) == ("open", 0)
    assert (client.backlog.size, client.backlog.working) == (0, 0)


async def test_a_client_that_has_to_wait_gets_the_answers_of_before_and_is_heard_afterwards() -> None:
    client = Client(overhead=Allowance(600, 1.0, lambda: 0.0))
    client.say(head(1, HANG), data(1), head(3), data(3), *(frame(http2.PING, 0, 0, b"12345678") for _ in range(3000)))
    assert not client.wire.reading
    assert statuses(await client.heard()) == {3: 0}
    client.say(head(5), data(5))
    assert await client.heard() == []
    while not client.wire.reading:
        client.connection.go_on()
    assert statuses(await client.heard()) == {5: 0}
    assert (client.hung, client.cancelled) == (1, 0)


async def test_who_waits_is_read_again_by_itself() -> None:
    client = Client(overhead=shared_overhead(time.monotonic))
    client.say(*(frame(http2.PING, 0, 0, b"12345678") for _ in range(850)), head(1), data(1))
    assert not client.wire.reading
    await asyncio.wait_for(client.wire.resumed.wait(), 10)
    assert statuses(await client.heard()) == {1: 0}


async def test_a_new_connection_brings_no_new_allowance_and_who_asks_for_nothing_extra_waits_for_nobody() -> None:
    now = 0.0
    overhead = shared_overhead(lambda: now)
    pings = frame(http2.PING, 0, 0, b"12345678") * 50_000
    answered = 0
    for _ in range(20):
        attacker = Client(overhead=overhead)
        attacker.say(pings)
        answered += sum(kind == http2.PING for kind, *_ in await attacker.heard())
    assert answered < 20 * 250 + 600
    other_client = Client(overhead=overhead)
    for n in range(1, 4001, 2):
        other_client.say(head(n), data(n), frame(http2.PING, 0, 0, b"12345678"))
        assert other_client.wire.reading
        assert statuses(await other_client.heard()) == {n: 0}


async def test_who_was_answered_may_give_up_all_of_its_calls_at_once() -> None:
    """As a gateway does whose clients have waited long enough."""
    client = Client()
    for n in range(1, 2 * MAX_STREAMS, 2):
        client.say(head(n), data(n))
        assert statuses(await client.heard()) == {n: 0}
    numbers = range(2 * MAX_STREAMS + 1, 4 * MAX_STREAMS, 2)
    client.say(*(head(n, HANG) + data(n) for n in numbers))
    while client.hung < len(numbers):
        await client.heard()
    client.say(*(reset(n) for n in numbers))
    await client.heard()
    assert client.cancelled == len(numbers) == client.hung
    assert client.wire.reading


async def test_long_headers_are_paid_for_by_answers() -> None:
    long = literal("x-token", "t" * 6000)
    client, hopeless = Client(), Client()
    for n in range(1, 1000, 2):
        client.say(head(n, ECHO, long), data(n))
        assert statuses(await client.heard()) == {n: 0}
        assert client.wire.reading
    hopeless.say(*(head(n, "/no/such", long, flags=http2.END_HEADERS | http2.END_STREAM) for n in range(1, 100, 2)))
    assert not hopeless.wire.reading


async def test_new_connections_get_no_long_headers_read_beyond_what_all_may_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks, decode = list[int](), HeaderBlocks.decode

    def noted(self: HeaderBlocks, block: bytes) -> dict[str, str] | None:
        blocks.append(len(block))
        return decode(self, block)

    monkeypatch.setattr(HeaderBlocks, "decode", noted)
    now = 0.0
    overhead = shared_overhead(lambda: now)
    clients = [Client(overhead=overhead) for _ in range(50)]
    for client in clients:
        client.say(head(1, ECHO, literal("x-long", "t" * 6000)), data(1))
    assert len(blocks) < 3
    waiting = clients[-1]
    assert not waiting.wire.reading
    waiting.connection.go_on()
    assert statuses(await waiting.heard()) == {1: 0}
    broken = clients[-2]
    broken.connection.connection_lost(None)
    broken.connection.go_on()
    assert len(blocks) < 4


async def test_of_many_calls_at_once_a_few_begin_in_each_turn_of_the_event_loop() -> None:
    client, other_client = Client(), Client()
    client.say(*(head(n) + data(n) for n in range(1, 800, 2)))
    assert not client.wire.reading
    other_client.say(head(1), data(1))
    answered, turns = dict[int, int](), 0
    while not statuses(other_client.wire.frames()):
        await asyncio.sleep(0)
        turns += 1
    answered |= statuses(client.wire.frames())
    assert len(answered) <= (turns + 1) * CALLS_PER_TURN < 400
    while len(answered) < 400:
        await asyncio.sleep(0)
        answered |= statuses(client.wire.frames())
    assert set(answered.values()) == {0}
    assert client.wire.reading


async def test_a_call_is_not_answered_before_its_client_takes_answers() -> None:
    client = Client()
    client.say(FIRST_WINDOW_0, *(head(n, HANG) + data(n) for n in (1, 3, 5)))
    await client.heard()
    assert client.hung == 0
    assert client.backlog.size == 3 * 7
    client.say(window(1, 1))
    await client.heard()
    assert client.hung == 1
    client.say(reset(3), FIRST_WINDOW_1)
    await client.heard()
    assert (client.hung, client.backlog.size) == (2, 0)


async def test_a_call_is_not_answered_while_its_connection_takes_no_more() -> None:
    client = Client()
    client.say(head(1), data(1, bytes(70_000)), head(3, HANG), data(3))
    await client.heard()
    client.say(head(5, HANG), data(5))
    await client.heard()
    assert client.hung == 1
    client.say(window(0, 100_000))
    assert client.connection.streams.keys() == {1, 3, 5}
    await client.heard()
    assert client.hung == 2


async def test_a_client_that_never_takes_answers_is_told_in_the_end() -> None:
    client = Client()
    client.say(FIRST_WINDOW_0, head(1, HANG), data(1))
    client.check()
    frames = await client.heard()
    assert (client.hung, statuses(frames)) == (0, {1: 4})


async def test_calls_that_are_answered_pay_for_those_that_are_reset() -> None:
    client = Client()
    for n in range(1, 20_000, 4):
        client.say(head(n), data(n), head(n + 2), reset(n + 2))
        frames = await client.heard()
        assert statuses(frames) == {n: 0}
        assert farewells(frames) == []


@pytest.mark.parametrize("more", [data(1), head(1), head(1, flags=http2.END_HEADERS | http2.END_STREAM)])
async def test_a_request_that_ends_twice_is_reset_and_given_up(more: bytes) -> None:
    client = Client()
    client.say(head(1, HANG), data(1))
    await client.heard()
    client.say(more * 100)
    assert resets(await client.heard()) == {1: http2.STREAM_CLOSED}
    assert (client.hung, client.cancelled) == (1, 1)
    client.say(head(3), data(3))
    assert statuses(await client.heard()) == {3: 0}


@pytest.mark.parametrize(
    "sent",
    [
        frame(http2.PING, 0, 0, b"12345678"),
        frame(http2.SETTINGS, 0, 0, struct.pack(">HI", http2.INITIAL_WINDOW, 9)),
        window(0, 1),
        frame(http2.DATA, 0, 1, b""),
        frame(http2.DATA, 0, 1, b"x"),
        frame(99, 0, 0, b""),
        reset(3),
        frame(http2.DATA, 0, 3, b"x" * 100),
    ],
    ids=["ping", "settings", "window", "empty data", "tiny data", "unknown", "reset", "data of a closed stream"],
)
async def test_frames_that_bring_no_call_forward_are_taken_up_to_an_allowance(sent: bytes) -> None:
    now = 0.0
    client = Client(overhead=shared_overhead(lambda: now))
    client.say(head(3), data(3))
    await client.heard()
    client.say(head(1, HANG) if sent[3] == http2.DATA and sent[8] == 1 else b"")
    for _ in range(20):
        client.say(sent * 10)
    assert client.wire.reading
    client.say(sent * 10_000)
    assert not client.wire.reading
    seconds = 0
    while not client.wire.reading:
        now += 1.0
        seconds += 1
        client.connection.go_on()
        assert seconds < 20
    assert seconds > 1
    assert (client.wire.state, farewells(await client.heard())) == ("open", [])


async def test_a_frame_that_comes_byte_by_byte_is_taken_up_to_an_allowance() -> None:
    client = Client()
    content = head(1) + data(1, b"x" * 2000)
    for place in range(300):
        client.say(content[place : place + 1])
        if not client.wire.reading:
            break
    assert 200 < place < 300
    client.connection.go_on()
    client.say(content[place + 1 :])
    assert statuses(await client.heard()) == {1: 0}


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=60), st.integers(0, 3000))
def test_an_answer_comes_whole_whatever_the_windows(increments: list[tuple[bool, int]], size: int) -> None:
    async def run() -> None:
        client = Client()
        message = bytes(range(256)) * (size // 256 + 1)
        client.say(FIRST_WINDOW_0, head(1), data(1, message[:size]))
        frames = await client.heard()
        for whole_connection, increment in increments:
            client.say(window(0 if whole_connection else 1, increment))
            room = sum(part for whole, part in increments if not whole)
            frames += await client.heard()
            assert sum(len(payload) for kind, _, _, payload in frames if kind == http2.DATA) <= room
        if 0 not in statuses(frames).values():
            client.say(window(1, 10_000))
            frames += await client.heard()
        assert b"".join(payload for kind, _, _, payload in frames if kind == http2.DATA) == grpc_messages.pack(
            message[:size]
        )
        assert statuses(frames) == {1: 0}
        assert client.backlog.size == 0

    asyncio.run(run())


async def test_of_answers_that_are_not_taken_the_oldest_are_dropped() -> None:
    client = Client(limit=10_000)
    client.say(FIRST_WINDOW_1)
    frames = []
    for n in (1, 3, 5, 7, 9):
        client.say(head(n), data(n, b"x" * 3000))
        frames += await client.heard()
    assert resets(frames) == {1: http2.CANCEL, 3: http2.CANCEL}
    assert client.backlog.size == 3 * 3004
    client.say(window(9, 10_000))
    assert statuses(await client.heard()) == {9: 0}
    client.connection.connection_lost(None)
    assert client.backlog.size == 0


async def test_an_answer_that_is_dropped_for_its_own_size_says_nothing_after_its_reset() -> None:
    client = Client(limit=10)
    client.say(FIRST_WINDOW_0, head(1), data(1, b"x" * 5), window(1, 3))
    client.backlog.limit = 5
    frames = await client.heard()
    assert [kind for kind, _, number, _ in frames if number == 1] == [http2.HEADERS, http2.DATA, http2.RST_STREAM]


async def test_a_connection_that_is_over_leaves_nothing_to_the_garbage_collector() -> None:
    """What its client had it hold would stay until the next full collection otherwise."""

    async def answer(message: bytes, context: CallContext) -> bytes:
        if message == b"hang":
            await asyncio.Event().wait()
        return message

    async def stream(messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message

    overhead = shared_overhead(lambda: 0.0)
    methods, streams = {ECHO: Method(answer)}, {STREAM: stream}
    connection = ServingConnection(methods, streams, Backlog(2**20), overhead, lambda _: None)
    connection.connection_made(Wire())
    connection.data_received(http2.PREFACE + FIRST_WINDOW_0 + head(1) + data(1) + head(3) + data(3, b"hang"))
    connection.data_received(head(5, STREAM) + frame(http2.DATA, 0, 5, grpc_messages.pack(b"hi")) + head(7))
    for _ in range(5):
        await asyncio.sleep(0)
    assert set(connection.streams) == {1, 3, 5, 7}
    reference = weakref.ref(connection)
    gc.disable()
    try:
        connection.connection_lost(None)
        del connection
        for _ in range(5):
            await asyncio.sleep(0)
        assert reference() is None
    finally:
        gc.enable()


async def test_of_requests_that_do_not_end_the_oldest_are_refused() -> None:
    client = Client(limit=10_000)
    part = frame(http2.DATA, 0, 1, b"\0\0\0\xff\xff" + b"x" * 3995)
    client.say(*(head(n) + part[:5] + struct.pack(">I", n) + part[9:] for n in (1, 3, 5)))
    frames = await client.heard()
    assert (statuses(frames), resets(frames)) == ({1: 8}, {1: http2.NO_ERROR})
    client.say(head(7), data(7, b"x" * 3000))
    assert statuses(await client.heard()) == {7: 0}
    assert client.backlog.size == 8000


async def test_requests_of_too_many_bytes_at_once_are_refused() -> None:
    client = Client(limit=10_000)
    client.say(*(head(n, HANG) + data(n, b"x" * 4000) for n in (1, 3, 5)), head(7, HANG), data(7, b"x"))
    assert statuses(await client.heard()) == {5: 8}
    client.say(reset(1))
    client.say(head(9), data(9, b"x" * 4000))
    await client.heard()
    client.say(head(11), data(11, b"x" * 4000))
    assert statuses(await client.heard()) == {11: 0}


async def test_a_message_is_refused_by_its_first_bytes_where_they_say_that_it_is_too_long() -> None:
    client = Client()
    client.say(head(1), frame(http2.DATA, 0, 1, b"\0\x7f\xff\xff\xff"))
    frames = await client.heard()
    assert (statuses(frames), resets(frames)) == ({1: 8}, {1: http2.NO_ERROR})


async def test_an_unpacked_request_counts_with_the_bytes_that_it_has_come_to() -> None:
    client = Client(limit=10_000)
    gzip = literal("grpc-encoding", "gzip")
    client.say(head(1, HANG), data(1, b"x" * 4000))
    for n in (3, 5):
        packed = grpc_messages.pack(b"x" * 4000, "gzip")
        client.say(head(n, HANG, gzip), frame(http2.DATA, http2.END_STREAM, n, packed))
        await threads.read(bool)  # after what was to be read before
    # another thread unpacks, and says so to a loop that may have more to do first
    while not (refused := statuses(await client.heard())):
        pass
    assert refused == {5: 8}
    assert (client.hung, client.backlog.working) == (2, 8000)
    client.say(reset(1), reset(3))
    assert client.backlog.working == 0


async def test_compressed_requests_that_cannot_be_unpacked_are_taken_up_to_an_allowance() -> None:
    client = Client()
    gzip = literal("grpc-encoding", "gzip")
    for n in range(1, 200, 2):
        client.say(head(n, ECHO, gzip), frame(http2.DATA, http2.END_STREAM, n, b"\1\0\0\0\2no"))
        await threads.read(bool)
        await client.heard()
        if not client.wire.reading:
            break
    assert 20 < n < 100


async def test_a_stream_of_more_messages_than_wait_is_refused_before_they_are_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unpack(*_: object) -> bytes:
        raise AssertionError

    monkeypatch.setattr(grpc_messages, "unpack", unpack)
    client = Client()
    client.say(head(1, STREAM), frame(http2.DATA, 0, 1, grpc_messages.pack(bytes(60_000), "gzip") * 101))
    assert statuses(await client.heard()) == {1: 8}


async def test_messages_in_streams_are_bounded() -> None:
    client = Client()
    client.say(head(1, STREAM), frame(http2.DATA, 0, 1, b"\0" + struct.pack(">I", AUXILIARY_BYTES + 1)))
    assert statuses(await client.heard()) == {1: 8}


async def test_more_calls_at_once_than_announced_are_refused() -> None:
    client = Client()
    client.say(*(head(n, HANG) + data(n) for n in range(1, 2 * MAX_STREAMS + 2, 2)))
    frames = []
    while client.hung < MAX_STREAMS:
        frames += await client.heard()
    assert resets(frames + await client.heard()) == {2 * MAX_STREAMS + 1: http2.REFUSED_STREAM}


async def test_headers_that_are_too_long_are_the_fault_of_their_own_call() -> None:
    client = Client()
    client.say(head(1, HANG), data(1))
    entry = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000
    client.say(frame(http2.HEADERS, http2.END_HEADERS, 3, b"\x3f\xe1\x1f" + entry + b"\xbe" * 17))
    frames = await client.heard()
    assert [block for kind, _, number, block in frames if kind == http2.HEADERS] == [NO_TABLE + indexed(8, "431")]
    client.say(head(5), data(5))
    assert statuses(await client.heard()) == {5: 0}
    assert (client.hung, client.cancelled) == (1, 0)


async def test_a_deadline_counts_from_the_head_of_a_request() -> None:
    client = Client()
    client.say(head(1, HANG, literal("grpc-timeout", "0n")))
    assert statuses(await client.heard()) == {1: 4}
    client.say(data(1))
    await client.heard()
    assert client.hung == 0


async def test_what_a_client_does_not_read_waits_with_its_calls() -> None:
    client = Client()
    client.connection.pause_writing()
    assert not client.wire.reading
    client.say(*(head(n) + data(n, b"x" * 1000) for n in (1, 3)))
    assert not any(kind == http2.DATA for kind, _, _, _ in await client.heard())
    assert client.backlog.size == 2 * 1005
    client.connection.resume_writing()
    assert client.wire.reading
    assert statuses(await client.heard()) == {1: 0, 3: 0}


HALF_DATA = head(1) + frame(http2.DATA, 0, 1, b"\0\0\0\0\x09x")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (head(1), {1: 4}, {1: http2.NO_ERROR}),
        (HALF_DATA, {1: 4}, {1: http2.NO_ERROR}),
        (FIRST_WINDOW_1 + head(1) + data(1), {}, {1: http2.CANCEL}),
        (head(1, HANG) + data(1), {}, {}),
        (head(1, STREAM) + frame(http2.DATA, 0, 1, grpc_messages.pack(b"hi")), {}, {}),
    ],
    ids=["no request", "half a request", "answer not taken", "being answered", "conversation"],
)
async def test_who_lets_a_call_lie_loses_it(sent: bytes, status: dict[int, int], code: dict[int, int]) -> None:
    client = Client()
    client.say(sent)
    await client.heard()
    client.check()
    frames = await client.heard()
    assert (statuses(frames), resets(frames)) == (status, code)
    assert client.wire.state == "open"


@pytest.mark.parametrize(
    "trickle",
    [
        lambda client, number: client.say(head(1)[number : number + 1]),
        lambda client, number: client.say(frame(http2.CONTINUATION if number else http2.HEADERS, 0, 1, b"")),
    ],
    ids=["frame", "header block"],
)
async def test_a_head_that_never_ends_ends_the_connection(trickle: Callable[[Client, int], None]) -> None:
    client = Client()
    for number in range(CHECKS):
        trickle(client, number)
        client.check(1)
    trickle(client, CHECKS)
    client.check(1)
    assert client.wire.state == "aborted"


async def test_who_does_not_greet_or_is_idle_is_hung_up_on() -> None:
    silent, idle = Client(greet=False), Client()
    idle.say(head(1), data(1))
    await idle.heard()
    silent.check()
    idle.check(IDLE_CHECKS)
    assert (silent.wire.state, idle.wire.state) == ("aborted", "open")
    idle.check(1)
    assert idle.wire.state == "closed"
    assert farewells(await idle.heard()) == [http2.NO_ERROR]
    idle.check()
    assert idle.wire.state == "aborted"  # nor did it read that
