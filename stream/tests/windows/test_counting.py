"""Batches of records to windows: the batch twin's, however batches are cut, repeated, and restarted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from core.tests.windows.brute import SECOND, STREAMS, WINDOWS, Event, plain, view_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem import Window
from tandem_offline import WindowTable
from tandem_offline.engine import Limits
from tandem_stream.topics import StreamError
from tandem_stream.windows.tables import window_rows

from .parts import Parts, records, value_of

TUMBLING = Window(size="10s", event_time="at", grace="2s")
# half of a surrogate pair is no JSON
JSON_STREAMS = STREAMS.map(
    lambda events: [event._replace(s=None if event.s is None else plain(event.s)) for event in events]
)


def event(at: float, athlete: str = "a", x: float | None = 1.0) -> Event:
    return Event(athlete, 7, int(at * SECOND), x, None, None)


def table_of(events: Sequence[Event], **further: Any) -> pa.Table:
    types = [pa.string(), pa.int64(), pa.timestamp("us", "UTC"), pa.float64(), pa.int64(), pa.string()]
    names = zip(Event._fields, types, strict=True)
    return pa.table(
        {name: pa.array([getattr(item, name) for item in events], type_) for name, type_ in names} | further
    )


def ordered(table: pa.Table) -> list[Any]:
    names = ("event_time", "athlete", "race", "window_start")
    return sorted(table.to_pylist(), key=lambda row: (*(row[name] for name in names), repr(row)))


@settings(max_examples=30)
@given(WINDOWS, JSON_STREAMS, st.data())
def test_windows_and_late_events_are_those_of_the_batch_twin(
    window: Window, events: list[Event], data: st.DataObject
) -> None:
    partitions = [data.draw(st.integers(0, 1)) for _ in events]
    offsets = [2 * number for number in range(len(events))]  # between records there are markers of transactions
    parts = Parts(window)
    first = 0
    while first < len(events):
        end = first + data.draw(st.integers(1, 8))
        batch = records([value_of(item) for item in events[first:end]], partitions[first:end], offsets[first:end])
        if data.draw(st.booleans()):
            # its delivery fails, and the clients are opened anew
            parts.counter.count(batch)
            parts.states.clear()
        parts.process(batch)
        if data.draw(st.booleans()):
            parts.states.drop([data.draw(st.integers(0, 1))])
        first = end
    table = table_of(events, partition=pa.array(partitions, pa.int32()), offset=pa.array(offsets, pa.int64()))
    twin = WindowTable(view_of(window), table, partition="partition", offset="offset", limits=Limits(threads=1))
    rows = window_rows(parts.layout.view, parts.values("closed"))
    assert rows.schema == twin.schema
    assert repr(ordered(rows)) == repr(ordered(twin.to_arrow()))
    places = [dict(message.headers)["tandem-source"] for message in parts.topics["late"]]
    expected = [f"events/{partitions[row]}/{offsets[row]}" for row in twin.late_rows().tolist()]
    assert sorted(map(str, places)) == sorted(expected)


def test_a_partition_without_events_holds_no_other_back() -> None:
    parts = Parts(TUMBLING)
    events = [event(1, "idle"), event(1), event(5), event(12)]
    parts.process(records([value_of(item) for item in events], [0, 1, 1, 1], [0, 0, 1, 2]))
    (message,) = parts.topics["closed"]
    row = msgspec.json.decode(message.value or b"")
    assert message.key == b"1:a7"
    assert (row["athlete"], row["race"], row["events"], row["x_variance"]) == ("a", "7", 2, 0.0)
    assert [row[name] for name in ("window_start", "event_time", "created")] == [
        f"1970-01-01T00:00:{second}.000000Z" for second in ("00", "10", "12")
    ]
    assert [name for name, _ in message.headers] == ["tandem-view", "tandem-definition"]


def test_poison_is_rejected_and_moves_no_watermark() -> None:
    parts = Parts(TUMBLING, max_ahead_s=60)
    values = [
        b"{",
        value_of(event(1)),
        b'{"athlete": "a", "race": 7, "at": 99}',
        value_of(event(61)),
        value_of(event(60)),
    ]
    counted = parts.process(records(values, [0] * 5, [4, 5, 6, 7, 8]))
    assert counted.rejected.keys() == {0, 2, 3}
    assert parts.values("dead") == [values[0], values[2], values[3]]
    ahead = dict(parts.topics["dead"][2].headers)
    assert ahead["tandem-message"] == b"field 'at': must be at most 60 s after the time of the record"
    assert counted.watermarks == {0: 60 * SECOND}
    assert counted.open_windows == 1 and len(parts.topics["closed"]) == 1


def test_a_batch_of_poison_alone_changes_no_state() -> None:
    parts = Parts(TUMBLING)
    counted = parts.process(records([b"{"], [0], [0]))
    assert (counted.steps, parts.changelog.records) == ({}, {})


def test_late_events_are_put_aside_as_they_were() -> None:
    parts = Parts(TUMBLING)
    values = [value_of(event(1)), value_of(event(30)), value_of(event(2))]
    counted = parts.process(records(values, [0, 0, 0], [0, 1, 2]))
    assert counted.late == [2] and parts.values("late") == [values[2]]
    assert parts.topics["late"][0].key == b"k"


def test_a_state_that_is_ahead_of_its_position_is_refused() -> None:
    parts = Parts(TUMBLING)
    batch = records([value_of(event(1)), value_of(event(2))], [0, 0], [3, 4])
    parts.process(batch)
    parts.states.clear()
    with pytest.raises(StreamError, match="partition 0: the state of the windows has the records before offset 5"):
        parts.process(batch)
