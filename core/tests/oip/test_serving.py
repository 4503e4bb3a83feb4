"""A server from its start to its stop, with something simple behind it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tandem.errors import BundleError
from tandem.oip import grpc_predict_v2_pb2 as pb
from tandem.oip import protobuf, serving
from tandem.oip.grpc_server import method
from tandem.oip.http1 import Http1Protocol
from tandem.oip.serving import FrontEnds, listen, serve
from tandem.oip.settings import ServerSettings


class Recorded:
    """A lifecycle that writes down what happens to it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.steps: list[str] = []
        self.started = asyncio.Event()
        self.checked = asyncio.Event()
        self.draining = asyncio.Event()
        self._error = error

    async def start(self) -> None:
        self.steps.append("start")
        if self._error is not None:
            raise self._error
        self.started.set()

    def set_listening(self, listening: bool) -> None:
        if (step := f"listening {listening}") not in self.steps:
            self.steps.append(step)
        self.checked.set()

    def drain(self) -> None:
        self.steps.append("drain")
        self.draining.set()

    async def close(self) -> None:
        self.steps.append("close")


def front_ends(settings: ServerSettings, released: asyncio.Event | None = None) -> FrontEnds:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow" and released is not None:
            await released.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def live(_: object) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    return FrontEnds(
        app=app,
        protocol=partial(Http1Protocol, settings.uploads()),
        methods={f"/{protobuf.SERVICE}/ServerLive": method(live, pb.ServerLiveRequest)},
        streams={},
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
async def settings() -> AsyncIterator[ServerSettings]:
    """Of a server whose signal handlers are taken away again."""
    yield ServerSettings(host="127.0.0.1", http_port=free_port(), grpc_port=free_port())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


@pytest.fixture(autouse=True)
def switch_intervals(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The interpreter of the tests' own process stays as it is; these are the intervals that it was to have."""
    for name in ("freeze", "set_threshold"):
        monkeypatch.setattr(serving.gc, name, lambda *_: None)
    intervals: list[float] = []
    monkeypatch.setattr(serving.sys, "setswitchinterval", intervals.append)
    return intervals


async def test_threads_that_read_long_requests_give_way_to_the_event_loop_at_once(
    settings: ServerSettings, switch_intervals: list[float]
) -> None:
    lifecycle = Recorded()
    task = asyncio.create_task(serve(settings, front_ends(settings), lifecycle))
    await lifecycle.started.wait()
    signal.raise_signal(signal.SIGTERM)
    await task
    assert switch_intervals == [0.0005]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_once_requests_in_flight_are_answered(
    settings: ServerSettings, number: signal.Signals
) -> None:
    lifecycle, released = Recorded(), asyncio.Event()
    task = asyncio.create_task(serve(settings, front_ends(settings, released), lifecycle))
    await lifecycle.started.wait()
    reader, writer = await asyncio.open_connection(settings.host, settings.http_port)
    writer.write(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    await lifecycle.checked.wait()
    os.kill(os.getpid(), number)
    await lifecycle.draining.wait()
    assert not task.done()
    released.set()
    assert b"200 OK" in await reader.readline()
    writer.close()
    await task
    assert lifecycle.steps == ["start", "listening True", "drain", "close"]


async def test_what_cannot_start_ends_it(settings: ServerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    # nobody asks the ports: a question that is broken off would leave its connection behind
    monkeypatch.setattr(serving, "watch", lambda *_: asyncio.Event().wait())
    lifecycle = Recorded(BundleError("no good"))
    with pytest.raises(BundleError, match="no good"):
        await serve(settings, front_ends(settings), lifecycle)
    assert lifecycle.steps == ["start", "drain", "close"]


@pytest.mark.parametrize("setting", ["http_port", "grpc_port"])
async def test_a_taken_port_ends_it_before_anything_starts(settings: ServerSettings, setting: str) -> None:
    lifecycle = Recorded()
    port = getattr(settings, setting)
    refused = pytest.raises(OSError, match=f"^cannot listen at 127.0.0.1:{port}: Address already in use")
    with socket.create_server(("127.0.0.1", port)), refused:
        await serve(settings, front_ends(settings), lifecycle)
    assert lifecycle.steps == []


async def test_any_free_port_is_asked_whether_it_answers() -> None:
    settings = ServerSettings(host="127.0.0.1", http_port=0, grpc_port=0)
    lifecycle = Recorded()
    task = asyncio.create_task(serve(settings, front_ends(settings), lifecycle))
    await lifecycle.checked.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await task
    assert "listening True" in lifecycle.steps


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (BundleError("no good"), 1), (ConnectionError("no good"), 1)], ids=str
)
def test_the_exit_code(error: Exception | None, code: int, caplog: pytest.LogCaptureFixture) -> None:
    async def ends() -> None:
        if error is not None:
            raise error

    assert serving.run(ends()) == code
    assert [record.getMessage() for record in caplog.records] == (["no good"] if error else [])


def test_what_nobody_expects_is_not_kept_quiet() -> None:
    async def ends() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        serving.run(ends())


def test_several_processes_can_share_a_port() -> None:
    first = listen("127.0.0.1", 0, reuse_port=True)
    with first, listen("127.0.0.1", first.getsockname()[1], reuse_port=True):
        pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_all_of_ipv6_is_ipv4_too() -> None:
    with listen("::", 0) as listener, contextlib.closing(socket.socket()) as client:
        client.connect(("127.0.0.1", listener.getsockname()[1]))
