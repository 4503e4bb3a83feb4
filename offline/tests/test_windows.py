"""Windows over a table: the same as those of the engine, to the last bit, whatever the partitions and the order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from core.tests.windows.brute import (
    FEATURES,
    SECOND,
    STREAMS,
    WINDOWS,
    Closed,
    Event,
    columns_of,
    plain,
    rows_of,
    view_of,
)
from hypothesis import given
from hypothesis import strategies as st

from tandem import DefinitionError, Feature, FeatureView, Model, Prediction, Statistic, Window
from tandem.windows.engine import advance
from tandem.windows.layout import WindowLayout
from tandem.windows.state import WindowState
from tandem_offline import OfflineStore, WindowTable
from tandem_offline.engine import Limits

LIMITS = Limits(threads=1)
TUMBLING = Window(size="10s", event_time="at", grace="2s")

# a text in Arrow is UTF-8
ARROW_STREAMS = STREAMS.map(
    lambda events: [event._replace(s=None if event.s is None else plain(event.s)) for event in events]
)


def table_of(events: Sequence[Event], **further: Any) -> pa.Table:
    columns = {name: [getattr(event, name) for event in events] for name in Event._fields}
    types = [pa.string(), pa.int64(), pa.timestamp("us", "UTC"), pa.float64(), pa.int64(), pa.string()]
    arrays = {name: pa.array(columns[name], type_) for name, type_ in zip(Event._fields, types, strict=True)}
    return pa.table(arrays | further)


def rows_of_table(table: pa.Table) -> Closed:
    times = {name: table[name].cast(pa.int64()) for name in ("event_time", "window_start", "newest")}
    columns = {name: times.get(name, table[name]).to_pylist() for name in table.column_names}
    values = zip(*(columns[feature.name] for feature in FEATURES), strict=True)
    ids = zip(columns["event_time"], columns["athlete"], columns["race"], columns["window_start"], values, strict=True)
    return [(end, athlete, int(race), start, list(features)) for end, athlete, race, start, features in ids]


def by_engine(window: Window, events: Sequence[Event], places: Sequence[int]) -> tuple[Closed, list[int]]:
    """The windows of the events of one partition, and which of their places in the table came too late."""
    step = advance(WindowState(WindowLayout(view_of(window))), columns_of(events))
    return rows_of(step.closed), [places[row] for row in step.late.tolist()]


@given(WINDOWS, ARROW_STREAMS)
def test_windows_are_those_of_the_engine(window: Window, events: list[Event]) -> None:
    twin = WindowTable(view_of(window), table_of(events), limits=LIMITS)
    closed, late = by_engine(window, events, range(len(events)))
    assert repr(rows_of_table(twin.to_arrow())) == repr(closed)
    assert twin.late_rows().tolist() == late


@given(WINDOWS, ARROW_STREAMS, st.data())
def test_partitions_have_watermarks_of_their_own_and_offsets_tell_the_order(
    window: Window, events: list[Event], data: st.DataObject
) -> None:
    partitions = [data.draw(st.integers(0, 1)) for _ in events]
    offsets = data.draw(st.permutations(range(len(events))))  # of each row of the table
    table = table_of([events[offset] for offset in offsets])
    table = table.append_column("partition", pa.array([partitions[offset] for offset in offsets], pa.int32()))
    table = table.append_column("offset", pa.array(offsets, pa.int64()))
    twin = WindowTable(view_of(window), table, partition="partition", offset="offset", limits=LIMITS)
    closed: Closed = []
    late: list[int] = []
    for partition in (0, 1):
        own = [offset for offset in range(len(events)) if partitions[offset] == partition]
        windows, places = by_engine(window, [events[offset] for offset in own], list(map(offsets.index, own)))
        closed += windows
        late += places
    # the sort is stable: of equal windows, that of the first partition comes first
    closed.sort(key=lambda row: (row[0], row[1].encode(), str(row[2]).encode()))
    assert repr(rows_of_table(twin.to_arrow())) == repr(closed)
    assert twin.late_rows().tolist() == sorted(late)


def test_windows_that_lie_in_several_batches_are_whole() -> None:
    events = [Event("a", 7, second * 1000, math.sin(second), second, f"{second % 500}") for second in range(9_000)]
    twin = WindowTable(view_of(Window(size="5s", event_time="at", grace="0s")), table_of(events), limits=LIMITS)
    batches = list(twin.batches(1))
    assert len(batches) > 3
    closed, _ = by_engine(Window(size="5s", event_time="at", grace="0s"), events, range(len(events)))
    assert [end for end, *_ in closed] == [5 * SECOND]
    assert repr(rows_of_table(pa.Table.from_batches(batches))) == repr(closed)


def test_windows_are_a_table_of_the_offline_store_and_known_from_their_end_and_the_grace_on() -> None:
    view = FeatureView(
        "pace", keys=["athlete"], features=[Feature("x_mean", statistic=Statistic("mean", "x"))], window=TUMBLING
    )
    model = Model(
        "races",
        serving_keys={"athlete": "string"},
        request_parameters={"ts": "timestamp"},
        as_of="ts",
        views=[view],
        inputs=["x_mean"],
        prediction=Prediction("minutes"),
    )
    events = [Event("a", 7, second * SECOND, float(second), None, None) for second in (1, 2, 11, 30)]
    windows = WindowTable(view, table_of(events), limits=LIMITS).to_arrow()
    assert windows.column_names == ["athlete", "event_time", "created", "window_start", "x_mean"]
    moments = [datetime.fromtimestamp(second, UTC) for second in (11, 12, 21, 22)]
    spine = pa.table({"athlete": ["a"] * 4, "ts": moments})
    joined = OfflineStore({"pace": windows}, limits=LIMITS).training_set(model, spine)
    assert joined.to_arrow()["x_mean"].to_pylist() == [None, 1.5, 1.5, 11.0]


@pytest.mark.parametrize(
    ("further", "options", "reason"),
    [
        ({"x": pa.array(["1"])}, {}, "'v': column 'x' is string; the declared type is float64"),
        ({"at": pa.array([1])}, {}, "'v': column 'at' is int64; the declared type is timestamp"),
        ({"race": pa.array([1.0])}, {}, "'v': column 'race' is double; a key must be a string or an integer"),
        ({}, {"partition": "shard"}, "'v': .*no column 'shard'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(further: dict[str, Any], options: dict[str, Any], reason: str) -> None:
    table = table_of([Event("a", 7, 0, 1.0, None, None)], **further)
    with pytest.raises(DefinitionError, match=reason):
        WindowTable(view_of(TUMBLING), table, limits=LIMITS, **options)


@pytest.mark.parametrize(
    ("further", "reason"),
    [
        ({"x": pa.array([1.0, np.inf])}, "'v': .*column 'x' is infinite in row 1; values must be finite"),
        ({"athlete": pa.array(["a", None])}, "'v': table: column 'athlete' has nulls in row 1; a key must always"),
        (
            {"at": pa.array([None, 0], pa.timestamp("us", "UTC"))},
            "'v': table: column 'at' has nulls in row 0; each event",
        ),
    ],
)
def test_events_that_cannot_be_counted_are_named(further: dict[str, Any], reason: str) -> None:
    events = [Event("a", 7, 0, 1.0, None, None), Event("a", 7, 0, 1.0, None, None)]
    last = table_of([Event("b", 7, 99 * SECOND, 1.0, None, None)])
    table = pa.concat_tables([table_of(events, **further), last], promote_options="permissive")
    with pytest.raises(DefinitionError, match=reason):
        WindowTable(view_of(TUMBLING), table, limits=LIMITS).to_arrow()
