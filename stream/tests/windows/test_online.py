"""Closed windows in a store: the newest of each entity, and never over a newer one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from core.tests.windows.brute import SECOND, Event, view_of

from tandem import Window
from tandem.errors import StoreError, Unavailable
from tandem.packed_rows import RowLayout
from tandem.stores.memory import MemoryStore
from tandem_stream.windows.online import StoreWriter, open_writer

from .parts import Parts, records, value_of

WINDOW = Window(size="10s", event_time="at", grace="0s")
VIEW = view_of(WINDOW)
OpenWriter = Callable[[MemoryStore], StoreWriter]


class Down(MemoryStore):
    """A store that answers when it is told to."""

    is_up = False

    async def put(
        self, rows: Iterable[tuple[bytes, bytes]], *, overwrite: bool = False, ttl_s: float | None = None
    ) -> list[bytes]:
        if not self.is_up:
            raise StoreError("down")
        return await super().put(rows, overwrite=overwrite, ttl_s=ttl_s)


@pytest.fixture
def open_store_writer() -> Iterator[OpenWriter]:
    writers: list[StoreWriter] = []

    def open_one(store: MemoryStore) -> StoreWriter:
        writers.append(StoreWriter(VIEW, store))
        return writers[-1]

    yield open_one
    for writer in writers:
        writer.close()


def batch(*events: tuple[int, str, int, float]) -> list[tuple[int, bytes]]:
    return [
        (partition, value_of(Event(athlete, 7, at * SECOND, x, None, None))) for partition, athlete, at, x in events
    ]


def process(parts: Parts, events: list[tuple[int, bytes]], first: int = 0) -> int:
    partitions, values = zip(*events, strict=True)
    return parts.process(records(values, partitions, range(first, first + len(events)))).newer


def stored(store: MemoryStore, athlete: str) -> tuple[np.datetime64, float]:
    layout = RowLayout(VIEW)
    keys = layout.keys([np.array([athlete], object), np.array([7], object)])
    columns = layout.unpack(store.get_now(keys))
    return columns.event_time[0], float(columns.columns["x_sum"][0])


def test_the_newest_window_of_each_entity_is_stored(open_store_writer: OpenWriter) -> None:
    store = MemoryStore()
    parts = Parts(WINDOW, store=open_store_writer(store))
    # of the partitions, the one that is looked at later has the older window of the entity
    events = batch((0, "b", 2, 5.0), (0, "a", 1, 1.0), (0, "a", 11, 2.0), (0, "a", 40, 0.0), (1, "a", 3, 7.0))
    assert process(parts, [*events, *batch((1, "z", 12, 0.0))]) == 0
    assert stored(store, "a") == (np.datetime64(20, "s"), 2.0)
    assert stored(store, "b") == (np.datetime64(10, "s"), 5.0)


def test_a_newer_row_of_the_store_stays(open_store_writer: OpenWriter) -> None:
    store = MemoryStore()
    process(Parts(WINDOW, store=open_store_writer(store)), batch((0, "a", 100, 3.0), (0, "a", 200, 0.0)))
    older = Parts(WINDOW, store=open_store_writer(store))
    assert process(older, batch((0, "a", 1, 1.0), (0, "b", 50, 0.0))) == 1
    assert stored(store, "a") == (np.datetime64(110, "s"), 3.0)


def test_a_store_that_is_down_is_waited_for_and_nothing_counts_twice(open_store_writer: OpenWriter) -> None:
    store = Down()
    parts = Parts(WINDOW, store=open_store_writer(store))
    events = batch((0, "a", 1, 1.0), (0, "a", 2, 2.0), (0, "a", 40, 0.0))
    for _ in range(2):
        with pytest.raises(Unavailable, match="down") as outage:
            process(parts, events)
        assert outage.value.code == "store_unavailable"
    store.is_up = True
    process(parts, events)
    assert stored(store, "a") == (np.datetime64(10, "s"), 3.0)
    assert len(parts.topics["closed"]) == 1


@pytest.mark.parametrize("url", ["memory://", "feast:///tmp", "somewhere"])
def test_a_store_that_nobody_else_could_read_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="behind the Redis protocol"):
        open_writer(VIEW, url, 0.0)
