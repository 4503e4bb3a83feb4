"""Events by entity and window, and those that come too late.

An event is too late by a rule that knows nothing but its time and the watermark: the greatest event time that arrived
until then. So a batch computation over the same events in the order of their arrival leaves out the same ones.

- A window of a fixed size takes events until the watermark reaches its end plus the grace. An event that counts in
  several windows may be too late for some of them.
- Where windows end by a gap, an event is too late if it is older than the watermark by more than the grace. Such a
  window is closed when the watermark reaches its end (the gap after its last event) plus the grace: from then on, no
  event that is not too late is within a gap of its last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tandem.dtypes import Column
from tandem.windows.definition import Window
from tandem.windows.layout import Events

_NEVER = -(2**62)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Which events count where.

    Attributes:
        rows: Indices of events, once for each window in which they count.
        starts: The beginning of that window, microseconds since 1970; where windows end by a gap, the event's own time.
        late: Indices of events that are too late for one of their windows, or for all; each once, ascending.
        watermark: Greatest event time so far, microseconds since 1970; None if there was no event.
    """

    rows: Column
    starts: Column
    late: Column
    watermark: int | None


@dataclass(frozen=True, slots=True)
class Groups:
    """Events that count together, of one batch.

    Attributes:
        entities: The entity of each group.
        starts: The beginning of each group's window, microseconds since 1970.
        ends: Its end.
        rows: Indices of events, group by group.
        bounds: Where each group begins in ``rows``, and where the last one ends.
    """

    entities: list[bytes]
    starts: list[int]
    ends: list[int]
    rows: Column
    bounds: list[int]


def assign(window: Window, watermark: int | None, times: Column) -> Arrivals:
    """Put events into their windows.

    Args:
        window: The windows.
        watermark: Greatest event time before these events.
        times: Their event times in the order of arrival, ``datetime64[us]``.
    """
    moments = times.astype("datetime64[us]").astype(np.int64)
    before = _NEVER if watermark is None else watermark
    marks = np.maximum.accumulate(np.concatenate(([before], moments)))[1:]
    last = int(marks[-1]) if len(marks) else watermark
    if window.gap is not None:
        accepted = moments + window.grace_us >= marks
        return Arrivals(np.flatnonzero(accepted), moments[accepted], np.flatnonzero(~accepted), last)
    newest = moments - moments % window.hop_us
    starts = newest[:, None] - window.hop_us * np.arange(window.windows_per_event)
    belongs = starts + window.size_us > moments[:, None]
    open_ = starts + (window.size_us + window.grace_us) > marks[:, None]
    rows, places = np.nonzero(belongs & open_)
    return Arrivals(rows, starts[rows, places], np.flatnonzero((belongs & ~open_).any(axis=1)), last)


def group(window: Window, events: Events, arrivals: Arrivals) -> Groups:
    """Sort events by entity and window; of windows that end by a gap, those of these events alone."""
    rows, starts = arrivals.rows, arrivals.starts
    numbers: dict[bytes, int] = {}
    entities = [numbers.setdefault(entity, len(numbers)) for entity in events.entities]
    codes = np.array(entities, np.int64)[rows]
    order = np.lexsort((starts, codes))
    rows, starts, codes = rows[order], starts[order], codes[order]
    steps = np.diff(starts)
    apart = steps != 0 if window.gap_us is None else steps >= window.gap_us
    firsts = np.flatnonzero(np.concatenate(([True], apart | (np.diff(codes) != 0)))) if len(rows) else rows
    bounds = np.append(firsts, len(rows))
    lasts = starts[bounds[1:] - 1]
    ends = lasts + (window.size_us if window.gap_us is None else window.gap_us)
    return Groups(_named(events.entities, rows[firsts]), starts[firsts].tolist(), ends.tolist(), rows, bounds.tolist())


def _named(entities: Sequence[bytes], rows: Column) -> list[bytes]:
    return [entities[row] for row in rows.tolist()]
