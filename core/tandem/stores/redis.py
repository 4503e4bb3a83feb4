"""Online store behind the Redis protocol: Valkey, Redis, and what else speaks it, at one address or behind Sentinel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from redis.asyncio.sentinel import Sentinel
from redis.exceptions import NoPermissionError

from tandem.errors import StoreError
from tandem.stores.redis_commands import Row, put, put_newer, scan
from tandem.stores.redis_connections import Connections, pack, refusals
from tandem.stores.redis_url import read_url

KEYS_PER_COMMAND = 2_000
"""Longer lists are split into several commands of one write, so that the server can serve others in between."""

ROWS_PER_WRITE = 5_000
"""How many rows are written before the server's replies are read."""

ROWS_PER_SCRIPT = 250
"""How many rows one script compares and writes; the server serves no other client meanwhile."""


class RedisStore:
    """Packed rows as plain string values; one ``MGET`` for all keys of a batch.

    A store belongs to one event loop. Connections are opened when they are needed and kept. Behind Sentinel each new
    connection asks for the primary first.

    Args:
        url: ``redis://user:password@host:6379/0``, ``rediss://…`` for TLS, ``unix://…``, or ``redis+sentinel://…``;
            see :mod:`tandem.stores.redis_url`.
        connections: Most connections at one time; further calls wait for one.
        timeout: Seconds for opening a connection, and for each reply to :meth:`get_now`, which has no deadline
            from outside.

    Raises:
        StoreError: if the URL cannot be read.
    """

    def __init__(self, url: str, *, connections: int = 32, timeout: float = 5.0) -> None:
        address = read_url(url)
        self._place = address.place
        try:
            connection, options = address.connection_type(timeout)
            if address.form == "server" and address.hosts:
                options["host"], options["port"] = address.hosts[0]
            # refuses unknown options; it connects when it is used
            connection(**options)
            self._now = address.blocking_client(timeout)
        except (ValueError, TypeError):
            # the reason might quote the password
            raise StoreError("the URL of the store has an option that cannot be read") from None
        self._connections = Connections(lambda: connection(**options), connections)
        self._sentinel: Sentinel | None = None
        if address.form == "sentinel":
            self._sentinel = options["connection_pool"].sentinel_manager

    def __repr__(self) -> str:
        return f"RedisStore({self._place})"

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys in one round trip, None where there is none.

        Raises:
            StoreError: if the store cannot be reached or refuses.
        """
        if not keys:
            return []
        with refusals(self._place):
            # the usual case: no list of lists to flatten
            if len(keys) <= KEYS_PER_COMMAND:
                return (await self._connections.call(pack(b"MGET", *keys), 1))[0]  # type: ignore[no-any-return]
            # one write for all commands: still one round trip
            parts = [keys[at : at + KEYS_PER_COMMAND] for at in range(0, len(keys), KEYS_PER_COMMAND)]
            replies = await self._connections.call(b"".join([pack(b"MGET", *part) for part in parts]), len(parts))
            return [row for rows in replies for row in rows]

    async def put(self, rows: Iterable[Row], *, overwrite: bool = False, ttl_s: float | None = None) -> list[bytes]:
        """Write rows, each with its key, except where the server has a newer one of the same layout.

        The server compares and writes in one step, with a script (``EVAL``, ``MGET``, ``MSET``; with a time to live
        ``SET``); with ``overwrite``, it only writes (``SET``). A user who may not run scripts can write rows for new
        keys only, with ``SET … NX``.

        Args:
            rows: Keys and rows.
            overwrite: Write whatever the server has.
            ttl_s: Seconds after which the rows that are written expire; None for never.

        Returns:
            The keys of which the server has a newer row.

        Raises:
            StoreError: if the store cannot be reached or refuses; some of the rows may be written then.
        """
        remaining = iter(rows)
        newer: list[bytes] = []
        with refusals(self._place):
            while batch := list(islice(remaining, ROWS_PER_WRITE)):
                if overwrite:
                    await self._connections.call(b"".join(put(batch, ttl_s)), len(batch))
                else:
                    newer += await self._put_newer(batch, ttl_s)
        return newer

    async def _put_newer(self, batch: list[Row], ttl_s: float | None) -> list[bytes]:
        parts = [batch[at : at + ROWS_PER_SCRIPT] for at in range(0, len(batch), ROWS_PER_SCRIPT)]
        try:
            replies = await self._connections.call(b"".join([put_newer(part, ttl_s) for part in parts]), len(parts))
        except NoPermissionError:
            await self._put_new(batch, ttl_s)
            return []
        return [part[at - 1][0] for part, newer in zip(parts, replies, strict=True) for at in newer]

    async def _put_new(self, batch: list[Row], ttl_s: float | None) -> None:
        """Write rows of which the server has none: all that a user can do safely who may write and not compare."""
        replies = await self._connections.call(b"".join(put(batch, ttl_s, only_new=True)), len(batch))
        if refused := replies.count(None):
            raise StoreError(
                f"online store {self._place} has {refused:,} of these rows already, and this user may not compare "
                "event times: it needs +eval +mget +mset and the right to read the keys"
            )

    async def ping(self) -> None:
        """Make sure that the store answers.

        Raises:
            StoreError: if it does not.
        """
        with refusals(self._place):
            await self._connections.call(pack(b"PING"), 1)

    async def close(self) -> None:
        """Close the connections that are not in use."""
        await self._connections.close()
        if self._sentinel is not None:
            await self._sentinel.aclose()
        self._now.close()

    def get_now(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, without an event loop; from any thread.

        Raises:
            StoreError: if the store cannot be reached or refuses, or takes longer than the timeout.
        """
        with refusals(self._place):
            return self._now.mget(keys) if keys else []  # type: ignore[return-value]

    def scan_now(self, prefix: bytes) -> Iterator[list[Row]]:
        """Keys and rows whose keys begin with a prefix, in batches, without an event loop; a row may come twice.

        The commands are ``SCAN`` and ``MGET``. What is written meanwhile may be among them or not.

        Raises:
            StoreError: as :meth:`get_now`.
        """
        with refusals(self._place):
            yield from scan(self._now, self._now.mget, prefix)
