"""Records to a topic of Kafka. Needs the extra ``kafka``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tandem_transformer.prediction_log.sinks import Event, EventsRejected, SinkUnavailable

_TIMEOUT_S: Final = 30.0


class KafkaSink:
    """Produces each event as a message in structured mode of CloudEvents, its key the id of the prediction.

    Args:
        address: ``kafka://host:port,host:port/topic``.
        options: Further settings of the client.

    Raises:
        SinkUnavailable: the package ``confluent-kafka`` is not installed.
        EventsRejected: the address has no topic.
    """

    def __init__(self, address: str, **options: Any) -> None:
        try:
            from confluent_kafka import Producer
        except ModuleNotFoundError:
            raise SinkUnavailable("Kafka needs confluent-kafka: install tandem-transformer[kafka]") from None
        parts = urlsplit(address)
        self._topic = parts.path.strip("/")
        if not self._topic:
            raise EventsRejected(f"{address} names no topic; write kafka://host:port/topic")
        # acknowledged by all replicas, and by a retry of the client not twice in the topic
        settings = {"bootstrap.servers": parts.netloc, "enable.idempotence": True, "acks": "all"}
        self._producer = Producer({**settings, "message.timeout.ms": int(_TIMEOUT_S * 1000), **options})

    def send(self, events: Sequence[Event]) -> None:
        """Produce messages, and wait until the brokers have them."""
        errors: list[str] = []

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                errors.append(str(error))

        headers: list[tuple[str, str | bytes | None]] = [("content-type", b"application/cloudevents+json")]
        for event in events:
            value, key = msgspec.json.encode(event), event["subject"].encode()
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=delivered)
            except BufferError:
                # the client's own queue is full
                self._producer.flush(_TIMEOUT_S)
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=delivered)
        unacknowledged = self._producer.flush(_TIMEOUT_S)
        if unacknowledged or errors:
            raise SinkUnavailable(errors[0] if errors else f"{unacknowledged} messages are not acknowledged")

    def close(self) -> None:
        """Give back connections; what waits has been flushed."""
