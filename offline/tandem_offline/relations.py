"""Feature views as relations of a query: their sources, checked against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import dataset

from tandem.arrow_tables import check_schema, naming_file, naming_view
from tandem.durations import microseconds
from tandem.errors import DefinitionError
from tandem.features import ViewUse
from tandem.sources import Source
from tandem_offline.queries import ViewRelation, as_compared
from tandem_offline.scanning import Scan
from tandem_offline.spines import Spine, is_text


@dataclass(frozen=True)
class ViewTable:
    """The table of a feature view, which fits the view; made by :func:`open_view`.

    Attributes:
        use: The view, as the model uses it.
        source: Where the table is.
        table: The table.
        created: Its column that tells since when a row is known; None if it has none.
    """

    use: ViewUse
    source: Source
    table: dataset.Dataset
    created: str | None

    def scan(self, further: Mapping[str, str] | None = None) -> Scan:
        """One pass over the table, as :class:`~tandem_offline.queries.ViewRelation` reads it.

        Args:
            further: Further columns, by their names within the query, in place of the features.
        """
        view = self.use.view
        columns = {f"k{index}": key for index, key in enumerate(view.keys)}
        columns |= further if further is not None else {f"x{at}": item.name for at, item in enumerate(view.features)}
        columns["event_time"] = self.source.event_time
        required = dict.fromkeys(view.keys, "a key must always be given")
        required[self.source.event_time] = "each row needs an event time"
        if self.created is not None:
            columns["created"] = self.created
            required[self.created] = "each row needs the time since which it is known"
        return Scan(self.title, self.table, columns, required)

    def relation(self, name: str, spine: Spine, *, bitemporal: bool) -> ViewRelation:
        """The view within a query.

        Args:
            name: Name of the relation.
            spine: The spine of the query.
            bitemporal: Whether a row counts only from the time on at which it became known, where the table tells that.
        """
        view, schema = self.use.view, self.table.schema
        pairs = zip(self.use.serving_keys, view.keys, strict=True)
        text_keys = [is_text(spine.fields[key]) != is_text(schema.field(own).type) for key, own in pairs]
        keys = zip(self.use.serving_keys, text_keys, strict=True)
        return ViewRelation(
            name,
            tuple(as_compared(f"s.{spine.alias(key)}", as_text=as_text) for key, as_text in keys),
            tuple(text_keys),
            len(view.features),
            self.created is not None,
            bitemporal and self.created is not None,
            None if view.max_age is None else microseconds(view.max_age),
        )

    def result_fields(self) -> list[pa.Field[Any]]:
        """Columns of the result: its event time and its features."""
        utc = pa.timestamp("us", "UTC")
        fields = [pa.field(f"{self.use.name}_event_time", utc)]
        plain = self.scan().schema
        for index, name in enumerate(self.use.column_names()):
            kind = plain.field(f"x{index}").type
            fields.append(pa.field(name, utc if pa.types.is_timestamp(kind) else kind))
        return fields

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"feature view {self.use.view.name!r}: {self.source.name}"


def open_view(use: ViewUse, sources: Mapping[str, Source]) -> ViewTable:
    """Open the table of a feature view, and check its columns.

    Raises:
        DefinitionError: naming the view, its table, and the column that is missing or of another type.
    """
    view = use.view
    if view.name not in sources:
        tables = ", ".join(sources) or "none"
        raise DefinitionError(f"feature view {view.name!r} has no table; there are tables of {tables}")
    source = sources[view.name]
    if not source.exists:
        raise DefinitionError(f"feature view {view.name!r}: {source.name} does not exist")
    with naming_view(view):
        table = source.open()
        with naming_file(source.table):
            check_schema(view, table.schema, source.event_time)
            created = source.created_column(table.schema)
    return ViewTable(use, source, table, created)
