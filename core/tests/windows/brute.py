"""Windows by looking at all events one by one, with Python's own statistics."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from tandem import Feature, FeatureView, Statistic, Window
from tandem.store_keys import entities, split_entity
from tandem.windows.engine import ClosedWindows
from tandem.windows.layout import Events

SECOND = 1_000_000
FEATURES = [
    Feature("events", "int64", statistic=Statistic("count")),
    Feature("x_count", "int64", statistic=Statistic("count", "x")),
    Feature("x_sum", statistic=Statistic("sum", "x")),
    Feature("x_mean", statistic=Statistic("mean", "x")),
    Feature("x_variance", statistic=Statistic("variance", "x")),
    Feature("x_min", statistic=Statistic("min", "x")),
    Feature("x_last", statistic=Statistic("last", "x")),
    Feature("n_sum", "int64", default=0, statistic=Statistic("sum", "n", "int64")),
    Feature("n_mean", statistic=Statistic("mean", "n", "int64")),
    Feature("n_max", "int64", default=0, statistic=Statistic("max", "n", "int64")),
    Feature("s_last", "string", default="", statistic=Statistic("last", "s", "string")),
    Feature("s_distinct", "int64", statistic=Statistic("distinct", "s", "string")),
    Feature("newest", "timestamp", statistic=Statistic("max", "at", "timestamp")),
]

WINDOWS = st.builds(
    lambda spans, grace: Window(event_time="at", grace=grace, **spans),
    st.sampled_from([{"size": "10s"}, {"size": "10s", "hop": "5s"}, {"size": "10s", "hop": "3s"}, {"gap": "4s"}]),
    st.sampled_from(["0s", "2s", "7s"]),
)


class Event(NamedTuple):
    """An event; times are in microseconds since 1970."""

    athlete: str
    race: int
    at: int
    x: float | None
    n: int | None
    s: str | None


# few times, so that many are equal or at an edge; some before 1970; sums that floats would round, and overflow
EVENTS = st.builds(
    Event,
    st.sampled_from(["a", "b", "é:"]),
    st.sampled_from([7, -1]),
    st.builds(lambda seconds, rest: seconds * SECOND + rest, st.integers(-15, 25), st.sampled_from([0, 0, 1, -1])),
    st.none() | st.sampled_from([0.0, -0.0, 0.1, 0.2, 1e16, -1e16, 1.7e308, 5e-324]),
    st.none() | st.sampled_from([0, 1, -5, 2**53 + 1, 2**63 - 1]),
    st.none() | st.sampled_from(["", "x", "Ü", "\ud800"]),
)


def in_order_of_arrival(events: Sequence[Event], delay: int) -> list[Event]:
    """Events that each arrive up to some microseconds after they happened."""
    delays = [index * 7919 % 1009 * delay // 1009 for index in range(len(events))]
    order = sorted(range(len(events)), key=lambda index: (events[index].at + delays[index], index))
    return [events[index] for index in order]


DELAYS = st.sampled_from([0, 3 * SECOND, 12 * SECOND, 100 * SECOND])
STREAMS = st.builds(in_order_of_arrival, st.lists(EVENTS, max_size=30), DELAYS)

Closed = list[tuple[int, str, int, int, list[Any]]]
"""End, keys, beginning and features of windows, in order."""


def view_of(window: Window) -> FeatureView:
    return FeatureView("v", keys=["athlete", "race"], features=FEATURES, window=window)


def columns_of(events: Sequence[Event]) -> Events:
    columns, nulls = {}, {}
    for name, dtype, empty in (("x", float, 0.0), ("n", np.int64, 0), ("s", object, ""), ("at", np.int64, 0)):
        values = [getattr(event, name) for event in events]
        column = np.empty(len(values), dtype)
        column[:] = [empty if value is None else value for value in values]
        columns[name] = column
        nulls[name] = np.array([value is None for value in values], bool)
    columns["at"] = columns["at"].astype("datetime64[us]")
    keys = [np.array([event.athlete for event in events], object), np.array([event.race for event in events], object)]
    return Events(entities(keys), columns["at"], columns, nulls)


def rows_of(closed: ClosedWindows) -> Closed:
    columns = []
    for name, column in closed.columns.items():
        null = closed.nulls.get(name, np.zeros(len(column), bool))
        columns.append([None if gone else value for value, gone in zip(elements(column), null, strict=True)])
    keys = [split_entity(entity, 2) for entity in closed.entities]
    ids = zip(elements(closed.ends), elements(closed.starts), keys, zip(*columns, strict=True), strict=True)
    return [(end, athlete, int(race), start, list(values)) for end, start, (athlete, race), values in ids]


def elements(column: np.ndarray) -> list[Any]:
    return (column.astype(np.int64) if column.dtype.kind == "M" else column).tolist()


def brute_force(window: Window, events: Sequence[Event]) -> tuple[Closed, list[int]]:
    """The windows that are closed at the end, and the events that came too late."""
    late: list[int] = []
    accepted: dict[tuple[str, int], list[Event]] = defaultdict(list)
    fixed: dict[tuple[str, int, int], list[Event]] = defaultdict(list)
    watermark = -math.inf
    for index, event in enumerate(events):
        watermark = max(watermark, event.at)
        if window.gap_us is not None:
            if event.at < watermark - window.grace_us:
                late.append(index)
            else:
                accepted[event.athlete, event.race].append(event)
            continue
        starts = range(-60 * SECOND // window.hop_us * window.hop_us, 60 * SECOND, window.hop_us)
        own = [start for start in starts if start <= event.at < start + window.size_us]
        if any(start + window.size_us + window.grace_us <= watermark for start in own):
            late.append(index)
        for start in own:
            if start + window.size_us + window.grace_us > watermark:
                fixed[event.athlete, event.race, start].append(event)
    windows = [(start + window.size_us, *key, start, members) for (*key, start), members in fixed.items()]
    for key, members in accepted.items():
        windows += [
            (session[-1].at + (window.gap_us or 0), *key, session[0].at, session)
            for session in sessions(sorted(members, key=lambda event: event.at), window.gap_us or 0)
        ]
    due = [(end, *rest, features(members)) for end, *rest, members in windows if end + window.grace_us <= watermark]
    return sorted(due, key=lambda row: (row[0], row[1].encode(), str(row[2]).encode())), late


def sessions(events: Sequence[Event], gap: int) -> list[list[Event]]:
    parts: list[list[Event]] = []
    for event in events:
        if parts and event.at - parts[-1][-1].at < gap:
            parts[-1].append(event)
        else:
            parts.append([event])
    return parts


def features(events: Sequence[Event]) -> list[Any]:
    x = [event.x + 0.0 for event in events if event.x is not None]
    n = [event.n for event in events if event.n is not None]
    s = [plain(event.s) for event in events if event.s is not None]
    exact_x, exact_n = [Fraction(value) for value in x], [Fraction(value) for value in n]
    return [
        len(events),
        len(x),
        rounded(sum(exact_x)) if x else None,
        rounded(statistics.mean(exact_x)) if x else None,
        rounded(statistics.variance(exact_x)) if len(x) > 1 else None,
        min(x, default=None),
        max(((event.at, event.x + 0.0) for event in events if event.x is not None), default=(0, None))[1],
        sum(n) if n and -(2**63) <= sum(n) < 2**63 else None,
        rounded(statistics.mean(exact_n)) if n else None,
        max(n, default=None),
        max(((event.at, plain(event.s)) for event in events if event.s is not None), default=(0, None))[1],
        len(set(s)),
        max(event.at for event in events),
    ]


def plain(text: str) -> str:
    return text.encode(errors="replace").decode()


def rounded(value: Fraction | int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None
