"""Connections to one server of the Redis protocol, and packed commands and their replies on them.

Reads have no timeout of their own: the caller knows the deadline, and sets it with :func:`asyncio.timeout`. Only where
a connection was kept and turns out to be closed, commands are sent again on another one, which is at once. A connection
whose reply was not waited for is closed, never used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
from redis import sentinel
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError

from tandem.errors import StoreError
from tandem.stores.redis_connection import RedisConnection


def pack(*words: bytes) -> bytes:
    """A command as it is sent; redis-py's asyncio side would pack it in Python, ten times slower."""
    return hiredis.pack_command(words)  # type: ignore[arg-type, no-any-return]


@contextmanager
def refusals(place: str) -> Iterator[None]:
    """Errors of redis-py as :class:`StoreError`, with the place of the store.

    Raises:
        StoreError: if the store cannot be reached or refuses.
    """
    try:
        yield
    except (MasterNotFoundError, sentinel.MasterNotFoundError):
        # redis-py's message has all settings of its clients
        raise StoreError(f"online store {place}: no Sentinel that answers knows this primary") from None
    except AuthenticationError as error:
        raise StoreError(f"online store {place} refuses these credentials: {error}") from None
    except (RedisError, RedisClusterException, OSError) as error:
        raise StoreError(f"online store {place}: {error}") from error


_Send = Callable[[RedisConnection, bytes, int], Awaitable[list[Any]]]


class Connections:
    """Connections to one server, of one event loop; opened when they are needed, and kept.

    Args:
        connect: Makes a connection of redis-py's, which is opened when it is used.
        most: Most connections at one time; further calls wait for one.
    """

    def __init__(self, connect: Callable[[], AbstractConnection], most: int) -> None:
        self._connect = connect
        self._idle: list[RedisConnection] = []
        self._free = asyncio.Semaphore(most)

    def call(self, commands: bytes, replies: int) -> Awaitable[list[Any]]:
        """Replies to packed commands, which may be sent twice.

        Raises:
            RedisError: the first error among the replies, or of the connection; OSError too.
        """
        return self._exchange(RedisConnection.call, commands, replies)

    def call_each(self, commands: bytes, replies: int) -> Awaitable[list[Any]]:
        """Replies to packed commands, errors of single commands among them; commands may be sent twice.

        Raises:
            RedisError: of the connection; OSError too.
        """
        return self._exchange(RedisConnection.call_each, commands, replies)

    async def _exchange(self, send: _Send, commands: bytes, replies: int) -> list[Any]:
        async with self._free:
            while True:
                kept = await self._kept()
                connection = kept or await RedisConnection.open(self._connect())
                try:
                    result = await send(connection, commands, replies)
                except BaseException as error:
                    # replies may be on their way still: the next user of the connection would get them
                    await connection.close()
                    # the server may have closed it while it was idle, and that is seen only when it is used
                    if kept is None or not isinstance(error, ConnectionError):
                        raise
                else:
                    self._idle.append(connection)
                    return result

    async def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            await self._idle.pop().end()

    async def _kept(self) -> RedisConnection | None:
        """A connection that is not known to be closed; None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            await connection.close()
        return None
