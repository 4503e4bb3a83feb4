"""The lookups of one model: which keys a batch reads from the online store, and the columns of what is stored there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.dtypes import Column
from tandem.errors import Internal, UnreadableRows
from tandem.features import ViewUse
from tandem.packed_rows import RowLayout, ViewColumns
from tandem.store_keys import entities


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


def _unpack(use: ViewUse, layout: RowLayout, rows: Sequence[bytes | None]) -> ViewColumns:
    try:
        return layout.unpack(rows)
    except UnreadableRows as error:
        rule = f"must have a row in {use.name} that can be read"
        details = [{"row": row, "field": name, "rule": rule} for row in error.rows for name in use.serving_keys]
        raise Internal(str(error), code="stored_row_unreadable", details=details) from error
