"""Features of a batch of rows from the online store, and what stands for them while it does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

from tandem.dtypes import Columns
from tandem.errors import Internal, StoreError, Unavailable
from tandem.features import ViewUse
from tandem.lookup import LookupPlan
from tandem.packed_rows import ViewColumns
from tandem.stores.last_known import LastKnown

Get = Callable[[Sequence[bytes]], Sequence[bytes | None]]
"""Reads packed rows by key, such as ``MemoryStore.get_now``; raises :class:`~tandem.errors.StoreError`."""

StoreOutage = Literal["pause", "degrade"]
"""While the store does not answer: wait for it, or predict with what is known of it, as a transformer does."""

KEYS_PER_READ = 2_000
"""Longer lists are read in several steps, so that the store can serve others in between."""


class Lookups:
    """The features of a model's views.

    Args:
        views: The model's views.
        get: Reads the store.
        outage: What to do while it does not answer.
        known_bytes: Most bytes of rows that are kept for that time; counts with ``"degrade"`` only.
        clock: Seconds.
    """

    def __init__(
        self,
        views: Sequence[ViewUse],
        get: Get,
        *,
        outage: StoreOutage = "pause",
        known_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = LookupPlan(views)
        self._views = len(self._plan.uses)
        self._get = get
        self._degrades = outage == "degrade"
        self._known = LastKnown(known_bytes if self._degrades else 0)
        self._clock = clock

    def read(self, request: Columns) -> StoredRows:
        """The stored rows of a batch, in one round trip for each :data:`KEYS_PER_READ` keys.

        Args:
            request: Columns of the contract.

        Raises:
            Unavailable: ``store_unavailable``: the store does not answer, and is to be waited for.
        """
        keys = self._plan.keys(request) if self._views else []
        parts = (keys[at : at + KEYS_PER_READ] for at in range(0, len(keys), KEYS_PER_READ))
        values: list[bytes | None] | None
        try:
            values = [value for part in parts for value in self._get(part)]
        except StoreError as error:
            if not self._degrades:
                raise Unavailable(str(error), code="store_unavailable") from error
            values = None
        if values:
            self._known.remember(keys, values, self._clock())
        return StoredRows(self._plan, keys, values, len(next(iter(request.values()))), self._recall)

    def _recall(self, key: bytes) -> tuple[bytes | None, float] | None:
        entry = self._known.recall(key)
        return entry and (entry[0], self._clock() - entry[1])


class StoredRows:
    """What the store has for the rows of a batch, view after view; made by :meth:`Lookups.read`."""

    def __init__(
        self,
        plan: LookupPlan,
        keys: list[bytes],
        values: list[bytes | None] | None,
        rows: int,
        recall: Callable[[bytes], tuple[bytes | None, float] | None],
    ) -> None:
        self._plan = plan
        self._keys = keys
        self._values = values
        self._rows = rows
        self._recall = recall

    def columns(self, rows: Sequence[int]) -> tuple[ViewColumns, ...]:
        """Columns of each view.

        Args:
            rows: Which rows of the batch, by their numbers.

        Raises:
            Internal: ``stored_row_unreadable``: a row cannot be read, and its view may not be guessed.
        """
        keys, values = self._keys, self._values
        if len(rows) < self._rows:
            places = [view * self._rows + row for view in range(len(self._plan.uses)) for row in rows]
            keys = [keys[place] for place in places]
            values = None if values is None else [values[place] for place in places]
        if values is not None:
            try:
                return self._plan.unpack(values, len(rows))
            except Internal:
                pass
        return self._plan.unpack_known(keys, values, len(rows), self._recall)
