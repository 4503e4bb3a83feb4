"""Batches of a table of features: the newest row of each entity, its key, and its packed row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tandem.columns import read_column
from tandem.dtypes import Column, Columns
from tandem.errors import DefinitionError
from tandem.packed_rows import RowLayout
from tandem.table_numbers import rows_named


def select_newest(keys: Sequence[bytes], times: Column, latest: dict[bytes, int]) -> list[int]:
    """Rows of a batch that are newer than all of their entity before; each entity once.

    Of rows with the same event time the last one counts.
    """
    newest_rows: dict[bytes, int] = {}
    for index, (key, time) in enumerate(zip(keys, times.astype(np.int64).tolist(), strict=True)):
        # 0 is 1970 and as good as any time: absence must be distinguished from it
        if (before := latest.get(key)) is None or time >= before:
            latest[key] = time
            newest_rows[key] = index
    return list(newest_rows.values())


def read_key(batch: pa.RecordBatch, name: str, first: int) -> Column:
    """The key column of this name, as objects.

    Raises:
        DefinitionError: if it has nulls; names their rows, of which ``first`` is that of the batch's first row.
    """
    column = batch.column(name)
    if column.null_count:
        raise DefinitionError(f"column {name!r} has nulls in {_null_rows(column, first)}; a key must always be given")
    return np.array(column.to_pylist(), object)


def read_event_times(batch: pa.RecordBatch, name: str, first: int) -> Column:
    """The event times of the rows, ``datetime64[us]``.

    Raises:
        DefinitionError: if there are nulls; names their rows, of which ``first`` is that of the batch's first row.
    """
    column = batch.column(name)
    if column.null_count:
        raise DefinitionError(f"column {name!r} has nulls in {_null_rows(column, first)}; each row needs an event time")
    return read_column(name, column, "timestamp")[0]


def _null_rows(column: pa.Array[Any], first: int) -> str:
    return rows_named(first + np.flatnonzero(np.asarray(column.is_null())))


def pack_rows(layout: RowLayout, batch: pa.RecordBatch, times: Column, rows: list[int], first: int) -> list[bytes]:
    """Packed rows of the given rows of a batch; ``first`` is the table's row with which the batch begins."""
    chosen = batch if len(rows) == batch.num_rows else batch.take(pa.array(rows, pa.int64()))
    places = first + np.array(rows, np.int64)
    columns: Columns = {}
    nulls: Columns = {}
    for feature in layout.view.features:
        columns[feature.name], null = read_column(feature.name, chosen.column(feature.name), feature.type, places)
        if null is None:
            continue
        if not feature.nullable:
            raise DefinitionError(
                f"column {feature.name!r} has nulls in {rows_named(places[null])}; the feature is {feature.type} and "
                "has no default"
            )
        nulls[feature.name] = null
    return layout.pack(columns, times[rows], nulls)
