"""The clients of Kafka that a worker's settings ask for, and what runs beside a worker until it is told to stop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from confluent_kafka import KafkaException

from tandem_stream.clients import Patience, consumer_properties, producer_properties
from tandem_stream.deliveries import AtLeastOnce, ExactlyOnce
from tandem_stream.health import HealthServer
from tandem_stream.metrics import WorkerMetrics
from tandem_stream.settings import WorkerSettings
from tandem_stream.source import Source, check_topics
from tandem_stream.topics import StreamError, Topic
from tandem_stream.worker import Session, Worker

log = logging.getLogger(__name__)


class Clients:
    """Opens the clients of one worker.

    Args:
        settings: Of the worker.
        group: Its consumer group.
        source: The topic that is read.
        is_transactional: Whether messages are delivered exactly once.

    Attributes:
        consumer: Properties of the consumer.

    Raises:
        StreamError: if the file with further properties cannot be read.
    """

    def __init__(self, settings: WorkerSettings, group: str, source: Topic, *, is_transactional: bool) -> None:
        self._settings = settings
        self._source = source
        instance, properties = settings.instance_name(), settings.properties()
        self.consumer: dict[str, Any] = consumer_properties(
            source.brokers, properties, group=group, instance=instance, session_s=settings.session_timeout_s
        )
        self._producer = producer_properties(
            source.brokers,
            properties,
            transactional_id=f"{group}-{instance}" if is_transactional else None,
            max_bytes=settings.max_message_bytes,
        )
        self._kind = ExactlyOnce if is_transactional else AtLeastOnce

    def check(self, names: Sequence[str]) -> None:
        """Refuse topics that do not exist.

        Args:
            names: Of all topics that are read or written.

        Raises:
            StreamError: naming them, or saying that no broker answers.
        """
        brokers = self._source.brokers
        try:
            missing = check_topics(self.consumer, names)
        except KafkaException as exception:
            raise StreamError(f"{brokers}: {exception.args[0].str()}") from exception
        if missing:
            raise StreamError(f"{brokers} has no topic {', '.join(missing)}")

    def open(self, is_stopping: Callable[[], bool], on_revoke: Callable[[set[int]], None] | None = None) -> Session:
        """Clients that stop to wait for a broker when the worker stops.

        Args:
            is_stopping: Whether the worker stops.
            on_revoke: Called with partitions that go away.

        Raises:
            StreamError: a property is refused, or the broker refuses.
        """
        try:
            return self._open(is_stopping, on_revoke)
        except KafkaException as exception:
            raise StreamError(exception.args[0].str()) from exception

    def _open(self, is_stopping: Callable[[], bool], on_revoke: Callable[[set[int]], None] | None) -> Session:
        settings = self._settings
        source = Source(
            self._source.name,
            self.consumer,
            max_rows=settings.max_batch_rows,
            max_wait_s=settings.max_batch_wait_ms / 1000,
            on_revoke=on_revoke,
        )
        try:
            # positions are read with the first poll, after the producer has ended what a worker of this name left open
            delivery = self._kind(self._producer, source, Patience(is_stopping, settings.shutdown_grace_s))
        except BaseException:
            source.close()
            raise
        return Session(source, delivery)


def serve(
    worker: Worker[Any],
    settings: WorkerSettings,
    metrics: WorkerMetrics[Any],
    prepare: Callable[[], None],
    names: Mapping[str, object],
) -> None:
    """Run a worker with its health and metrics until SIGTERM or SIGINT.

    Args:
        worker: The worker.
        settings: Tell the address.
        metrics: Of the worker.
        prepare: Called before the worker runs, while the health answers; raises if it cannot run.
        names: What the log says of the worker when it starts.

    Raises:
        TandemError: as :meth:`~tandem_stream.worker.Worker.run`.
        OSError: the port is taken.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    with closing(HealthServer(settings.host, settings.http_port, lambda: worker.is_ready, metrics.page)) as health:
        prepare()
        log.info("ready", extra={**names, "http_port": health.port})
        worker.run()
        log.info("stopped")
