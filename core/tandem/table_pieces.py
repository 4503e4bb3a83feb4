"""Parts of a table of features that are written one after the other, and the filters by which rows are chosen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

ROWS_PER_PIECE = 1_000_000
"""Rows after which a piece ends; it ends with a row group."""


@dataclass(frozen=True)
class Piece:
    """A part of a table that is written as one.

    Attributes:
        part: The part, with all its rows.
        column: The column of the watermark.
        rows: The rows that are read, as a filter; None for all.
    """

    part: dataset.Dataset
    column: str
    rows: dataset.Expression | None

    @property
    def table(self) -> dataset.Dataset:
        """The rows that are read."""
        return self.part if self.rows is None else self.part.filter(self.rows)

    def count(self) -> int:
        """Rows that are read."""
        if self.rows is None and _is_parquet(self.part):
            # Arrow counts all rows of a file, also of those of which only some row groups are meant
            return sum(info.num_rows for file in self.part.get_fragments() for info in file.row_groups)
        return sum(batch.num_rows for batch in self.table.to_batches(columns=[]))

    def newest(self) -> int | None:
        """Greatest value of the watermark's column, microseconds since 1970; None without rows."""
        newest = None
        for batch in self.table.to_batches(columns=[self.column]):
            times = batch.column(0).cast(pa.timestamp("us"), safe=False)
            newest = greater(newest, pc.max(times).cast(pa.int64()).as_py())
        return newest


def greater(one: int | None, other: int | None) -> int | None:
    """The greater one of two numbers, of which none, one or both may be missing."""
    return max((number for number in (one, other) if number is not None), default=None)


def at_or_after(schema: pa.Schema, column: str, moment: datetime | None) -> dataset.Expression | None:
    """Filter for rows with a time from a moment on, and for those without one, which their reader is to refuse."""
    if moment is None:
        return None
    times: dataset.Expression = pc.field(column)
    chosen: dataset.Expression = (times >= _scalar(moment, schema.field(column).type)) | times.is_null()
    return chosen


def before(schema: pa.Schema, column: str, moment: datetime | None) -> dataset.Expression | None:
    """Filter for rows with a time before a moment, and for those without one, which their reader is to refuse."""
    if moment is None:
        return None
    times: dataset.Expression = pc.field(column)
    chosen: dataset.Expression = (times < _scalar(moment, schema.field(column).type)) | times.is_null()
    return chosen


def all_of(*filters: dataset.Expression | None) -> dataset.Expression | None:
    """The filter for rows that pass all of some filters; None if there is none."""
    joined = None
    for condition in filters:
        if condition is not None:
            joined = condition if joined is None else joined & condition
    return joined


def split(table: dataset.Dataset, rows: dataset.Expression | None, column: str) -> Iterator[Piece]:
    """Split a table of Parquet files into pieces of some row groups each; any other table is one piece.

    Args:
        table: The table.
        rows: The rows that are read; row groups without any, by their statistics, are left out.
        column: The column of the watermark.
    """
    if not _is_parquet(table):
        yield Piece(table, column, rows)
        return
    groups: list[Any] = []
    size = 0
    for file in table.get_fragments(rows):
        for group in file.split_by_row_group(rows, table.schema):
            groups.append(group)
            if (size := size + sum(info.num_rows for info in group.row_groups)) >= ROWS_PER_PIECE:
                yield Piece(_of_groups(table, groups), column, rows)
                groups, size = [], 0
    if groups:
        yield Piece(_of_groups(table, groups), column, rows)


def fingerprint(pieces: Sequence[Piece], text: str) -> str:
    """A digest of pieces and of a text, which changes if a file does."""
    digest = hashlib.sha256(text.encode())
    for piece in pieces:
        part = piece.part
        if isinstance(part, dataset.FileSystemDataset):
            for file in part.filesystem.get_file_info(part.files):
                digest.update(f"{file.path}:{file.size}:{file.mtime_ns}".encode())
            digest.update(repr([[info.id for info in file.row_groups] for file in part.get_fragments()]).encode())
    return digest.hexdigest()


def _is_parquet(table: dataset.Dataset) -> TypeGuard[dataset.FileSystemDataset]:
    return isinstance(table, dataset.FileSystemDataset) and isinstance(table.format, dataset.ParquetFileFormat)


def _of_groups(table: dataset.FileSystemDataset, groups: Sequence[Any]) -> dataset.Dataset:
    return dataset.FileSystemDataset(list(groups), table.schema, table.format, table.filesystem)


def _scalar(moment: datetime, kind: Any) -> Any:
    """A moment as a column of timestamps is compared with it; columns without a zone are in UTC."""
    instant = pa.scalar(moment, pa.timestamp("us", "UTC"))
    return instant.cast(pa.timestamp("us", kind.tz)).cast(kind, safe=False)
