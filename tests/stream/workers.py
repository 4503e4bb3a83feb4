"""Workers as processes, and what they read and write."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from transformer.tests.servers import Server, free_port, wait_until

from .broker import Broker


@dataclass
class Stream:
    """Three topics of a broker, and the workers between them.

    Attributes:
        broker: The broker.
        name: Name of the topic that is read, and the beginning of the others'.
        bundle: Directory of the bundle.
        flags: Of every worker.
        command: What the workers do; empty to predict.
    """

    broker: Broker
    name: str
    bundle: Path = field(default_factory=Path)
    flags: Sequence[object] = ()
    logs: Path = field(default_factory=Path)
    started: int = 0
    seen: int = 0
    readers: dict[str, Consumer] = field(default_factory=dict)
    command: Sequence[str] = ()

    @property
    def sink(self) -> str:
        return f"{self.name}-out"

    @property
    def dead_letters(self) -> str:
        return f"{self.sink}-dead-letters"

    def send(self, values: Sequence[bytes], first: int = 0) -> None:
        """Produce events whose keys are their numbers."""
        producer = Producer({"bootstrap.servers": self.broker.address, "linger.ms": 5})
        for number, value in enumerate(values, first):
            producer.produce(self.name, value, str(number).encode(), headers=[("trace", f"t{number}")])
        assert producer.flush(60) == 0

    @contextlib.contextmanager
    def worker(self, instance: str = "w0", *flags: object) -> Iterator[Server]:
        """A worker, from when it is started until the end of the block."""
        port = free_port()
        self.started += 1
        log = self.logs / f"{instance}-{self.started}.log"
        arguments = [
            *("--model_dir", self.bundle, "--host", "127.0.0.1", "--http_port", port, "--instance", instance),
            *("--source", f"kafka://{self.broker.address}/{self.name}"),
            *("--sink", f"kafka://{self.broker.address}/{self.sink}"),
            *("--session_timeout_s", 6, *self.flags, *flags),
        ]
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tandem_stream", *self.command, *map(str, arguments)],
                stderr=stderr,
                env=dict(os.environ),
            )
            try:
                yield Server(process, port, 0, stderr)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGKILL)
                process.wait()

    def reached(self, topic: str) -> int:
        """Sum of the ends of a topic's partitions: grows with messages, and with markers of transactions."""
        reader = self._reader(topic)
        return sum(reader.get_watermark_offsets(partition)[1] for partition in reader.assignment())

    def read(self, topic: str) -> list[Message]:
        """All messages of a topic that are committed by now, from its beginning to its end."""
        reader = self._open(topic)
        messages: list[Message] = []
        ended: set[int] = set()
        while len(ended) < len(reader.assignment()):
            for message in reader.consume(5000, 0.2):
                if message.error() is None:
                    messages.append(message)
                else:
                    ended.add(message.partition())
        reader.close()
        return messages

    def answers(self) -> dict[int, dict[str, Any]]:
        """Predictions by the numbers of their events; fails where there are two for one."""
        messages = self.read(self.sink)
        answers = {int(message.key()): msgspec.json.decode(message.value()) for message in messages}
        assert len(answers) == len(messages), "an event has two predictions"
        return answers

    def rejected(self) -> dict[int, Message]:
        """Dead letters by the numbers of their events; fails where there are two for one."""
        messages = self.read(self.dead_letters)
        letters = {int(message.key()): message for message in messages}
        assert len(letters) == len(messages), "an event has two dead letters"
        return letters

    def wait_for(self, count: int, *further: str) -> None:
        """Wait until there are so many committed messages in the topics of results and dead letters, and in others."""

        def is_done() -> bool:
            for topic in (self.sink, self.dead_letters, *further):
                messages = self._reader(topic).consume(5000, 0.05)
                self.seen += sum(message.error() is None for message in messages)
            return self.seen >= count

        wait_until(is_done)

    def close(self) -> None:
        """Close what was read with."""
        for reader in self.readers.values():
            reader.close()

    def _reader(self, topic: str) -> Consumer:
        """One reader of a topic that goes on where it was."""
        if topic not in self.readers:
            self.readers[topic] = self._open(topic)
        return self.readers[topic]

    def _open(self, topic: str) -> Consumer:
        reader = Consumer(
            {
                "bootstrap.servers": self.broker.address,
                "group.id": "reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
        numbers = reader.list_topics(topic).topics[topic].partitions
        reader.assign([TopicPartition(topic, number, 0) for number in numbers])
        return reader


def headers_of(message: Message) -> dict[str, str]:
    """Headers by name, as text."""
    return {name: value.decode() for name, value in message.headers()}


def metric(worker: Server, name: str, **labels: str) -> float | None:
    """A sample of a worker's metrics; None while it has none."""
    try:
        page = worker.request("GET", "/metrics").content.decode()
    except OSError:
        # it is not up yet
        return None
    for line in page.splitlines():
        if line.startswith(f"{name}{{") and all(f'{label}="{value}"' in line for label, value in labels.items()):
            return float(line.rpartition(" ")[2])
    return None
