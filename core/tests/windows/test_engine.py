"""The engine against brute force: any cuts, any order within the grace, restarts from records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem import Feature, FeatureView, Statistic, Window
from tandem.errors import DefinitionError, StateError
from tandem.windows.engine import advance, apply_step
from tandem.windows.layout import WindowLayout
from tandem.windows.state import WATERMARK_KEY, WindowState, restore

from .brute import EVENTS, SECOND, STREAMS, WINDOWS, Closed, Event, brute_force, columns_of, rows_of, view_of

SIZES = st.lists(st.integers(0, 9), max_size=8)
"""Of batches; the last one has the rest."""


class Stream:
    """Runs batches through the engine, and keeps its records as a compacted topic does."""

    def __init__(self, window: Window) -> None:
        self.layout = WindowLayout(view_of(window))
        self.state = WindowState(self.layout)
        self.topic: dict[bytes, bytes] = {}
        self.closed: Closed = []
        self.late: list[int] = []
        self.events = 0

    def send(self, events: Sequence[Event]) -> None:
        step = advance(self.state, columns_of(events))
        apply_step(self.state, step)
        for key, value in step.records():
            if value is None:
                del self.topic[key]  # what is deleted was there
            else:
                self.topic[key] = value
        self.closed += rows_of(step.closed)
        self.late += (self.events + step.late).tolist()
        self.events += len(events)

    def restart(self) -> None:
        self.state = restore(self.layout, self.topic.items())


def run(window: Window, batches: Sequence[Sequence[Event]], *, restarts: bool = False) -> Stream:
    stream = Stream(window)
    for batch in batches:
        stream.send(batch)
        if restarts:
            stream.restart()
    return stream


def cut(events: Sequence[Event], sizes: Sequence[int]) -> list[Sequence[Event]]:
    bounds = [0, *accumulate(sizes), len(events)]
    return [events[first:end] for first, end in pairwise(bounds)]


@given(WINDOWS, STREAMS, SIZES)
def test_windows_are_those_of_brute_force(window: Window, events: list[Event], sizes: list[int]) -> None:
    stream = run(window, cut(events, sizes))
    closed, late = brute_force(window, events)
    assert repr(stream.closed) == repr(closed)  # to the bit, and with the sign of zeros
    assert stream.late == late


@given(WINDOWS, STREAMS, SIZES)
def test_neither_cuts_nor_restarts_change_anything(window: Window, events: list[Event], sizes: list[int]) -> None:
    streams = [
        run(window, cut(events, sizes)),
        run(window, cut(events, sizes), restarts=True),
        run(window, [events]),
        run(window, [[event] for event in events], restarts=True),
    ]
    for stream in streams:
        assert repr(stream.closed) == repr(streams[0].closed)
        assert stream.late == streams[0].late
        assert dict(stream.state.records()) == dict(streams[0].state.records())


@given(WINDOWS, st.lists(EVENTS, min_size=1, max_size=25), st.data())
def test_order_within_the_grace_changes_nothing(window: Window, events: list[Event], data: st.DataObject) -> None:
    delay = st.integers(0, window.grace_us)
    orders = [sorted(events, key=lambda event: event.at + data.draw(delay)) for _ in range(2)]
    first_run, second_run = (run(window, [order[:7], order[7:]]) for order in orders)
    assert repr(first_run.closed) == repr(second_run.closed)
    assert first_run.late == second_run.late == []
    assert dict(first_run.state.records()) == dict(second_run.state.records())


@given(WINDOWS, STREAMS, SIZES)
def test_the_records_of_the_changelog_are_the_state(window: Window, events: list[Event], sizes: list[int]) -> None:
    stream = run(window, cut(events, sizes))
    assert stream.topic == dict(stream.state.records())
    assert len(stream.state) == len(stream.topic) - 1


@given(WINDOWS, STREAMS)
def test_a_step_that_is_not_applied_has_done_nothing(window: Window, events: list[Event]) -> None:
    stream = run(window, [events[:10]])
    before = dict(stream.state.records())
    first, second = (advance(stream.state, columns_of(events[10:])) for _ in range(2))
    assert dict(stream.state.records()) == before
    assert first.changes == second.changes
    assert repr(rows_of(first.closed)) == repr(rows_of(second.closed))


def event(at: float, x: float | None = 1.0) -> Event:
    return Event("a", 7, int(at * SECOND), x, None, None)


def test_a_window_is_closed_at_its_end_and_the_grace() -> None:
    stream = run(Window(size="10s", event_time="at", grace="2s"), [[event(9.5)], [event(11.999999)]])
    assert (stream.closed, stream.late) == ([], [])
    stream.send([event(9.0), event(12), event(9.0)])
    assert [(end, start, values[0]) for end, _, _, start, values in stream.closed] == [(10 * SECOND, 0, 2)]
    assert stream.late == [4]


def test_an_event_that_misses_one_of_its_windows_is_late_once_and_counts_in_the_others() -> None:
    stream = run(Window(size="10s", hop="5s", event_time="at", grace="0s"), [[event(10), event(6), event(30)]])
    assert stream.late == [1]
    assert [(start // SECOND, values[0]) for _, _, _, start, values in stream.closed] == [(5, 2), (10, 1)]


def test_an_event_between_two_sessions_joins_them() -> None:
    stream = run(Window(gap="4s", event_time="at", grace="9s"), [[event(0), event(6)], [event(3)], [event(30)]])
    assert [(start, end, values[0]) for end, _, _, start, values in stream.closed] == [(0, 10 * SECOND, 3)]


def test_state_of_another_definition_is_refused() -> None:
    stream = run(Window(size="10s", event_time="at", grace="2s"), [[event(0)]])
    layout = WindowLayout(view_of(Window(size="10s", event_time="at", grace="3s")))
    with pytest.raises(StateError, match="opened by another definition"):
        restore(layout, stream.topic.items())


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x91\x01", b"\x93\x01\x01\x01"])
def test_state_that_cannot_be_read_is_refused(damage: bytes) -> None:
    stream = run(Window(size="10s", event_time="at", grace="2s"), [[event(0)]])
    records = {key: value if key == WATERMARK_KEY else damage for key, value in stream.topic.items()}
    with pytest.raises(StateError, match="feature view 'v': the state of its windows cannot be read"):
        restore(stream.layout, records.items())


def test_windows_without_a_watermark_are_refused() -> None:
    stream = run(Window(size="10s", event_time="at", grace="2s"), [[event(0)]])
    del stream.topic[WATERMARK_KEY]
    with pytest.raises(StateError, match="has no watermark"):
        restore(stream.layout, stream.topic.items())


def test_infinite_numbers_are_refused_and_nan_is_null() -> None:
    stream = run(Window(size="10s", event_time="at", grace="0s"), [[event(0, float("nan")), event(20)]])
    assert stream.closed[0][-1][:4] == [1, 0, None, None]
    with pytest.raises(ValueError, match="column 'x' is infinite"):
        stream.send([event(21, float("inf"))])


def test_a_view_without_a_window_has_no_layout() -> None:
    with pytest.raises(DefinitionError, match="feature view 'v': has no window"):
        WindowLayout(FeatureView("v", keys=["k"], features=[Feature("x")]))


def test_state_is_compact() -> None:
    view = FeatureView(
        "v",
        keys=["k"],
        features=[
            Feature("x_mean", statistic=Statistic("mean", "x")),
            Feature("n", "int64", statistic=Statistic("count")),
        ],
        window=Window(size="10s", event_time="at", grace="0s"),
    )
    state = WindowState(WindowLayout(view))
    step = advance(state, columns_of([event(second / 1000, 300 + second / 7) for second in range(1000)]))
    (_, value), _ = step.records()
    assert value is not None
    assert len(value) < 40
