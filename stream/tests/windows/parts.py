"""A worker's parts between topics in memory, of which the changelog is compacted at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from core.tests.windows.brute import Event, view_of

from tandem import Window
from tandem.fields import Field
from tandem.windows.layout import WindowLayout
from tandem_stream.dead_letters import DeadLetters
from tandem_stream.decoding import JsonDecoder
from tandem_stream.records import Message, Records
from tandem_stream.windows.changelog import position_of
from tandem_stream.windows.closed import VIEW, WindowMessages
from tandem_stream.windows.counting import Counted, WindowComposer, WindowCounter
from tandem_stream.windows.events import EventReader, event_contract
from tandem_stream.windows.online import StoreWriter
from tandem_stream.windows.states import PartitionStates

KEYS = {"athlete": Field("string"), "race": Field("int64")}


@dataclass
class CompactedTopic:
    """A changelog: of each partition the last record of each key.

    Attributes:
        records: By partition, then by key.
        positions: Of the header of the last watermark, by partition.
    """

    records: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)

    def write(self, message: Message) -> None:
        assert message.partition >= 0 and message.key is not None
        own = self.records.setdefault(message.partition, {})
        if message.value is None:
            del own[message.key]  # what is deleted was there
            return
        own[message.key] = message.value
        if message.headers:
            headers = [(name, str(value).encode()) for name, value in message.headers]
            self.positions[message.partition] = position_of(headers)

    def read(self, partition: int) -> tuple[dict[bytes, bytes], int]:
        return dict(self.records.get(partition, {})), self.positions.get(partition, 0)


class Parts:
    """What computes windows, and the topics that it writes.

    Args:
        window: Of the view of :func:`core.tests.windows.brute.view_of`.
        store: Writes closed windows.
        max_ahead_s: As the flag.
    """

    def __init__(self, window: Window, *, store: StoreWriter | None = None, max_ahead_s: float = 0.0) -> None:
        self.layout = layout_of(window)
        self.changelog = CompactedTopic()
        self.topics: dict[str, list[Message]] = {"closed": [], "late": [], "dead": []}
        self.states = PartitionStates(self.layout, self.changelog.read)
        contract = event_contract(self.layout, KEYS)
        decoder = JsonDecoder(contract, unknown_fields="ignore")
        reader = EventReader(self.layout, contract, decoder, max_ahead_s=max_ahead_s)
        self.counter = WindowCounter(reader, self.states, store)
        letters = DeadLetters("dead", (VIEW, "v"), 100_000)
        self.composer = WindowComposer("changelog", "late", WindowMessages(self.layout, "closed"), letters)

    def process(self, records: Records) -> Counted:
        """A batch that is delivered."""
        counted = self.counter.count(records)
        for message in self.composer.compose(records, counted):
            if message.topic == "changelog":
                self.changelog.write(message)
            else:
                self.topics[message.topic].append(message)
        self.counter.settle(counted)
        return counted

    def values(self, topic: str) -> list[Any]:
        return [message.value for message in self.topics[topic]]


@functools.cache
def layout_of(window: Window) -> WindowLayout:
    return WindowLayout(view_of(window))


def value_of(event: Event) -> bytes:
    """An event as JSON, with what is null left out now and then."""
    fields = event._asdict() | {"at": f"{np.datetime64(event.at, 'us')}Z"}
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None or event.at % 2})


def records(values: Sequence[bytes], partitions: Sequence[int], offsets: Sequence[int]) -> Records:
    count = len(values)
    keys = [b"k"] * count
    return Records("events", values, keys, [()] * count, partitions, offsets, np.zeros(count, np.int64))
