"""Closed windows in the online store, where it has no newer ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np

from tandem.errors import StoreError, Unavailable
from tandem.features import FeatureView
from tandem.packed_rows import RowLayout
from tandem.stores import REDIS_SCHEMES, OnlineStore, open_store
from tandem.windows.engine import ClosedWindows


class StoreWriter:
    """Writes the newest window of each entity.

    A row has the end of its window as event time, and the store keeps the newer one of two rows. So a batch may be
    written again, and a worker that was replaced cannot overwrite what the next one has written.

    Args:
        view: The view.
        store: The store.
        ttl_s: Seconds after which rows expire; 0 for never.
    """

    def __init__(self, view: FeatureView, store: OnlineStore, *, ttl_s: float = 0.0) -> None:
        self._layout = RowLayout(view)
        self._store = store
        self._ttl_s = ttl_s or None
        self._runner = asyncio.Runner()

    def write(self, batch: Iterable[ClosedWindows]) -> int:
        """Write the windows of a batch.

        Args:
            batch: Windows of several partitions.

        Returns:
            How many entities have a newer row in the store, which is still there.

        Raises:
            Unavailable: ``store_unavailable``.
        """
        ascending = sorted((item for closed in batch for item in self._rows(closed)), key=lambda item: item[0])
        # later ends replace earlier ones
        rows = {key: row for _, key, row in ascending}
        if not rows:
            return 0
        try:
            newer = self._runner.run(self._store.put(rows.items(), ttl_s=self._ttl_s))
        except StoreError as error:
            raise Unavailable(str(error), code="store_unavailable") from error
        return len(newer)

    def _rows(self, closed: ClosedWindows) -> Sequence[tuple[int, bytes, bytes]]:
        """End, key and row of the newest window of each entity; ends ascend."""
        newest = {entity: index for index, entity in enumerate(closed.entities)}
        index = np.array(list(newest.values()), np.int64)
        columns = {name: column[index] for name, column in closed.columns.items()}
        nulls = {name: null[index] for name, null in closed.nulls.items()}
        packed = self._layout.pack(columns, closed.ends[index], nulls)
        ends = closed.ends[index].astype(np.int64).tolist()
        prefix = self._layout.key_prefix
        return [(end, prefix + entity, row) for end, entity, row in zip(ends, newest, packed, strict=True)]

    def close(self) -> None:
        """Give back connections."""
        self._runner.run(self._store.close())
        self._runner.close()


def open_writer(view: FeatureView, url: str, ttl_s: float) -> StoreWriter:
    """A writer for the store that a URL names.

    Raises:
        StoreError: if the URL is not that of a store that can be written and that others can read.
    """
    if url.partition("://")[0] not in REDIS_SCHEMES:
        raise StoreError("windows are written to a store behind the Redis protocol: redis://, rediss://, unix://, …")
    return StoreWriter(view, open_store(url), ttl_s=ttl_s)
