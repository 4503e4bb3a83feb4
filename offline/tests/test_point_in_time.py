"""The join against a brute-force one, over ties, equal times, late rows, nulls, zones and composite keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem import Model
from tandem_offline import OfflineStore

START = datetime(2026, 3, 29, 0, 59, 50, tzinfo=UTC)  # ten seconds before clocks change in Berlin
MAX_AGE = timedelta(seconds=10)
CITIES, LINES = ("B", "b", ""), (1, -7)


@dataclass(frozen=True)
class Row:
    """A row of a feature table."""

    key: tuple[Any, ...]
    event_time: datetime
    created: datetime
    values: tuple[Any, ...]


def moments() -> st.SearchStrategy[datetime]:
    # few of them, so that many are equal; some a microsecond apart
    return st.builds(
        lambda seconds, microseconds: START + timedelta(seconds=seconds, microseconds=microseconds),
        st.integers(0, 25),
        st.sampled_from([0, 0, 1]),
    )


def rows(key: st.SearchStrategy[tuple[Any, ...]], *values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Row]]:
    return st.lists(st.builds(Row, key, moments(), moments(), st.tuples(*values)), max_size=12)


NUMBERS = st.none() | st.sampled_from([0.0, -1.5, 3.25])
STATIONS = rows(
    st.tuples(st.sampled_from(CITIES), st.sampled_from(LINES)),
    NUMBERS,
    st.none() | st.sampled_from(["", "Ü", "x"]),
    st.none() | st.integers(0, 3),
)
WEATHERS = rows(st.tuples(st.sampled_from(CITIES)), NUMBERS)
SPINES = st.lists(
    st.tuples(st.sampled_from(CITIES), st.sampled_from(CITIES), st.sampled_from(LINES), moments()),
    min_size=1,
    max_size=12,
)


def newest(
    table: Sequence[Row], key: tuple[Any, ...], at: datetime, *, has_created: bool, bitemporal: bool
) -> Row | None:
    """The row that counts, by looking at all of them."""
    candidates = [
        (row.event_time, row.created if has_created else START, place)
        for place, row in enumerate(table)
        if row.key == key and row.event_time <= at and (not bitemporal or row.created <= at)
    ]
    return table[max(candidates)[2]] if candidates else None


def expected(row: Row | None, at: datetime, width: int, *, limited: bool) -> list[Any]:
    if row is None:
        return [None] * (width + 1)
    too_old = limited and at - row.event_time > MAX_AGE
    return [row.event_time, *([None] * width if too_old else row.values)]


def table(
    data: Sequence[Row], keys: Sequence[str], features: pa.Schema, zone: str | None, *, has_created: bool
) -> pa.Table:
    schema = [pa.field(name, pa.int64() if name == "line" else pa.string()) for name in keys]
    columns: list[list[Any]] = [[row.key[at] for row in data] for at in range(len(keys))]
    kind = pa.timestamp("us", zone)
    times = {"event_time": [row.event_time for row in data]}
    if has_created:
        times["created"] = [row.created for row in data]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    # without a zone, the times are in UTC
    arrays += [pa.array(column, pa.timestamp("us", "UTC")).cast(kind) for column in times.values()]
    arrays += [pa.array([row.values[at] for row in data], field.type) for at, field in enumerate(features)]
    return pa.table(dict(zip([*keys, *times, *features.names], arrays, strict=True)))


@settings(max_examples=200)
@given(
    stations=STATIONS,
    weathers=WEATHERS,
    spine=SPINES,
    has_created=st.booleans(),
    bitemporal=st.booleans(),
    zone=st.sampled_from([None, "UTC", "Europe/Berlin"]),
)
def test_the_join_is_that_of_looking_at_all_rows(
    model: Model,
    stations: list[Row],
    weathers: list[Row],
    spine: list[tuple[str, str, int, datetime]],
    has_created: bool,
    bitemporal: bool,
    zone: str | None,
) -> None:
    features = pa.schema([("delay", pa.float64()), ("name", pa.string()), ("trains", pa.int64())])
    store = OfflineStore(
        {
            "station": table(stations, ["city", "line"], features, zone, has_created=has_created),
            "weather": table(weathers, ["city"], pa.schema([("rain", pa.float64())]), zone, has_created=has_created),
        }
    )
    questions = {
        "origin": [row[0] for row in spine],
        "destination": [row[1] for row in spine],
        "line": pa.array([row[2] for row in spine], pa.int64()),
        "at": pa.array([row[3] for row in spine], pa.timestamp("us", zone or "UTC")),
    }
    joined = store.training_set(model, pa.table(questions), bitemporal=bitemporal, duplicates=True).to_arrow()
    by = {"has_created": has_created, "bitemporal": bitemporal and has_created}
    for place, (origin, destination, line, at) in enumerate(spine):
        row = list(joined.slice(place, 1).to_pylist()[0].values())
        start = newest(stations, (origin, line), at, **by)
        end = newest(stations, (destination, line), at, **by)
        weather = newest(weathers, (origin,), at, **by)
        assert row[:4] == [origin, destination, line, at]
        assert row[4:8] == expected(start, at, 3, limited=True)
        assert row[8:12] == expected(end, at, 3, limited=True)
        assert row[12:] == expected(weather, at, 1, limited=False)


@settings(max_examples=50)
@given(weathers=WEATHERS, spine=SPINES, later=WEATHERS)
def test_rows_that_come_later_change_nothing(
    model: Model, weathers: list[Row], spine: list[tuple[str, str, int, datetime]], later: list[Row]
) -> None:
    """Whatever is added with a time, of the event or of its arrival, after those that ask."""
    end = max(at for *_, at in spine)
    future = [
        Row(row.key, *times, row.values)
        for row in later
        for times in ((end + timedelta(microseconds=1), row.created), (row.event_time, end + timedelta(microseconds=1)))
    ]
    station = table(
        [],
        ["city", "line"],
        pa.schema([("delay", pa.float64()), ("name", pa.string()), ("trains", pa.int64())]),
        "UTC",
        has_created=False,
    )
    questions = pa.table(
        {
            "origin": [row[0] for row in spine],
            "destination": [row[1] for row in spine],
            "line": [row[2] for row in spine],
            "at": pa.array([row[3] for row in spine], pa.timestamp("us", "UTC")),
        }
    )
    results = []
    for data in (weathers, weathers + future):
        weather = table(data, ["city"], pa.schema([("rain", pa.float64())]), "UTC", has_created=True)
        store = OfflineStore({"station": station, "weather": weather})
        results.append(store.training_set(model, questions, duplicates=True).to_arrow())
    assert results[0].equals(results[1])


@pytest.mark.parametrize("kind", [pa.timestamp("s", "UTC"), pa.timestamp("ms"), pa.timestamp("ns", "UTC")])
def test_times_of_any_unit(model: Model, kind: pa.DataType) -> None:
    features = pa.schema([("delay", pa.float64()), ("name", pa.string()), ("trains", pa.int64())])
    weather = pa.table(
        {
            "city": ["B"],
            "event_time": pa.array([START], pa.timestamp("us", "UTC")).cast(pa.timestamp("us", kind.tz)).cast(kind),
            "rain": [1.0],
        }
    )
    store = OfflineStore(
        {"station": table([], ["city", "line"], features, None, has_created=False), "weather": weather}
    )
    spine = {"origin": ["B"], "destination": ["B"], "line": [1], "at": pa.array([START], pa.timestamp("ns", "UTC"))}
    assert store.training_set(model, pa.table(spine)).to_arrow()["rain"].to_pylist() == [1.0]
