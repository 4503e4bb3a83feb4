"""Clients of a real broker in this process: who may write, what is committed, and what exists."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tandem_stream.clients import Patience, consumer_properties, producer_properties
from tandem_stream.deliveries import AtLeastOnce, ExactlyOnce
from tandem_stream.records import Message, Records
from tandem_stream.source import Source, check_topics
from tandem_stream.topics import StreamError

from .broker import Broker
from .workers import Stream

PATIENCE = Patience(lambda: False, 0.0)
MakeSource = Callable[[], Source]


@pytest.fixture
def stream(broker: Broker, request: Any) -> Iterator[Stream]:
    """Topics with ten events."""
    stream = Stream(broker, request.node.name[:60])
    broker.create(stream.name, stream.sink, partitions=1)
    stream.send([b"%d" % number for number in range(10)])
    yield stream
    stream.close()


@pytest.fixture
def make_source(stream: Stream) -> Iterator[MakeSource]:
    """Opens consumers of one name, which are closed at the end."""
    sources: list[Source] = []

    def make() -> Source:
        source = Source(stream.name, consumer(stream), max_rows=4, max_wait_s=0.1)
        sources.append(source)
        return source

    yield make
    for source in sources:
        # a test may have closed it
        with contextlib.suppress(RuntimeError):
            source.close()


def consumer(stream: Stream) -> dict[str, Any]:
    return consumer_properties(stream.broker.address, {}, group=stream.name, instance="w0", session_s=6)


def producer(stream: Stream, transactional_id: str | None) -> dict[str, Any]:
    return producer_properties(stream.broker.address, {}, transactional_id=transactional_id, max_bytes=1000)


def read(source: Source) -> Records:
    """The first batch that comes."""
    while (records := source.poll()) is None:
        pass
    return records


def messages(stream: Stream, records: Records) -> list[Message]:
    return [Message(stream.sink, None, value, []) for value in records.values]


def test_of_two_workers_of_one_name_the_later_one_stays(stream: Stream, make_source: MakeSource) -> None:
    first = make_source()
    early = ExactlyOnce(producer(stream, stream.name), first, PATIENCE)
    records = read(first)
    early.deliver(records, messages(stream, records))
    late_records = read(first)
    second = make_source()
    late = ExactlyOnce(producer(stream, stream.name), second, PATIENCE)
    with pytest.raises(StreamError, match="another worker runs under the same instance name"):
        early.deliver(late_records, messages(stream, late_records))
    # nothing of that counts: the later one reads the same records
    records = read(second)
    assert records.values == late_records.values
    late.deliver(records, messages(stream, records))
    assert [message.value() for message in stream.read(stream.sink)] == [b"%d" % number for number in range(8)]


def test_at_least_once_commits_what_was_delivered(stream: Stream, make_source: MakeSource) -> None:
    source = make_source()
    delivery = AtLeastOnce(producer(stream, None), source, PATIENCE)
    records = read(source)
    delivery.deliver(records, messages(stream, records))
    assert [message.value() for message in stream.read(stream.sink)] == list(records.values)
    assert source.lag() == {0: 6}
    source.close()
    assert read(make_source()).offsets == [4, 5, 6, 7]


def test_a_message_that_is_too_long_ends_the_worker(stream: Stream, make_source: MakeSource) -> None:
    source = make_source()
    delivery = ExactlyOnce(producer(stream, stream.name), source, PATIENCE)
    with pytest.raises(StreamError, match="too large"):
        delivery.deliver(read(source), [Message(stream.sink, None, b"x" * 2000, [])])


def test_topics_that_do_not_exist_are_found(stream: Stream) -> None:
    assert check_topics(consumer(stream), [stream.name, "nowhere"]) == ["nowhere"]
