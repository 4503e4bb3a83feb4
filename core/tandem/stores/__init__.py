"""Online stores: where packed feature rows live. A store knows bytes, not features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from tandem.errors import StoreError


class OnlineStore(Protocol):
    """What a store must do; keys and rows are made by :class:`tandem.features.LookupPlan`."""

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys in one round trip, None where there is none.

        Raises:
            StoreError: if the store cannot be reached or refuses.
        """
        ...

    async def put(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Write rows, each with its key; an existing row is replaced.

        Raises:
            StoreError: if the store cannot be reached or refuses.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


def open_store(url: str) -> OnlineStore:
    """The online store that a URL names.

    Args:
        url: ``redis://…``, ``rediss://…`` or ``unix://…`` for the Redis protocol; ``memory://`` for this process alone.

    Raises:
        StoreError: if there is no store for such a URL, or the one that there is lacks a library.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme == "memory":
        from tandem.stores.memory import MemoryStore

        return MemoryStore()
    if separator and scheme in ("redis", "rediss", "unix"):
        try:
            from tandem.stores.redis import RedisStore
        except ModuleNotFoundError as error:
            raise StoreError(f"{scheme}:// needs {error.name}; install tandem-core[redis]") from None
        return RedisStore(url)
    raise StoreError("the URL of an online store begins with redis://, rediss://, unix:// or memory://")
