"""Online stores: where packed feature rows live. A store knows bytes, not features.

All that it knows of a row is its head, by which it tells newer values from older ones: four bytes of layout, then
eight of event time, a little-endian signed number; see :mod:`tandem.packed_rows`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from tandem.errors import StoreError
from tandem.features import FeatureView

LAYOUT = 4
"""Bytes of a row's layout, with which it begins."""

HEAD = LAYOUT + 8
"""Bytes of a row up to the end of its event time."""

REDIS_SCHEMES = frozenset(
    {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"}
)
"""Schemes of the URLs of stores behind the Redis protocol."""


class OnlineStore(Protocol):
    """What a store must do; keys and rows are made by :class:`tandem.lookup.LookupPlan`."""

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys in one round trip, None where there is none.

        Raises:
            StoreError: if the store cannot be reached or refuses.
        """
        ...

    async def put(
        self, rows: Iterable[tuple[bytes, bytes]], *, overwrite: bool = False, ttl_s: float | None = None
    ) -> list[bytes]:
        """Write rows, each with its key, except where the store has a newer one of the same layout.

        Comparing and writing are one step: of two writers at the same time, the newer row stays.

        Args:
            rows: Keys and rows.
            overwrite: Write whatever the store has.
            ttl_s: Seconds after which the rows that are written expire; None for never, also where the row that they
                replace would have expired.

        Returns:
            The keys of which the store has a newer row, which is still there.

        Raises:
            StoreError: if the store cannot be reached or refuses.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


def is_newer(stored: bytes | None, row: bytes) -> bool:
    """Whether a stored row has the layout of another one, and a later event time."""
    if stored is None or len(stored) < HEAD or stored[:LAYOUT] != row[:LAYOUT]:
        return False
    times = (int.from_bytes(part[LAYOUT:HEAD], "little", signed=True) for part in (stored, row))
    return next(times) > next(times)


def open_store(url: str, views: Iterable[FeatureView] = ()) -> OnlineStore:
    """The online store that a URL names.

    Args:
        url: ``redis://…``, ``rediss://…`` or ``unix://…`` for the Redis protocol, ``redis+sentinel://…`` and
            ``redis+cluster://…`` for several servers (see :mod:`tandem.stores.redis_url`); ``memory://`` for this
            process alone; ``snapshot://PATH`` for a snapshot and ``feast://PATH`` for the online store of a Feast
            repository, which are only read.
        views: The feature views of the model; a Feast repository is asked for these, and a snapshot must have them.

    Raises:
        StoreError: if there is no store for such a URL, or the one that there is lacks a library; SnapshotError if a
            snapshot cannot be read or lacks a view.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme == "memory":
        from tandem.stores.memory import MemoryStore

        return MemoryStore()
    if separator and scheme == "snapshot":
        from tandem.stores.snapshot import SnapshotStore

        return SnapshotStore(url.partition("://")[2], views)
    if separator and scheme in REDIS_SCHEMES:
        try:
            from tandem.stores.redis import RedisStore
            from tandem.stores.redis_cluster import RedisClusterStore
        except ModuleNotFoundError as error:
            raise StoreError(f"{scheme}:// needs {error.name}; install tandem-core[redis]") from None
        return RedisClusterStore(url) if scheme.endswith("+cluster") else RedisStore(url)
    if separator and scheme == "feast":
        try:
            from tandem.stores.feast import FeastStore
        except ModuleNotFoundError as error:
            raise StoreError(f"feast:// needs {error.name}; install tandem-core[feast]") from None
        return FeastStore(url.partition("://")[2], views)
    raise StoreError(
        "the URL of an online store begins with redis://, rediss://, unix://, redis+sentinel://, redis+cluster://, "
        "snapshot://, feast:// or memory://"
    )
