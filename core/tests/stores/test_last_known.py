from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.stores.last_known import ENTRY_BYTES, LastKnown


def test_what_was_read_is_known_and_when() -> None:
    cache = LastKnown(10_000)
    cache.remember([b"a", b"b"], [b"row", None], 1.0)
    cache.remember([b"a"], [b"newer"], 2.0)
    assert cache.recall(b"a") == (b"newer", 2.0)
    assert cache.recall(b"b") == (None, 1.0)
    assert cache.recall(b"c") is None


def test_without_room_nothing_is_known() -> None:
    cache = LastKnown(0)
    cache.remember([b"a"], [b"row"], 1.0)
    assert cache.recall(b"a") is None


def test_what_is_read_again_and_again_stays_known() -> None:
    cache = LastKnown(20 * (ENTRY_BYTES + 8))
    for turn in range(100):
        cache.remember([b"often"], [b"1234"], float(turn))
        cache.remember([b"%04d" % turn], [b"1234"], float(turn))
    assert cache.recall(b"often") == (b"1234", 99.0)
    assert cache.recall(b"0000") is None


@given(st.lists(st.lists(st.tuples(st.binary(max_size=8), st.none() | st.binary(max_size=300)), max_size=5)))
def test_bytes_are_bounded(batches: list[list[tuple[bytes, bytes | None]]]) -> None:
    limit = 4_000
    cache = LastKnown(limit)
    latest: dict[bytes, tuple[bytes | None, float]] = {}
    largest = 0
    for moment, batch in enumerate(batches):
        rows = dict(batch)
        cache.remember(list(rows), list(rows.values()), float(moment))
        latest |= {key: (row, float(moment)) for key, row in rows.items()}
        largest = max(largest, len(rows) * (ENTRY_BYTES + 308))
    entries = {key: cache.recall(key) for key in latest}
    remembered = {key: entry for key, entry in entries.items() if entry is not None}
    assert all(entry == latest[key] for key, entry in remembered.items())
    assert sum(ENTRY_BYTES + len(key) + len(entry[0] or b"") for key, entry in remembered.items()) <= limit + largest
