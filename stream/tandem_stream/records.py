"""Records of a topic as columns, and the messages that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tandem.dtypes import Column

Header = tuple[str, str | bytes | None]
"""Name and value of one header of a record."""


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one topic in the order in which they were read: parallel lists, one entry for each.

    Attributes:
        topic: The topic.
        values: The bytes of each; None for a tombstone.
        keys: The keys; None where there is none.
        headers: Their headers.
        partitions: The partition of each.
        offsets: The offset of each within its partition.
        timestamps: When each was produced, milliseconds since 1970 in UTC; ``int64``, -1 where that is not known.
    """

    topic: str
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    headers: Sequence[Sequence[Header]]
    partitions: Sequence[int]
    offsets: Sequence[int]
    timestamps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    def ends(self) -> dict[int, int]:
        """For each partition the offset after its last record: where reading goes on."""
        # the last of equal keys stays, and offsets ascend within a partition
        return {partition: offset + 1 for partition, offset in zip(self.partitions, self.offsets, strict=True)}

    def by_partition(self) -> dict[int, list[int]]:
        """The records of each partition, by their numbers, ascending."""
        rows: dict[int, list[int]] = {}
        for row, partition in enumerate(self.partitions):
            rows.setdefault(partition, []).append(row)
        return rows

    def times(self, now: np.datetime64) -> Column:
        """When each record was produced: ``datetime64[us]``; ``now`` where that is not known."""
        return np.where(self.timestamps < 0, now, self.timestamps.astype("datetime64[ms]").astype("datetime64[us]"))

    def without(self, partitions: frozenset[int]) -> Records:
        """The records of all other partitions."""
        rows = [row for row, partition in enumerate(self.partitions) if partition not in partitions]
        return Records(
            self.topic,
            [self.values[row] for row in rows],
            [self.keys[row] for row in rows],
            [self.headers[row] for row in rows],
            [self.partitions[row] for row in rows],
            [self.offsets[row] for row in rows],
            self.timestamps[rows],
        )

    def place(self, row: int) -> str:
        """Where a record is: ``topic/partition/offset``, which no other record of the cluster has."""
        return f"{self.topic}/{self.partitions[row]}/{self.offsets[row]}"


@dataclass(frozen=True, slots=True)
class Message:
    """A message to be produced.

    Attributes:
        topic: Where to.
        key: Its key; equal keys come into one partition. None for any partition.
        value: Its bytes.
        headers: Its headers.
        timestamp: Milliseconds since 1970 in UTC; -1 for the time at which it is produced.
        partition: Partition of the topic; -1 for the one that follows from the key.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    timestamp: int = -1
    partition: int = -1

    def size(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers
