"""The lookups of one model: which keys a batch reads from the online store, and the columns of what is stored there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tandem.dtypes import Column
from tandem.durations import parse_duration
from tandem.errors import Internal, UnreadableRows
from tandem.features import ViewUse
from tandem.packed_rows import Outage, RowLayout, ViewColumns
from tandem.store_keys import entities

Recall = Callable[[bytes], tuple[bytes | None, float] | None]
"""From a key to the row that the store had when it was last asked, None for none, and the seconds since; None where it
was never asked."""


class LookupPlan:
    """The lookups of one model: every key of every view of a batch, in one list, for one round trip.

    Args:
        uses: The model's views.
    """

    def __init__(self, uses: Sequence[ViewUse]) -> None:
        self.uses = tuple(uses)
        self._layouts = [RowLayout(use.view) for use in uses]
        self._prefixes = [(use, layout.key_prefix) for use, layout in zip(uses, self._layouts, strict=True)]
        # several views often have the same entity, whose keys are encoded once
        self._serving_keys = {use.serving_keys for use in uses}

    @property
    def is_answerable(self) -> bool:
        """Whether every request can be answered without the store."""
        return all(use.view.is_answerable for use in self.uses)

    def keys(self, request: Mapping[str, Column]) -> list[bytes]:
        """Store keys, view after view, of the rows whose serving-key columns are given."""
        keys: list[bytes] = []
        entities_of = {names: entities([request[name] for name in names]) for names in self._serving_keys}
        for use, prefix in self._prefixes:
            keys += [prefix + entity for entity in entities_of[use.serving_keys]]
        return keys

    def unpack(self, values: Sequence[bytes | None], rows: int) -> tuple[ViewColumns, ...]:
        """Columns of each view, from the values found for :meth:`keys`.

        Args:
            values: One per key, in the order of the keys.
            rows: Rows of the batch.

        Raises:
            Internal: ``stored_row_unreadable`` if stored rows do not fit their view; ``details`` names them.
        """
        return tuple(
            _unpack(use, layout, values[at * rows : (at + 1) * rows])
            for at, (use, layout) in enumerate(zip(self.uses, self._layouts, strict=True))
        )

    def unpack_known(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes | None] | None,
        rows: int,
        recall: Recall,
        *,
        is_late: bool = False,
    ) -> tuple[ViewColumns, ...]:
        """Columns of each view as far as they are known, where the store does not answer or rows cannot be read.

        Args:
            keys: From :meth:`keys`.
            values: One per key; None where the store does not answer.
            rows: Rows of the batch.
            recall: What was read earlier.
            is_late: Whether the request had no more time to wait for the store.

        Raises:
            Internal: ``stored_row_unreadable`` as :meth:`unpack`, where nothing may stand for the row.
        """
        parts = [slice(at * rows, (at + 1) * rows) for at in range(len(self.uses))]
        return tuple(
            _unpack_known(use, layout, keys[part], values and values[part], recall, is_late=is_late)
            for use, layout, part in zip(self.uses, self._layouts, parts, strict=True)
        )


def _unpack_known(
    use: ViewUse,
    layout: RowLayout,
    keys: Sequence[bytes],
    values: Sequence[bytes | None] | None,
    recall: Recall,
    *,
    is_late: bool,
) -> ViewColumns:
    lost: Sequence[int] = range(len(keys))
    rows: list[bytes | None] = list(values) if values is not None else [None] * len(keys)
    if values is not None:
        try:
            return layout.unpack(values)
        except UnreadableRows as error:
            lost = error.rows
    limit_s = parse_duration(use.view.last_known_age) / np.timedelta64(1, "s")
    age_s = np.full(len(keys), np.nan)
    for at in lost:
        known = recall(keys[at]) if use.view.keeps_rows else None
        rows[at], age_s[at] = known if known is not None and known[1] <= limit_s else (None, np.inf)
    # an operator must see what is wrong with the store, unless the request can be answered all the same
    if values is not None and np.isinf(age_s).any() and not use.view.is_answerable:
        return _unpack(use, layout, values)
    view = layout.unpack(rows)
    view.outage = Outage("unavailable" if values is None else "unreadable", age_s, is_late)
    return view


def _unpack(use: ViewUse, layout: RowLayout, rows: Sequence[bytes | None]) -> ViewColumns:
    try:
        return layout.unpack(rows)
    except UnreadableRows as error:
        rule = f"must have a row in {use.name} that can be read"
        details = [{"row": row, "field": name, "rule": rule} for row in error.rows for name in use.serving_keys]
        raise Internal(str(error), code="stored_row_unreadable", details=details) from error
