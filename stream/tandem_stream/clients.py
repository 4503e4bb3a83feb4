"""What all clients of Kafka here have in common: their properties, their log, and calls that a broker may delay."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from tandem_stream.topics import StreamError

log = logging.getLogger("tandem_stream.kafka")

CALL_S: Final = 2.0
"""Seconds that one call waits for a broker before it is made again."""

_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    }
)


class SessionLost(Exception):
    """The clients must be opened anew: reading goes on after the last batch that was delivered."""


class Stopped(Exception):
    """The worker stops, and a broker that is down has not let it end its batch: the next start does it again."""


def consumer_properties(
    brokers: str, properties: Mapping[str, str], *, group: str, instance: str, session_s: float
) -> dict[str, Any]:
    """Properties of the consumer.

    Args:
        brokers: Addresses.
        properties: Of the user; those that the delivery guarantee rests on are replaced.
        group: Consumer group.
        instance: Name of the worker in the group, which stays the same when it is started again.
        session_s: Seconds after which the partitions of a worker that is gone go to others.
    """
    return {
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 50,
        "queued.max.messages.kbytes": 65_536,
        **shared_properties(brokers, properties),
        "group.id": group,
        "group.instance.id": instance,
        "session.timeout.ms": round(session_s * 1000),
        "heartbeat.interval.ms": min(3000, round(session_s * 1000 / 3)),
        # partitions that stay with a worker are read on while others move
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "error_cb": _report,
    }


def producer_properties(
    brokers: str, properties: Mapping[str, str], *, transactional_id: str | None, max_bytes: int
) -> dict[str, Any]:
    """Properties of the producer.

    Args:
        brokers: Addresses.
        properties: Of the user; those that the delivery guarantee rests on are replaced.
        transactional_id: Name under which it makes transactions; None to make none.
        max_bytes: Most bytes of a message.
    """
    own: dict[str, Any] = {
        "enable.idempotence": True,
        "acks": "all",
        "message.max.bytes": max_bytes,
        "error_cb": _report,
    }
    if transactional_id is not None:
        own["transactional.id"] = transactional_id
    return {
        "linger.ms": 5,
        "batch.num.messages": 10_000,
        "queue.buffering.max.messages": 500_000,
        "compression.type": "lz4",
        # equal keys come to the partition to which clients in Java send them
        "partitioner": "murmur2_random",
        **shared_properties(brokers, properties),
        **own,
    }


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker waits for a broker.

    Attributes:
        is_stopping: Whether the worker stops.
        grace_s: Seconds for which a broker is waited for while it does; until then there is no limit.
    """

    is_stopping: Callable[[], bool]
    grace_s: float

    def until_done(self, call: Callable[[], object]) -> None:
        """Make a call again as long as the broker only delays it.

        Args:
            call: The call, which waits :data:`CALL_S` at most.

        Raises:
            SessionLost: the transaction must be aborted, or the broker has forgotten it.
            StreamError: another worker has taken over, or the broker refuses.
            Stopped: the time to stop is over.
        """
        deadline = time.monotonic() + self.grace_s
        while _is_delayed(call):
            if self.is_stopping() and time.monotonic() > deadline:
                raise Stopped


def _is_delayed(call: Callable[[], object]) -> bool:
    try:
        call()
        return False
    except KafkaException as exception:
        error = exception.args[0]
        if not error.retriable():
            raise as_failure(error) from exception
        log.warning("a broker delays a call: %s", error.str())
        return True


def as_failure(error: KafkaError) -> Exception:
    """The exception that an error of Kafka stands for: clients to be opened anew, or the end of the worker."""
    # whatever the code, such as after a transaction that took longer than its limit
    if error.txn_requires_abort():
        return SessionLost(error.str())
    if error.code() in _FENCED:
        return StreamError(f"another worker runs under the same instance name, and takes over: {error.str()}")
    if error.code() in _REFUSED:
        return StreamError(error.str())
    return SessionLost(error.str())


_REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
    }
)


def shared_properties(brokers: str, properties: Mapping[str, str]) -> dict[str, Any]:
    """Properties of any client.

    Args:
        brokers: Addresses.
        properties: Of the user.
    """
    return {"client.id": "tandem-stream", **properties, "bootstrap.servers": brokers, "logger": log}


def _report(error: KafkaError) -> None:
    # the client goes on by itself: what it cannot do, its calls say
    log.warning("%s: %s", error.name(), error.str())
