"""Settings of a worker, as its command line has them."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from tandem.bundle import MODEL_DIR
from tandem.oip.flags import Flag, duration, natural, parser_of, port, positive, span
from tandem_stream.answers import Format
from tandem_stream.decoding import UnknownFields
from tandem_stream.lookups import StoreOutage
from tandem_stream.topics import StreamError, Topic, parse_properties, parse_topic

STORE_VARIABLE = "TANDEM_STORE"

Guarantee = Literal["exactly-once", "at-least-once"]
"""How often the message of a record is delivered, to readers of committed messages."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Settings of one worker, whatever it makes of the records.

    Attributes whose names end in ``_ms`` are milliseconds, in ``_s`` seconds. ``source`` and ``sink`` are topics of
    one cluster, since a transaction is that of one cluster.
    """

    model_dir: Annotated[Path, Flag("directory of the bundle", Path)] = Path(MODEL_DIR)
    source: Annotated[str, Flag("topic that is read, kafka://broker:9092/TOPIC")] = ""
    sink: Annotated[str, Flag("topic of the predictions, kafka://broker:9092/TOPIC, of the same cluster")] = ""
    dead_letters: Annotated[str, Flag("name of the topic of records that are rejected (SINK-dead-letters)")] = ""
    group: Annotated[str, Flag("consumer group that the workers of a stream share (tandem-MODEL-SINK)")] = ""
    instance: Annotated[
        str, Flag("name of this worker in its group, the same after a restart (the name of the host)")
    ] = ""
    format: Annotated[Format, Flag("what events are", choices=("json", "cloudevents", "avro"))] = "json"
    schema_registry: Annotated[str, Flag("URL of the schema registry, for --format avro")] = ""
    unknown_fields: Annotated[
        UnknownFields, Flag("what becomes of events with other fields too", choices=("reject", "ignore"))
    ] = "reject"
    max_batch_rows: Annotated[int, Flag("most records of one batch", positive)] = 2000
    max_batch_wait_ms: Annotated[float, Flag("how long a batch waits for its records", duration)] = 50.0
    max_message_bytes: Annotated[int, Flag("most bytes of a message", positive)] = 1_000_000
    store: Annotated[
        str,
        Flag(
            "online store: redis://host:port/db, rediss://… or memory://; without the flag the variable "
            f"{STORE_VARIABLE} counts, which keeps a password out of the list of processes"
        ),
    ] = "memory://"
    kafka_properties: Annotated[
        Path | None, Flag("file with further properties of Kafka's clients, such as security.protocol", Path)
    ] = None
    session_timeout_s: Annotated[
        float, Flag("seconds after which the partitions of a worker that is gone go to others", duration)
    ] = 45.0
    host: Annotated[str, Flag("address of health and metrics")] = "0.0.0.0"  # noqa: S104 (a container serves its pod's address)
    http_port: Annotated[int, Flag("port of health and metrics, 0 for any free one", port)] = 8080
    shutdown_grace_s: Annotated[
        float, Flag("time that a broker has to take the last batch after SIGTERM, in seconds", span)
    ] = 20.0

    def topics(self) -> tuple[Topic, Topic, Topic]:
        """Source, sink, and the topic of dead letters.

        Raises:
            StreamError: if one is none, or they are of different clusters.
        """
        source, sink = parse_topic(self.source), parse_topic(self.sink)
        if source.brokers != sink.brokers:
            raise StreamError("source and sink must be topics of one cluster, by the same addresses")
        return source, sink, Topic(sink.brokers, self.dead_letters or f"{sink.name}-dead-letters")

    def group_of(self, name: str, sink: Topic) -> str:
        """Name of the consumer group.

        Args:
            name: What the workers compute: a model, or a feature view.
            sink: Where it goes.
        """
        return self.group or f"tandem-{name}-{sink.name}"

    def instance_name(self) -> str:
        """Name of this worker in its group."""
        return self.instance or socket.gethostname()

    def properties(self) -> dict[str, str]:
        """Further properties of Kafka's clients.

        Raises:
            StreamError: if their file cannot be read.
        """
        if self.kafka_properties is None:
            return {}
        try:
            return parse_properties(self.kafka_properties.read_text())
        except OSError as error:
            raise StreamError(f"{self.kafka_properties}: {error.strerror}") from None


@dataclass(frozen=True, kw_only=True)
class StreamSettings(WorkerSettings):
    """Settings of one worker that predicts."""

    delivery: Annotated[
        Guarantee, Flag("how often each record's message is delivered", choices=("exactly-once", "at-least-once"))
    ] = "exactly-once"
    copied_fields: Annotated[
        tuple[str, ...], Flag("fields of the contract that each prediction repeats, separated by commas", _names)
    ] = ()
    store_outage: Annotated[
        StoreOutage, Flag("what to do while the store does not answer", choices=("pause", "degrade"))
    ] = "pause"
    last_known_bytes: Annotated[
        int, Flag("bytes of feature rows kept for --store_outage degrade, 0 for none", natural)
    ] = 67_108_864
    predictor_host: Annotated[str, Flag("host:port of a predictor; without it the model runs in this process")] = ""
    predictor_timeout_ms: Annotated[float, Flag("time for one call of the predictor", duration)] = 5000.0
    threads: Annotated[int, Flag("threads of ONNX Runtime in this process", positive)] = 1


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return parser_of(StreamSettings, program="tandem-stream", description=__doc__)


def parse(arguments: Sequence[str] | None = None) -> StreamSettings:
    """Settings from command-line arguments; ends the process with code 2 and a message if they are invalid."""
    return parse_settings(StreamSettings, command_line(), arguments)


S = TypeVar("S", bound=WorkerSettings)


def parse_settings(kind: type[S], parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> S:
    """Settings of one kind from command-line arguments; ends the process with code 2 if they are invalid.

    Args:
        kind: What the parser was made of.
        parser: The command line.
        arguments: None for those of the process.
    """
    # the help shows the default, not a URL that may have a password
    parser.set_defaults(store=os.environ.get(STORE_VARIABLE, kind.store))
    values: dict[str, Any] = vars(parser.parse_args(arguments))
    settings = kind(**values)
    if not settings.source or not settings.sink:
        parser.error("--source and --sink are required")
    return settings
