"""The spine: the rows for which features are joined, each with its keys and the time as of which it asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tandem.arrow_tables import TableSource, naming_file, open_table
from tandem.errors import DefinitionError
from tandem.model import Model
from tandem.tables import missing_column
from tandem_offline.engine import Limits, Query
from tandem_offline.queries import SPINE, repeated_rows
from tandem_offline.scanning import Scan


@dataclass(frozen=True)
class Spine:
    """The rows for which features are joined; made by :func:`read_spine` and :mod:`tandem_offline.batch_spines`.

    Attributes:
        fields: Its columns by name, as they are in the result; within the query they are ``s0 s1 …``.
        time: The column with the time as of which a row asks.
        scans: The tables that it is made of, by the names of their relations.
        sql: The query that makes it of them; None if it is one of them.
    """

    fields: Mapping[str, pa.DataType]
    time: str
    scans: Mapping[str, Scan]
    sql: str | None = None

    def alias(self, name: str) -> str:
        """What a column is called within the query."""
        return f"s{list(self.fields).index(name)}"

    @property
    def aliases(self) -> list[str]:
        """Names of all columns within the query, in their order."""
        return [f"s{index}" for index in range(len(self.fields))]

    def count(self, limits: Limits) -> int:
        """Its rows; of files, from their footers.

        Raises:
            DefinitionError: naming the table that cannot be read.
        """
        if self.sql is None:
            return int(self.scans[SPINE].table.count_rows())
        ((rows,),) = Query(f"SELECT count(*) FROM ({self.sql})", self.scans).rows(limits)
        return int(str(rows))

    def check_repeated(self, model: Model, limits: Limits) -> None:
        """Refuse a spine in which two rows ask the same: their fields of the contract and their times are equal.

        Raises:
            DefinitionError: naming the first two such rows, and the columns.
        """
        names = [name for name in self.fields if name in model.contract.inputs or name == self.time]
        aliases = [self.alias(name) for name in names]
        repeated = Query(repeated_rows(aliases), {SPINE: self.scans[SPINE].only(aliases)}).rows(limits)
        if repeated:
            first, other = repeated[0]
            raise DefinitionError(
                f"{self.scans[SPINE].title}: rows {first} and {other} ask the same, since {', '.join(names)} are "
                "equal; drop one of them, or allow it with duplicates=True"
            )


def time_column(model: Model) -> str:
    """Column with the time as of which a row asks: the contract's ``as_of``, or else ``as_of``."""
    return model.contract.as_of or "as_of"


def read_spine(model: Model, table: TableSource, *, label: str | None = None, timezone: str | None = None) -> Spine:
    """Check a spine against its model; no row is read.

    Args:
        model: The model.
        table: The spine.
        label: Column of the labels.
        timezone: Zone of times that have none.

    Raises:
        DefinitionError: naming the column that is missing, of another type, without a time zone, or that a feature view
            provides too.
    """
    with naming_file(table):
        rows = open_table(table)
        _check(model, rows.schema, label, timezone)
    time = time_column(model)
    required = dict.fromkeys(_keys(model), "a key must always be given")
    required[time] = "each row needs the time as of which it asks"
    if label:
        required[label] = "a row without a label cannot be trained on"
    columns = {f"s{index}": name for index, name in enumerate(rows.schema.names)}
    title = str(table) if isinstance(table, str | Path) else "the spine"
    scan = Scan(title, rows, columns, required, timezone or "UTC")
    fields = {
        name: _result_type(scan.schema.field(alias).type, rows.schema.field(name).type, zoned=timezone is not None)
        for alias, name in columns.items()
    }
    return Spine(fields, time, {SPINE: scan})


def is_key(column: pa.DataType) -> bool:
    """Whether a column can be a key."""
    return is_text(column) or pa.types.is_integer(column)


def is_text(column: pa.DataType) -> bool:
    """Whether a column holds text."""
    if pa.types.is_dictionary(column):
        column = column.value_type
    return bool(pa.types.is_string(column) or pa.types.is_large_string(column) or pa.types.is_string_view(column))


def _keys(model: Model) -> list[str]:
    """Serving keys that the model's views need, each once."""
    return list(dict.fromkeys(key for use in model.views for key in use.serving_keys))


def _check(model: Model, schema: pa.Schema, label: str | None, timezone: str | None) -> None:
    names, time, keys = schema.names, time_column(model), _keys(model)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DefinitionError(f"the spine has two columns {repeated[0]!r}")
    for name in (*keys, time, *([label] if label else [])):
        if name not in names:
            raise DefinitionError(missing_column(name, names, table="the spine"))
    for use in model.views:
        for name in (*use.column_names(), f"{use.name}_event_time"):
            if name in names:
                raise DefinitionError(
                    f"the spine has a column {name!r}, which feature view {use.name!r} provides: drop or rename it"
                )
    for key in keys:
        if not is_key(schema.field(key).type):
            raise DefinitionError(
                f"the spine's column {key!r} is {schema.field(key).type}; a key is text or an integer"
            )
    kind = schema.field(time).type
    if not pa.types.is_timestamp(kind):
        raise DefinitionError(f"the spine's column {time!r} is {kind}; it must be a timestamp with a time zone")
    if kind.tz is None and timezone is None:
        raise DefinitionError(
            f"the spine's column {time!r} has no time zone; name it with timezone='UTC', or whichever it is"
        )


def _result_type(plain: pa.DataType, original: pa.DataType, *, zoned: bool) -> pa.DataType:
    is_zoned = pa.types.is_timestamp(original) and (zoned or original.tz is not None)
    return pa.timestamp("us", "UTC") if is_zoned else plain
