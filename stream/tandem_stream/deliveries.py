"""How messages are delivered together with the positions up to which records were read.

Exactly once: both are in one transaction of Kafka, so that readers with ``isolation.level=read_committed`` see each
record's message once, whatever dies. At least once: the positions are committed after the messages, so that what was
delivered shortly before a worker died is delivered again.

Source: Kafka's KIP-98 (transactions) and KIP-447 (positions fenced by the member's generation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from tandem_stream.clients import CALL_S, Patience, SessionLost, as_failure
from tandem_stream.records import Message, Records
from tandem_stream.source import Source
from tandem_stream.topics import StreamError


class Delivery(Protocol):
    """Delivers the messages of batch after batch."""

    def deliver(self, records: Records, messages: Sequence[Message]) -> None:
        """Deliver messages, and commit that the records they were made of are done.

        Raises:
            SessionLost: nothing of the batch counts, and the clients must be opened anew.
            StreamError: another worker has taken over, or the broker refuses.
            Stopped: the worker stops while the broker is down.
        """
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


class ExactlyOnce:
    """Messages and positions in one transaction.

    Args:
        properties: Of the producer, with a ``transactional.id``.
        source: Where the records are from.
        patience: How long brokers are waited for.

    Raises:
        StreamError: the broker refuses.
        Stopped: the worker stops before a broker answers.
    """

    def __init__(self, properties: Mapping[str, Any], source: Source, patience: Patience) -> None:
        self._producer = Producer(dict(properties))
        self._source = source
        self._patience = patience
        # ends what a worker of the same name has left open when it died
        self._patience.until_done(lambda: self._producer.init_transactions(CALL_S))

    def deliver(self, records: Records, messages: Sequence[Message]) -> None:
        """Deliver messages in a transaction; see :meth:`Delivery.deliver`."""
        self._patience.until_done(self._producer.begin_transaction)
        try:
            for message in messages:
                _produce(self._producer, message)
            positions, membership = self._source.positions(records), self._source.group_metadata()
            self._patience.until_done(lambda: self._producer.send_offsets_to_transaction(positions, membership, CALL_S))
            self._patience.until_done(lambda: self._producer.commit_transaction(CALL_S))
        except SessionLost:
            self._abort()
            raise

    def close(self) -> None:
        """Nothing is left to deliver: a batch is delivered whole or not at all."""
        self._producer.purge()

    def _abort(self) -> None:
        try:
            self._patience.until_done(lambda: self._producer.abort_transaction(CALL_S))
        except SessionLost:
            # the producer that is opened next aborts what this one could not
            return


class AtLeastOnce:
    """Messages first, then positions.

    Args:
        properties: Of the producer, without a ``transactional.id``.
        source: Where the records are from.
        patience: How long brokers are waited for.
    """

    def __init__(self, properties: Mapping[str, Any], source: Source, patience: Patience) -> None:
        self._producer = Producer(dict(properties))
        self._source = source
        self._patience = patience
        self._failures: list[KafkaError] = []

    def deliver(self, records: Records, messages: Sequence[Message]) -> None:
        """Deliver messages, then commit; see :meth:`Delivery.deliver`."""
        self._failures.clear()
        for message in messages:
            _produce(self._producer, message, self._count)
        self._patience.until_done(self._flush)
        if self._failures:
            raise as_failure(self._failures[0])
        self._patience.until_done(lambda: self._source.commit(records))

    def close(self) -> None:
        """Give up what could not be delivered: it is not committed."""
        self._producer.purge()

    def _flush(self) -> None:
        if self._producer.flush(CALL_S):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "messages are not delivered yet", retriable=True))

    def _count(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failures.append(error)


def _produce(
    producer: Producer, message: Message, delivered: Callable[[KafkaError | None, Any], None] | None = None
) -> None:
    arguments: dict[str, Any] = {"headers": message.headers, "on_delivery": delivered}
    if message.timestamp >= 0:
        arguments["timestamp"] = message.timestamp
    if message.partition >= 0:
        arguments["partition"] = message.partition
    while True:
        try:
            producer.produce(message.topic, message.value, message.key, **arguments)
            return
        except BufferError:
            # the queue is full: some of it must go out first
            producer.poll(0.1)
        except KafkaException as exception:
            error = exception.args[0]
            if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._UNKNOWN_TOPIC):
                raise StreamError(f"{message.topic}: {error.str()}") from exception
            raise as_failure(error) from exception
