"""Online store behind the Redis protocol: Valkey, Redis, and what else speaks it.

Reads have no timeout of their own and are never tried again: the caller knows the deadline, and sets it with
:func:`asyncio.timeout`. A connection whose reply was not waited for is closed, never used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import hiredis
import redis
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from tandem.errors import StoreError
from tandem.stores.redis_connection import RedisConnection

KEYS_PER_COMMAND = 2_000
"""Longer lists are split into several commands of one write, so that the server can serve others in between."""

ROWS_PER_WRITE = 5_000
"""How many rows are written before the server's replies are read."""

ROWS_PER_SCRIPT = 250
"""How many rows one script compares and writes; the server serves no other client meanwhile."""

# Times are compared by halves, since a number of Lua is a float, and exact up to 2**53 only. MGET has nothing for a
# value of another type, which is replaced then, as by SET.
_PUT_NEWER = b"""
local newer, writes, n = {}, {}, 0
local stored = redis.call('MGET', unpack(KEYS))
for i, row in ipairs(ARGV) do
  local old, keep = stored[i], false
  if old and #old >= 12 and #row >= 12 and string.sub(old, 1, 4) == string.sub(row, 1, 4) then
    local old_low, old_high = struct.unpack('<I4i4', old, 5)
    local low, high = struct.unpack('<I4i4', row, 5)
    keep = old_high > high or (old_high == high and old_low > low)
  end
  if keep then
    newer[#newer + 1] = i
  else
    writes[n + 1], writes[n + 2] = KEYS[i], row
    n = n + 2
  end
end
if n > 0 then redis.call('MSET', unpack(writes)) end
return newer
"""


class RedisStore:
    """Packed rows as plain string values; one ``MGET`` for all keys of a batch.

    A store belongs to one event loop. Connections are opened when they are needed and kept.

    Args:
        url: ``redis://user:password@host:6379/0``, ``rediss://…`` for TLS, or ``unix://…``.
        connections: Most connections at one time; further calls wait for one.
        timeout: Seconds for opening a connection, and for each reply to :meth:`get_now`, which has no deadline
            from outside.

    Raises:
        StoreError: if the URL cannot be read.
    """

    def __init__(self, url: str, *, connections: int = 32, timeout: float = 5.0) -> None:
        fixed = {
            "socket_connect_timeout": timeout,
            "protocol": 2,
            "decode_responses": False,
            "health_check_interval": 0,
        }
        try:
            options: dict[str, Any] = {**parse_url(url), **fixed, "socket_timeout": None}
            self._class: type[AbstractConnection] = options.pop("connection_class", Connection)
            self._options = {**options, "retry": Retry(NoBackoff(), 0)}
            self._class(**self._options)
            # connects when it is used first
            self._now = redis.Redis.from_url(
                url, **fixed, socket_timeout=timeout, retry=redis.retry.Retry(NoBackoff(), 0)
            )
        except (ValueError, TypeError):
            # the reason might quote the password
            raise StoreError("the URL of the store cannot be read; write redis://user:password@host:port/0") from None
        self._where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self._idle: list[RedisConnection] = []
        self._free = asyncio.Semaphore(connections)

    def __repr__(self) -> str:
        return f"RedisStore({self._where})"

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys in one round trip, None where there is none.

        Raises:
            StoreError: if the store cannot be reached or refuses.
        """
        if not keys:
            return []
        # the usual case: no list of lists to flatten
        if len(keys) <= KEYS_PER_COMMAND:
            return (await self._call(_pack(b"MGET", *keys), 1))[0]  # type: ignore[no-any-return]
        # one write for all commands: still one round trip
        commands = [_pack(b"MGET", *keys[at : at + KEYS_PER_COMMAND]) for at in range(0, len(keys), KEYS_PER_COMMAND)]
        return [row for rows in await self._call(b"".join(commands), len(commands)) for row in rows]

    async def put(self, rows: Iterable[tuple[bytes, bytes]], *, overwrite: bool = False) -> list[bytes]:
        """Write rows, each with its key, except where the server has a newer one of the same layout.

        The server compares and writes in one step, with a script (``EVAL``, ``MGET``, ``MSET``); with
        ``overwrite``, it only writes (``SET``). A user who may not run scripts can write rows for new keys only, with
        ``SET … NX``.

        Returns:
            The keys of which the server has a newer row.

        Raises:
            StoreError: if the store cannot be reached or refuses; some of the rows may be written then.
        """
        remaining = iter(rows)
        newer: list[bytes] = []
        while batch := list(islice(remaining, ROWS_PER_WRITE)):
            if overwrite:
                await self._call(b"".join([_pack(b"SET", key, row) for key, row in batch]), len(batch))
            else:
                newer += await self._put_newer(batch)
        return newer

    async def _put_newer(self, batch: list[tuple[bytes, bytes]]) -> list[bytes]:
        parts = [batch[at : at + ROWS_PER_SCRIPT] for at in range(0, len(batch), ROWS_PER_SCRIPT)]
        commands = [
            _pack(b"EVAL", _PUT_NEWER, b"%d" % len(part), *(key for key, _ in part), *(row for _, row in part))
            for part in parts
        ]
        try:
            replies = await self._call(b"".join(commands), len(commands))
        except StoreError as error:
            if not isinstance(error.__cause__, NoPermissionError):
                raise
            await self._put_new(batch)
            return []
        return [part[at - 1][0] for part, newer in zip(parts, replies, strict=True) for at in newer]

    async def _put_new(self, batch: list[tuple[bytes, bytes]]) -> None:
        """Write rows of which the server has none: all that a user can do safely who may write and not compare."""
        replies = await self._call(b"".join([_pack(b"SET", key, row, b"NX") for key, row in batch]), len(batch))
        if refused := replies.count(None):
            raise StoreError(
                f"online store {self._where} has {refused:,} of these rows already, and this user may not compare "
                "event times: it needs +eval +mget +mset and the right to read the keys"
            )

    async def ping(self) -> None:
        """Make sure that the store answers.

        Raises:
            StoreError: if it does not.
        """
        await self._call(_pack(b"PING"), 1)

    async def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            await self._idle.pop().close()
        self._now.close()

    def get_now(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, without an event loop; from any thread.

        Raises:
            StoreError: if the store cannot be reached or refuses, or takes longer than the timeout.
        """
        with self._refusals():
            return self._now.mget(keys) if keys else []  # type: ignore[return-value]

    async def _call(self, commands: bytes, replies: int) -> list[Any]:
        """Replies to packed commands."""
        async with self._free:
            with self._refusals():
                connection = await self._connection()
                try:
                    result = await connection.call(commands, replies)
                except BaseException:
                    # replies may be on their way still: the next user of the connection would get them
                    await connection.close()
                    raise
            self._idle.append(connection)
            return result

    async def _connection(self) -> RedisConnection:
        """A connection that the server has not closed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            await connection.close()
        return await RedisConnection.open(self._class(**self._options))

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            raise StoreError(f"online store {self._where} refuses these credentials: {error}") from None
        except (RedisError, OSError) as error:
            raise StoreError(f"online store {self._where}: {error}") from error


def _pack(*words: bytes) -> bytes:
    """A command as it is sent; redis-py's asyncio side would pack it in Python, ten times slower."""
    return hiredis.pack_command(words)  # type: ignore[arg-type, no-any-return]
