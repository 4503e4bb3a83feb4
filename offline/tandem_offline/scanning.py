"""Arrow datasets as streams of batches that DuckDB joins: rows are numbered, times in UTC, keys and times not null.

Columns get names of their own within a query, since DuckDB's names ignore case and a table's do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from tandem.errors import DefinitionError
from tandem.table_numbers import rows_named

ROWS_PER_BATCH = 128 * 1024
TIME = pa.timestamp("us")
"""Times within a query: microseconds in UTC, as in the rest of Tandem."""

ROW = "row"
"""Column with the number of each row in its table, from 0."""


@dataclass
class Scan:
    """One pass over a table, for a query.

    Attributes:
        title: What messages call the table.
        table: The table.
        columns: The columns to read, by their names within the query.
        required: Columns, by their names in the table, that must have no nulls, and why not.
        timezone: Zone of times that have none.
        error: What went wrong in the pass; DuckDB itself passes on no more than a text.
    """

    title: str
    table: dataset.Dataset
    columns: Mapping[str, str]
    required: Mapping[str, str] = field(default_factory=dict)
    timezone: str = "UTC"
    error: DefinitionError | None = None

    @property
    def schema(self) -> pa.Schema:
        """Columns of the batches: those of the query, and :data:`ROW`."""
        fields = [
            pa.field(alias, _plain_type(self.table.schema.field(name).type)) for alias, name in self.columns.items()
        ]
        return pa.schema([*fields, pa.field(ROW, pa.int64())])

    def reader(self) -> pa.RecordBatchReader:
        """The batches of one pass."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def only(self, aliases: Sequence[str]) -> Scan:
        """A pass over some of the columns."""
        columns = {alias: self.columns[alias] for alias in aliases}
        required = {name: reason for name, reason in self.required.items() if name in columns.values()}
        return replace(self, columns=columns, required=required)

    def identity(self) -> str:
        """A text that changes with the files of the table, and with what is read of it.

        Of a table that is no files, such as one in memory, only its columns and the number of its rows count.
        """
        table = self.table
        if isinstance(table, dataset.FileSystemDataset):
            infos = table.filesystem.get_file_info(table.files)
            files: object = [(info.path, info.size, info.mtime_ns) for info in infos]
        else:
            files = table.count_rows()
        return repr((files, str(table.schema), dict(self.columns), self.timezone))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The same for a program that reads them itself, in the order of the table.

        Raises:
            DefinitionError: naming table, column and rows of what cannot be read.
        """
        try:
            yield from self._batches()
        except DefinitionError as error:
            self.error = DefinitionError(f"{self.title}: {error}")
            raise self.error from error
        except (OSError, pa.ArrowException) as error:
            self.error = DefinitionError(f"{self.title}: {_broken_part(self.table)}cannot be read: {error}")
            raise self.error from error

    def _batches(self) -> Iterator[pa.RecordBatch]:
        names = list(dict.fromkeys(self.columns.values()))
        # two batches ahead are enough to keep the disk busy, and bound the memory
        batches = self.table.to_batches(
            columns=names, batch_size=ROWS_PER_BATCH, batch_readahead=2, fragment_readahead=1
        )
        first = 0
        for batch in batches:
            for name, reason in self.required.items():
                _check_nulls(batch.column(name), name, reason, first)
            arrays = [_plain(batch.column(name), name, self.timezone) for _, name in self.columns.items()]
            rows = pa.array(np.arange(first, first + batch.num_rows))
            yield pa.RecordBatch.from_arrays([*arrays, rows], schema=self.schema)
            first += batch.num_rows


def _check_nulls(column: pa.Array[Any], name: str, reason: str, first: int) -> None:
    if column.null_count:
        rows = first + np.flatnonzero(np.asarray(column.is_null()))
        raise DefinitionError(f"column {name!r} has nulls in {rows_named(rows)}; {reason}")


def _plain_type(column: pa.DataType) -> pa.DataType:
    """The type of a column within a query."""
    if pa.types.is_dictionary(column):
        return _plain_type(column.value_type)
    if pa.types.is_timestamp(column):
        return TIME
    if pa.types.is_null(column):
        return pa.int8()
    return pa.string() if pa.types.is_string_view(column) else column


def _plain(column: Any, name: str, timezone: str) -> Any:
    """A column as queries take it: no dictionaries, no string views, times in UTC."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is None and timezone != "UTC":
            try:
                column = pc.assume_timezone(column, timezone)
            except pa.ArrowInvalid as error:
                raise DefinitionError(f"column {name!r} has times that are none in {timezone}: {error}") from error
        if kind.unit == "ns":
            column = pc.floor_temporal(column, unit="microsecond")
        # of a time with a zone, Arrow keeps the instant in UTC; floored to microseconds, the cast loses nothing
        return column.cast(TIME, safe=kind.unit != "ns")
    return column.cast(_plain_type(kind))


def _broken_part(table: dataset.Dataset) -> str:
    """The first file of a dataset that cannot be read, for a message."""
    if not isinstance(table, dataset.FileSystemDataset):
        return ""
    for part in table.get_fragments():
        try:
            for _ in part.to_batches(batch_readahead=0):
                pass
        except (OSError, pa.ArrowException):
            return f"{part.path} "
    return ""
