"""Online store on a cluster of Valkey or Redis: a batch is split by slot, and each node gets its part in one write.

redis-py's client of clusters is not used for this: between tries it waits for a quarter of a second, it ends the
connections of all calls when one node fails, and it needs the command ``COMMAND``. The connections are redis-py's.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import redis
from redis.asyncio.connection import AbstractConnection
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterError, MovedError, NoScriptError, RedisError

from tandem.errors import StoreError
from tandem.stores.redis_commands import Row, put, put_newer, scan
from tandem.stores.redis_connections import Connections, pack, refusals
from tandem.stores.redis_url import read_url

Address = tuple[str, int]

ROWS_PER_WRITE: Final = 5_000
"""How many rows are written before the nodes' replies are read."""

REDIRECTIONS: Final = 3
"""How often a command follows its slot to another node."""

_SLOTS = pack(b"CLUSTER", b"SLOTS")
_ASKING = pack(b"ASKING")


class RedisClusterStore:
    """Packed rows as plain string values, on the nodes that have their slots.

    A store belongs to one event loop. It asks one of the nodes which of them has which slots, and again when a node
    does not answer or has given a slot away.

    Args:
        url: ``redis+cluster://user:password@host:port,host:port`` with some of the nodes, or ``rediss+cluster://…``.
        connections: Most connections to one node at one time; further calls wait for one.
        timeout: Seconds for opening a connection, and for each reply to :meth:`get_now`.

    Raises:
        StoreError: if the URL cannot be read.
    """

    def __init__(self, url: str, *, connections: int = 32, timeout: float = 5.0) -> None:
        self._address = read_url(url)
        self._place = self._address.place
        self._timeout = timeout
        self._most = connections
        try:
            self._connection, self._options = self._address.connection_type(timeout)
            self._connect("", 0)
        except (ValueError, TypeError):
            # the reason might quote the password
            raise StoreError("the URL of the store has an option that cannot be read") from None
        self._nodes: dict[Address, Connections] = {}
        self._slots: list[Address] = []
        self._finding = asyncio.Lock()
        self._now: redis.Redis | redis.RedisCluster | None = None
        self._now_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RedisClusterStore({self._place})"

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, in one round trip to each node that has some; None where there is none.

        Raises:
            StoreError: if one of these nodes cannot be reached or refuses.
        """
        # each alone: of several keys in one command all must be in one slot; MGET has no error for another type
        replies = await self._run(keys, [pack(b"MGET", key) for key in keys])
        return [row for (row,) in _checked(replies, self._place)]

    async def put(self, rows: Iterable[Row], *, overwrite: bool = False, ttl_s: float | None = None) -> list[bytes]:
        """Write rows, each with its key, except where there is a newer one of the same layout.

        The node that has the key compares and writes in one step, with a script (``EVAL``, ``EVALSHA``).

        Args:
            rows: Keys and rows.
            overwrite: Write whatever the cluster has.
            ttl_s: Seconds after which the rows that are written expire; None for never.

        Returns:
            The keys of which there is a newer row.

        Raises:
            StoreError: if a node cannot be reached or refuses; some of the rows may be written then.
        """
        remaining = iter(rows)
        newer: list[bytes] = []
        while batch := list(islice(remaining, ROWS_PER_WRITE)):
            if overwrite:
                _checked(await self._run([key for key, _ in batch], put(batch, ttl_s)), self._place)
            else:
                newer += await self._put_newer(batch, ttl_s)
        return newer

    async def _put_newer(self, batch: list[Row], ttl_s: float | None) -> list[bytes]:
        keys = [key for key, _ in batch]
        replies = await self._run(keys, [put_newer([row], ttl_s, by_hash=True) for row in batch])
        # a node that does not know the script gets it
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        scripts = [put_newer([batch[at]], ttl_s) for at in unknown]
        for at, reply in zip(unknown, await self._run([keys[at] for at in unknown], scripts), strict=True):
            replies[at] = reply
        return [key for key, older in zip(keys, _checked(replies, self._place), strict=True) if older]

    async def close(self) -> None:
        """Close the connections that are not in use."""
        for node in self._nodes.values():
            await node.close()
        if self._now is not None:
            self._now.close()

    def get_now(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, without an event loop; from any thread.

        Raises:
            StoreError: if the cluster cannot be reached or refuses, or takes longer than the timeout.
        """
        if not keys:
            return []
        with refusals(self._place):
            return self._client_now().mget_nonatomic(keys)  # type: ignore[union-attr]

    def scan_now(self, prefix: bytes) -> Iterator[list[Row]]:
        """Keys and rows whose keys begin with a prefix, in batches, without an event loop; a row may come twice.

        The commands are ``SCAN``, on all primaries, and ``MGET``. What is written meanwhile may be among them or not.

        Raises:
            StoreError: as :meth:`get_now`.
        """
        with refusals(self._place):
            client = self._client_now()
            yield from scan(client, client.mget_nonatomic, prefix)  # type: ignore[union-attr]

    def _client_now(self) -> redis.Redis | redis.RedisCluster:
        with self._now_lock:
            self._now = self._now or self._address.blocking_client(self._timeout)
            return self._now

    async def _run(self, keys: Sequence[bytes], commands: Sequence[bytes]) -> list[Any]:
        """The reply to each command, or its error, from the node that has the slot of its key."""
        replies: list[Any] = [None] * len(keys)
        # the node that another one has named for a slot on its way there; None for the node of the slot
        pending: dict[int, Address | None] = dict.fromkeys(range(len(keys)))
        with refusals(self._place):
            for _ in range(1 + REDIRECTIONS):
                if not pending:
                    break
                slots = self._slots or await self._find_slots()
                groups: dict[tuple[Address, bool], list[int]] = defaultdict(list)
                for at, target in pending.items():
                    groups[target or slots[key_slot(keys[at])], target is not None].append(at)
                for at, reply in await self._exchange(groups, commands):
                    replies[at] = reply
                pending = {at: self._redirect(replies[at]) for at in pending if isinstance(replies[at], AskError)}
        return replies

    async def _exchange(
        self, groups: dict[tuple[Address, bool], list[int]], commands: Sequence[bytes]
    ) -> list[tuple[int, Any]]:
        calls = [self._call(node, [commands[at] for at in group], asking) for (node, asking), group in groups.items()]
        # all of them, so that no call goes on after this one
        results = await asyncio.gather(*calls, return_exceptions=True) if len(calls) > 1 else [await calls[0]]
        pairs: list[tuple[int, Any]] = []
        for group, result in zip(groups.values(), results, strict=True):
            if isinstance(result, BaseException):
                raise result
            pairs += zip(group, result, strict=True)
        return pairs

    async def _call(self, node: Address, commands: list[bytes], asking: bool) -> list[Any]:
        if asking:
            commands = [part for command in commands for part in (_ASKING, command)]
        try:
            replies = await self._connections(node).call_each(b"".join(commands), len(commands))
        except BaseException:
            # also where nobody waits for it any more: another node may have the slots by now
            self._slots = []
            raise
        return replies[1::2] if asking else replies

    def _redirect(self, error: AskError) -> Address | None:
        """The node to which a slot is on its way, with this key there already; None where the slot itself has moved."""
        if isinstance(error, MovedError):
            self._slots = []
            return None
        return error.host, error.port

    async def _find_slots(self) -> list[Address]:
        """The node of each slot."""
        async with self._finding:
            # another call may have asked meanwhile
            if not self._slots:
                self._slots = await self._ask_slots()
                for node in self._nodes.keys() - {*self._slots, *self._address.hosts}:
                    await self._nodes.pop(node).close()
            return self._slots

    async def _ask_slots(self) -> list[Address]:
        """The node of each slot, from the first node that says it."""
        nodes = list({*self._nodes, *self._address.hosts})
        # not always the same one first, which may be the one that is down
        random.shuffle(nodes)
        for node in nodes:
            try:
                (ranges,) = await self._connections(node).call(_SLOTS, 1)
                return _slots(ranges, node)
            except (RedisError, OSError) as error:
                failure = error
        raise failure

    def _connections(self, node: Address) -> Connections:
        if node not in self._nodes:
            self._nodes[node] = Connections(lambda: self._connect(*node), self._most)
        return self._nodes[node]

    def _connect(self, host: str, port: int) -> AbstractConnection:
        return self._connection(host=host, port=port, **self._options)  # type: ignore[call-arg]


def _slots(ranges: Sequence[Any], asked: Address) -> list[Address]:
    slots: dict[int, Address] = {}
    for first, last, primary, *_ in ranges:
        # a node that does not know its own address sends none
        node = (primary[0] or b"").decode() or asked[0], int(primary[1])
        slots |= dict.fromkeys(range(first, last + 1), node)
    if len(slots) < REDIS_CLUSTER_HASH_SLOTS:
        raise ClusterError(f"{REDIS_CLUSTER_HASH_SLOTS - len(slots):,} slots of the cluster have no node")
    return [slots[slot] for slot in range(REDIS_CLUSTER_HASH_SLOTS)]


def _checked(replies: list[Any], place: str) -> list[Any]:
    """The replies, if no one is an error."""
    with refusals(place):
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
    return replies
