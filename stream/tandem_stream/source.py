"""The topic that is read: micro-batches of records, and which partitions this worker has."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tandem_stream.clients import SessionLost, as_failure
from tandem_stream.records import Records

log = logging.getLogger(__name__)

METADATA_S: Final = 20.0
"""Seconds that a broker has to answer at the start."""

_LEAVE_S: Final = 2.0
_LEAVE_POLL_S: Final = 0.05


class Source:
    """A consumer of one topic.

    Args:
        topic: Name of the topic.
        properties: Of the consumer; see :func:`~tandem_stream.clients.consumer_properties`.
        max_rows: Most records of a batch.
        max_wait_s: Seconds that a batch is waited for.
        on_revoke: Called with partitions that go away, before others may read them.
        begin: Where reading of a partition begins, in place of the position that its group has committed.

    Attributes:
        partitions: The partitions that this worker has.
    """

    def __init__(
        self,
        topic: str,
        properties: Mapping[str, Any],
        *,
        max_rows: int,
        max_wait_s: float,
        on_revoke: Callable[[set[int]], None] | None = None,
        begin: Callable[[int], int] | None = None,
    ) -> None:
        self.partitions: set[int] = set()
        self._on_revoke = on_revoke
        self._begin = begin
        self._topic = topic
        self._max_rows = max_rows
        self._max_wait_s = max_wait_s
        self._revoked: set[int] = set()
        self._is_paused = False
        self._consumer = Consumer(dict(properties))
        self._consumer.subscribe([topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke)

    def poll(self) -> Records | None:
        """The records that have come, after some have or the time to wait for them is over; None without any.

        Raises:
            SessionLost: the consumer must be opened anew.
            StreamError: another worker has taken over, or the broker refuses.
        """
        self._revoked.clear()
        try:
            messages = self._consumer.consume(self._max_rows, self._max_wait_s)
        except KafkaException as exception:
            raise as_failure(exception.args[0]) from exception
        records = _records(self._topic, [message for message in messages if not is_error(message)])
        if self._revoked & self.partitions:
            # some records were read before a partition went away, some after it came back: which, nobody can tell
            raise SessionLost("a partition went away and came back while records were read")
        if self._revoked:
            # another worker reads them
            records = records.without(frozenset(self._revoked))
        return records if len(records) else None

    def idle(self, seconds: float) -> None:
        """Wait, and stay in the group: records that were read are still being worked on.

        Raises:
            SessionLost: partitions went away meanwhile: another worker may read these records.
            StreamError: as :meth:`poll`.
        """
        if not self._is_paused:
            self._is_paused = True
            self._consumer.pause(self._own())
        self._revoked.clear()
        try:
            message = self._consumer.poll(seconds)
        except KafkaException as exception:
            raise as_failure(exception.args[0]) from exception
        if self._revoked or (message is not None and not is_error(message)):
            raise SessionLost("partitions went away while their records waited")

    def resume(self) -> None:
        """Go on to read after :meth:`idle`."""
        if self._is_paused:
            self._is_paused = False
            self._consumer.resume(self._own())

    def positions(self, records: Records) -> list[TopicPartition]:
        """Where reading goes on after some records."""
        return [TopicPartition(self._topic, partition, end) for partition, end in records.ends().items()]

    def group_metadata(self) -> Any:
        """The membership under which offsets are committed; it changes with each rebalance."""
        return self._consumer.consumer_group_metadata()

    def commit(self, records: Records) -> None:
        """Commit the positions after some records by themselves, outside of a transaction."""
        self._consumer.commit(offsets=self.positions(records), asynchronous=False)

    def lag(self) -> dict[int, int]:
        """Records that are still to be read, by partition, as far as the last fetch of each tells."""
        positions = [position for position in self._consumer.position(self._own()) if position.offset >= 0]
        ends = [self._consumer.get_watermark_offsets(position, cached=True)[1] for position in positions]
        return {
            position.partition: max(0, end - position.offset) for position, end in zip(positions, ends, strict=True)
        }

    def leave(self) -> None:
        """Leave the group, so that all partitions are distributed anew.

        A consumer that is closed in the midst of a rebalance may have given up partitions that no other one has yet.
        The next one with its instance name would get the rest, without a rebalance.
        """
        deadline = time.monotonic() + _LEAVE_S
        try:
            self._consumer.unsubscribe()
            while self.partitions and time.monotonic() < deadline:
                self._consumer.poll(_LEAVE_POLL_S)
        except KafkaException as exception:
            log.warning("cannot leave the group: %s", exception.args[0].str())

    def close(self) -> None:
        """Close. A worker with the same instance name gets the same partitions without a rebalance."""
        self._consumer.close()

    def _own(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(self.partitions)]

    def _assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.partitions |= {partition.partition for partition in partitions}
        if self._begin is not None:
            for partition in partitions:
                partition.offset = self._begin(partition.partition)
        consumer.incremental_assign(list(partitions))
        if self._is_paused:
            consumer.pause(list(partitions))
        log.info("partitions assigned", extra={"partitions": sorted(self.partitions)})

    def _revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        numbers = {partition.partition for partition in partitions}
        self._revoked |= numbers
        self.partitions -= numbers
        if self._on_revoke is not None:
            self._on_revoke(numbers)
        log.info("partitions revoked", extra={"partitions": sorted(numbers)})


def check_topics(properties: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Those of some topics that do not exist.

    Args:
        properties: Of the consumer.
        names: Of the topics.

    Raises:
        KafkaException: if no broker answers.
    """
    # of its own, since it is in no group
    consumer = Consumer(dict(properties))
    try:
        existing = consumer.list_topics(timeout=METADATA_S).topics
    finally:
        consumer.close()
    return [name for name in names if name not in existing]


def is_error(message: Message) -> bool:
    """Whether a message is none but an error, after which the consumer goes on by itself.

    Raises:
        StreamError: if it does not go on.
    """
    error = message.error()
    if error is None:
        return False
    failure = as_failure(error)
    if error.fatal() or not isinstance(failure, SessionLost):
        raise failure
    # the consumer goes on by itself, for example when a broker is back
    if error.code() != KafkaError._PARTITION_EOF:
        log.warning("%s: %s", error.name(), error.str())
    return True


def _records(topic: str, messages: Sequence[Any]) -> Records:
    # messages are Any: a record that was read has all that the types say it may lack
    times = [message.timestamp() for message in messages]
    return Records(
        topic,
        [message.value() for message in messages],
        [message.key() for message in messages],
        [message.headers() or () for message in messages],
        [message.partition() for message in messages],
        [message.offset() for message in messages],
        # the kind of a time that is not known is 0
        np.array([time if kind else -1 for kind, time in times], np.int64),
    )
