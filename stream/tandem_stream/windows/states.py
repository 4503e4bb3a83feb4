"""The state of each partition that this worker has: restored with its first records, and dropped when it goes away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tandem.windows.engine import Step, apply_step
from tandem.windows.layout import WindowLayout
from tandem.windows.state import WindowState, restore
from tandem_stream.topics import StreamError

Read = Callable[[int], tuple[Mapping[bytes, bytes | None], int]]
"""From a partition to the records of its state, and to the offset of the first event that the state does not have."""


class PartitionStates:
    """The open windows of a worker.

    Args:
        layout: Of the view.
        read: Reads what is stored of a partition.
    """

    def __init__(self, layout: WindowLayout, read: Read) -> None:
        self._layout = layout
        self._read = read
        self._states: dict[int, WindowState] = {}

    def __len__(self) -> int:
        """How many windows are open, in partitions that have been restored."""
        return sum(map(len, self._states.values()))

    def of(self, partition: int, first: int) -> WindowState:
        """The state of a partition.

        It is restored when records of the partition are there: their position was read then, after transactions of
        other workers had ended.

        Args:
            partition: The partition.
            first: Offset of the first record that is counted next.

        Raises:
            StateError: if what is stored is of another definition of the view.
            StreamError: if the state has this record already.
        """
        if partition not in self._states:
            records, position = self._read(partition)
            if first < position:
                raise StreamError(
                    f"partition {partition}: the state of the windows has the records before offset {position}, and "
                    f"the group reads from {first} on; set its position to {position}, or name another changelog and "
                    "group to begin anew"
                )
            self._states[partition] = restore(self._layout, records.items())
        return self._states[partition]

    def apply(self, steps: Mapping[int, Step]) -> None:
        """Take over steps that are delivered, by partition."""
        for partition, step in steps.items():
            apply_step(self._states[partition], step)

    def watermarks(self) -> dict[int, int]:
        """Greatest event time of each partition that has one, microseconds since 1970."""
        marks = {partition: state.watermark for partition, state in self._states.items()}
        return {partition: mark for partition, mark in marks.items() if mark is not None}

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget partitions, which another worker may change from now on."""
        for partition in partitions:
            self._states.pop(partition, None)

    def clear(self) -> None:
        """Forget all partitions."""
        self._states.clear()
