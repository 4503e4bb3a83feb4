"""What becomes of a batch of records: windows that change, windows that are closed, and their messages."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.windows.engine import ClosedWindows, Step, advance
from tandem_stream.dead_letters import DeadLetters, put_aside
from tandem_stream.outcomes import Outcome
from tandem_stream.records import Message, Records
from tandem_stream.windows.changelog import changelog_messages
from tandem_stream.windows.closed import WindowMessages
from tandem_stream.windows.events import DecodedEvents, EventReader
from tandem_stream.windows.online import StoreWriter
from tandem_stream.windows.states import PartitionStates


@dataclass(slots=True)
class Counted(Outcome):
    """What became of a batch of records: events count in windows, or are rejected.

    Attributes:
        steps: What the events do, by partition.
        late: Records whose events came too late for one of their windows, or for all.
        newer: Entities of which the store has newer rows.
        open_windows: How many windows are open after the batch.
        watermarks: Greatest event time of each partition after the batch, microseconds since 1970.
    """

    steps: dict[int, Step] = field(default_factory=dict)
    late: list[int] = field(default_factory=list)
    newer: int = 0
    open_windows: int = 0
    watermarks: dict[int, int] = field(default_factory=dict)

    @property
    def closed(self) -> list[ClosedWindows]:
        """The windows that the batch closes, of each partition."""
        return [step.closed for step in self.steps.values() if len(step.closed)]


class WindowCounter:
    """Counts events in the windows of one view.

    Args:
        reader: Reads events.
        states: The open windows.
        store: Writes closed windows to the online store; None for nowhere.
    """

    def __init__(self, reader: EventReader, states: PartitionStates, store: StoreWriter | None) -> None:
        self._reader = reader
        self._states = states
        self._store = store

    def count(self, records: Records) -> Counted:
        """What some records do; the state stays as it is until that is delivered.

        Closed windows are written to the store before they are delivered. If they are never delivered, the same events
        close the same windows again.

        Raises:
            Unavailable: the store or the schema registry does not answer.
            SessionLost: the state of a partition cannot be restored now.
            StateError: the state is of another definition of the view.
            StreamError: the state has some of these records already.
        """
        counted = Counted()
        with counted.stages.timed("decode"):
            decoded = self._reader.read(records)
        counted.rejected = decoded.rejected
        with counted.stages.timed("restore"):
            states = {
                partition: self._states.of(partition, self._first(records, decoded, partition))
                for partition in decoded.events
            }
        with counted.stages.timed("windows"):
            for partition, events in decoded.events.items():
                step = advance(states[partition], events)
                counted.steps[partition] = step
                counted.late += decoded.rows[partition][step.late].tolist()
        with counted.stages.timed("store"):
            counted.newer = 0 if self._store is None else self._store.write(counted.closed)
        return counted

    def settle(self, counted: Counted) -> None:
        """Take over what is delivered."""
        self._states.apply(counted.steps)
        counted.open_windows = len(self._states)
        counted.watermarks = self._states.watermarks()

    def _first(self, records: Records, decoded: DecodedEvents, partition: int) -> int:
        """Offset of the first event of a partition."""
        return records.offsets[int(decoded.rows[partition][0])]


@dataclass(frozen=True, slots=True)
class WindowComposer:
    """Makes the messages of a batch.

    Attributes:
        changelog: Topic of the state.
        late_events: Topic of events that come too late; empty for none.
        closed: Makes the messages of closed windows.
        letters: Makes dead letters.
    """

    changelog: str
    late_events: str
    closed: WindowMessages
    letters: DeadLetters

    def compose(self, records: Records, counted: Counted) -> list[Message]:
        """Changes of the state, closed windows, dead letters and late events.

        Args:
            records: The batch.
            counted: What became of it.
        """
        ends = records.ends()
        messages: list[Message] = []
        for partition, step in counted.steps.items():
            messages += changelog_messages(self.changelog, partition, step, ends[partition])
            messages += self.closed.messages(step.closed)
        messages += [self.letters.letter(records, row, error) for row, error in sorted(counted.rejected.items())]
        if self.late_events:
            owner = self.letters.owner
            messages += [put_aside(self.late_events, records, row, owner) for row in sorted(counted.late)]
        return messages
