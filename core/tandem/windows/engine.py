"""Windows over a stream: events in; changes of the state, closed windows and late events out.

What a stream yields does not depend on how its events are cut into batches, and if no event is older than one before it
by more than the grace, it does not depend on their order either. Windows are closed in the order of their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tandem.dtypes import Column, Columns
from tandem.store_keys import split_entity
from tandem.windows.grouping import Groups, assign, group
from tandem.windows.layout import Events, WindowLayout
from tandem.windows.state import OpenWindow, Record, WindowId, WindowState, encode_changes


@dataclass(frozen=True, slots=True)
class ClosedWindows:
    """Windows that take no more events: a row of the feature view for each.

    Attributes:
        entities: Their entities.
        starts: Their beginnings, ``datetime64[us]``.
        ends: Their ends, the event times of the rows, ``datetime64[us]``.
        columns: The features.
        nulls: Where features are null: ``bool``, by feature; left out if nothing is.
    """

    entities: list[bytes]
    starts: Column
    ends: Column
    columns: Columns
    nulls: dict[str, Column]

    def __len__(self) -> int:
        return len(self.entities)


@dataclass(frozen=True, slots=True)
class Step:
    """What a batch of events does.

    Attributes:
        layout: Of the view.
        changes: Open windows that are new or have changed; None for those that are gone.
        watermark: Greatest event time so far, microseconds since 1970; None if there was no event.
        closed: Windows that the batch closes, by end and then by entity.
        late: Indices of events that came too late for one of their windows, or for all; each once, ascending.
    """

    layout: WindowLayout
    changes: dict[WindowId, OpenWindow | None]
    watermark: int | None
    closed: ClosedWindows
    late: Column

    def records(self) -> Iterator[Record]:
        """The changes as records of a changelog."""
        return encode_changes(self.layout, self.changes, self.watermark)


def advance(state: WindowState, events: Events) -> Step:
    """What some events do; the state stays as it is until the step is applied.

    Args:
        state: The open windows.
        events: Events of one partition, in the order of their arrival.

    Raises:
        ValueError: naming the column, if a number is infinite.
    """
    layout = state.layout
    arrivals = assign(layout.window, state.watermark, events.times)
    groups = group(layout.window, events, arrivals)
    windows = _merge(state, groups, layout.summarize(events, groups.rows, groups.bounds))
    closed: dict[WindowId, OpenWindow] = {}
    if arrivals.watermark is not None:
        closed = _close(state, windows, arrivals.watermark - layout.window.grace_us)
    changes = _changes(state, windows) | {id_: None for id_ in closed if id_.start in state.of(id_.entity)}
    return Step(layout, changes, arrivals.watermark, close_windows(layout, closed), arrivals.late)


def apply_step(state: WindowState, step: Step) -> None:
    """Take over what a step has computed; not before it is delivered."""
    state.apply(step.changes, step.watermark)


def close_windows(layout: WindowLayout, windows: dict[WindowId, OpenWindow]) -> ClosedWindows:
    """Rows of the feature view for some windows, by end and then by entity."""
    keys = len(layout.view.keys)
    rows = sorted(windows.items(), key=lambda item: (item[1].end, split_entity(item[0].entity, keys)))
    columns, nulls = layout.features([window.parts for _, window in rows])
    starts = _times([id_.start for id_, _ in rows])
    return ClosedWindows(
        [id_.entity for id_, _ in rows], starts, _times([window.end for _, window in rows]), columns, nulls
    )


_Windows = dict[bytes, dict[int, OpenWindow]]


def _merge(state: WindowState, groups: Groups, parts: Sequence[tuple[object, ...]]) -> _Windows:
    """The windows of all entities that have events, with these."""
    windows: _Windows = {}
    for entity, start, end, new_parts in zip(groups.entities, groups.starts, groups.ends, parts, strict=True):
        if entity not in windows:
            windows[entity] = dict(state.of(entity))
        _add(state.layout, windows[entity], start, OpenWindow(end, new_parts))
    return windows


def _add(layout: WindowLayout, windows: dict[int, OpenWindow], start: int, window: OpenWindow) -> None:
    """Put a window into those of its entity, together with those that it is the same as, or that it overlaps."""
    for begin in _joined(layout, windows, start, window.end):
        joined = windows.pop(begin)
        window = OpenWindow(max(joined.end, window.end), layout.merge(joined.parts, window.parts))
        start = min(begin, start)
    windows[start] = window


def _joined(layout: WindowLayout, windows: dict[int, OpenWindow], start: int, end: int) -> list[int]:
    if layout.window.gap is None:
        return [start] if start in windows else []
    return [begin for begin, window in windows.items() if begin < end and start < window.end]


def _close(state: WindowState, windows: _Windows, until: int) -> dict[WindowId, OpenWindow]:
    """Take out the windows that end at this time or before it."""
    closed = {id_: window for id_, window in state.due(until) if id_.entity not in windows}
    for entity, own in windows.items():
        for start in [start for start, window in own.items() if window.end <= until]:
            closed[WindowId(entity, start)] = own.pop(start)
    return closed


def _changes(state: WindowState, windows: _Windows) -> dict[WindowId, OpenWindow | None]:
    changes: dict[WindowId, OpenWindow | None] = {}
    for entity, own in windows.items():
        before = state.of(entity)
        changes |= {WindowId(entity, start): None for start in before.keys() - own.keys()}
        for start, window in own.items():
            if before.get(start) is not window:
                changes[WindowId(entity, start)] = window
    return changes


def _times(moments: list[int]) -> Column:
    return np.array(moments, np.int64).astype("datetime64[us]")
