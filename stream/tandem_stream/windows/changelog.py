"""The topic that has the state of the windows: each partition that of the same partition of the source.

It is written in the transactions that commit the positions in the source, and read when a worker gets a partition. Its
records are those of :mod:`tandem.windows.state`; the one with the watermark has a header that tells the position which
the state belongs to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from tandem.windows.engine import Step
from tandem.windows.state import WATERMARK_KEY
from tandem_stream.clients import SessionLost, Stopped, as_failure
from tandem_stream.records import Header, Message
from tandem_stream.source import METADATA_S, is_error
from tandem_stream.topics import StreamError

log = logging.getLogger(__name__)

POSITION: Final = "tandem-position"
"""Header of the record with the watermark: offset of the first record of the source that the state does not have."""

_ROWS: Final = 10_000
_WAIT_S: Final = 0.05


def changelog_messages(topic: str, partition: int, step: Step, position: int) -> Iterator[Message]:
    """The changes of a step as messages.

    Args:
        topic: The topic.
        partition: Partition of the source, and of the topic.
        step: What a batch of events does.
        position: Where reading goes on after the batch.
    """
    headers: list[Header] = []
    for key, value in step.records():
        if key == WATERMARK_KEY:
            headers = [(POSITION, str(position))]
        yield Message(topic, key, value, headers, partition=partition)


def position_of(headers: list[tuple[str, bytes]] | None) -> int:
    """The position that the headers of a record tell; 0 if they tell none."""
    return int(dict(headers or ()).get(POSITION, b"0"))


class Changelog:
    """Reads the topic.

    Args:
        topic: Its name.
        properties: Of a consumer that reads what is committed.
        is_stopping: Whether the worker stops.
    """

    def __init__(self, topic: str, properties: Mapping[str, Any], is_stopping: Callable[[], bool]) -> None:
        self._topic = topic
        self._is_stopping = is_stopping
        own = {**properties, "enable.partition.eof": True}
        # it is in no group
        del own["group.instance.id"]
        self._consumer = Consumer(own)
        self._ends = Consumer({**own, "isolation.level": "read_uncommitted"})

    def read(self, partition: int) -> tuple[dict[bytes, bytes | None], int]:
        """The records of a partition, of those with one key the last, and the position that they belong to.

        A transaction that is still to be ended is waited for: the positions that it commits may be known before its
        records.

        Raises:
            SessionLost: it cannot be read now.
            StreamError: the broker refuses.
            Stopped: the worker stops.
        """
        try:
            return self._read(partition)
        except KafkaException as exception:
            raise as_failure(exception.args[0]) from exception

    def _read(self, partition: int) -> tuple[dict[bytes, bytes | None], int]:
        offsets = self._ends.get_watermark_offsets(TopicPartition(self._topic, partition), METADATA_S)
        if offsets is None:
            raise SessionLost(f"no broker tells where {self._topic}/{partition} ends")
        begin, end = offsets
        records: dict[bytes, bytes | None] = {}
        position = 0
        if begin == end:
            return records, position
        self._consumer.assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING)])
        try:
            for message in self._until(end):
                key = message.key() or WATERMARK_KEY
                records[key] = message.value()
                if key == WATERMARK_KEY:
                    position = position_of(message.headers())
        finally:
            self._consumer.unassign()
        log.info("state restored", extra={"partition": partition, "records": len(records), "position": position})
        return records, position

    def _until(self, end: int) -> Iterator[Any]:
        """The messages up to an offset."""
        while True:
            messages: list[Any] = self._consumer.consume(_ROWS, _WAIT_S)
            for message in messages:
                error: KafkaError | None = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF and message.offset() >= end:
                    return
                else:
                    is_error(message)
            if self._is_stopping():
                raise Stopped

    def close(self) -> None:
        """Close the clients."""
        self._consumer.close()
        self._ends.close()


def check_changelog(properties: Mapping[str, Any], source: str, changelog: str) -> None:
    """Refuse a topic that cannot have the state of the windows of a source.

    Args:
        properties: Of a client, without those of a consumer alone.
        source: The topic that is read; both exist.
        changelog: The topic of the state.

    Raises:
        StreamError: if it has another number of partitions, or is not compacted.
    """
    admin = AdminClient(dict(properties))
    try:
        topics = admin.list_topics(timeout=METADATA_S).topics
        counts = [len(topics[name].partitions) for name in (source, changelog)]
        resource = ConfigResource(ResourceType.TOPIC, changelog)
        (future,) = admin.describe_configs([resource]).values()
        policy = future.result(METADATA_S)["cleanup.policy"].value
    except KafkaException as exception:
        raise StreamError(f"{changelog}: {exception.args[0].str()}") from exception
    if counts[0] != counts[1]:
        raise StreamError(f"{changelog} has {counts[1]} partitions, and {source} {counts[0]}; both need as many")
    if policy != "compact":
        raise StreamError(f"{changelog} has cleanup.policy={policy}; it needs compact, or windows are lost")
