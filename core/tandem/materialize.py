"""From a table of features to the online store, for one feature view.

The table is read in batches, so that it may be larger than memory; of several rows for one entity the newest counts,
and a row that is newer in the store is left as it is. Writing a row twice changes nothing, so an interrupted run is
simply repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import dataset

from tandem.columns import is_null, read_column, rows_named
from tandem.contract import Column, Columns, FieldType, array_length
from tandem.errors import DefinitionError
from tandem.features import FeatureView, RowLayout
from tandem.stores import OnlineStore
from tandem.tables import Table, is_table, missing_column

Source = Table | dataset.Dataset | Path | str
"""A table of any library, an Arrow dataset, or where one is: a Parquet file or a directory of them."""

EVENT_TIME = "event_time"
"""Column that tells since when a row's values hold."""

ROWS_PER_BATCH = 20_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What :func:`materialize` did.

    Attributes:
        rows_read: Rows of the table so far.
        entities_written: Different entities of the table whose newest values are in the store now.
        newest: Newest event time of the table, ``datetime64[us]``; NaT for an empty table.
        entities_newer: Different entities that were left alone, since the store had newer values.
    """

    rows_read: int
    entities_written: int
    newest: np.datetime64
    entities_newer: int = 0


async def materialize(
    view: FeatureView,
    table: Source,
    store: OnlineStore,
    *,
    event_time: str = EVENT_TIME,
    overwrite: bool = False,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Write the newest values of every entity in a table to the online store, where it has no newer ones.

    Args:
        view: The feature view.
        table: Has a column for each key and each feature of the view, and one with the event time; further columns
            are not read. Timestamps without a zone are taken as UTC. A NaN is a null.
        store: Where to write.
        event_time: Name of the column with the event time.
        overwrite: Write whatever the store has, as after a run with wrong event times.
        progress: Called after each batch with what was done so far.

    Raises:
        DefinitionError: naming file, column and rows, and the rule that they break: missing, of another type, infinite,
            or null where nothing stands for a null.
        StoreError: if the store cannot be reached or refuses.
    """
    with _naming(table):
        source = _open(table)
        _check_columns(view, source.schema, event_time)
    layout = RowLayout(view)
    latest: dict[bytes, int] = {}
    newer: set[bytes] = set()
    summary = Summary(0, 0, np.datetime64("NaT", "us"))
    names = [*view.keys, *(feature.name for feature in view.features), event_time]
    for batch in map(_without_views, source.to_batches(columns=names, batch_size=ROWS_PER_BATCH)):
        if not batch.num_rows:
            continue
        with _naming(table):
            times = _event_times(batch, event_time, summary.rows_read)
            keys = layout.keys([_key(batch, name, summary.rows_read) for name in view.keys])
            newest = _newest(keys, times, latest)
            packed = _pack(layout, batch, times, newest, summary.rows_read)
        written = [keys[index] for index in newest]
        newer.difference_update(written)
        newer.update(await store.put(zip(written, packed, strict=True), overwrite=overwrite))
        summary = Summary(
            summary.rows_read + batch.num_rows,
            len(latest) - len(newer),
            np.fmax(summary.newest, times.max()),
            len(newer),
        )
        if progress is not None:
            progress(summary)
    return summary


def check_table(view: FeatureView, table: Source, *, event_time: str = EVENT_TIME) -> None:
    """Check that a table has the columns of a feature view, from its schema alone: no row is read.

    Args:
        view: The feature view.
        table: The table.
        event_time: Name of the column with the event time.

    Raises:
        DefinitionError: as :func:`materialize` does for a column that is missing or of another type.
    """
    with _naming(table):
        _check_columns(view, _open(table).schema, event_time)


def count_rows(table: Source) -> int:
    """Rows of a table; of files, from their footers."""
    with _naming(table):
        return int(_open(table).count_rows())


@contextmanager
def _naming(table: Source) -> Iterator[None]:
    """Errors about a table that is a file name the file."""
    try:
        yield
    except DefinitionError as error:
        if isinstance(table, str | Path):
            raise DefinitionError(f"{table}: {error}") from error
        raise


def _open(table: Source) -> dataset.Dataset:
    if isinstance(table, dataset.Dataset):
        return table
    if isinstance(table, str | Path):
        try:
            return dataset.dataset(table, format="parquet")
        except (OSError, pa.ArrowException) as error:
            raise DefinitionError(f"cannot be read as Parquet: {error}") from error
    if not is_table(table):
        raise DefinitionError(f"{type(table).__name__} is no table")
    try:
        return dataset.dataset(_arrow(table))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DefinitionError(f"the table cannot be read with Arrow: {error}") from error


def _arrow(table: Table) -> pa.Table:
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if isinstance(table, Mapping):
        table = {name: _arrow_ready(values) for name, values in table.items()}
    return table if isinstance(table, pa.Table) else pa.table(table)


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with strings as Arrow's functions take them; polars has string views."""
    for at, field in enumerate(batch.schema):
        if pa.types.is_string_view(field.type):
            batch = batch.set_column(at, field.name, batch.column(at).cast(pa.string()))
    return batch


def _arrow_ready(values: Any) -> Any:
    """Values as Arrow takes them: no arrays of two dimensions, and None for every null among objects."""
    if isinstance(values, np.ndarray) and (values.ndim == 2 or values.dtype == object):
        values = list(values)
    return [None if is_null(value) else value for value in values] if isinstance(values, list) else values


def _check_columns(view: FeatureView, schema: pa.Schema, event_time: str) -> None:
    for name in (*view.keys, *(feature.name for feature in view.features), event_time):
        if schema.get_field_index(name) < 0:
            twice = f"the table has two columns {name!r}"
            reason = twice if name in schema.names else missing_column(name, schema.names)
            raise DefinitionError(f"feature view {view.name!r}: {reason}")
    for name in view.keys:
        key_type = schema.field(name).type
        if not (_is_text(key_type) or pa.types.is_integer(key_type)):
            raise DefinitionError(f"column {name!r} is {key_type}; a key must be a string or an integer")
    for feature in view.features:
        column_type = schema.field(feature.name).type
        if not _fits(column_type, feature.type):
            raise DefinitionError(f"column {feature.name!r} is {column_type}; the feature is {feature.type}")
    if not pa.types.is_timestamp(schema.field(event_time).type):
        raise DefinitionError(f"column {event_time!r} is {schema.field(event_time).type}; it must be a timestamp")


def _fits(column: pa.DataType, feature: FieldType) -> bool:
    if pa.types.is_dictionary(column):
        column = column.value_type
    if pa.types.is_null(column):
        return True
    if array_length(feature) is not None:
        return _is_list(column) and _fits(column.value_type, "float64")  # type: ignore[attr-defined]
    match feature:
        case "float64" | "int64":
            # whole numbers beside a null are written as floats by pandas; others are refused when they are read
            return bool(pa.types.is_floating(column) or pa.types.is_integer(column))
        case "bool":
            return bool(pa.types.is_boolean(column))
        case "string":
            return _is_text(column)
        case "timestamp":
            return bool(pa.types.is_timestamp(column))
    return False


def _is_list(column: pa.DataType) -> bool:
    return bool(pa.types.is_list(column) or pa.types.is_large_list(column) or pa.types.is_fixed_size_list(column))


def _is_text(column: pa.DataType) -> bool:
    if pa.types.is_dictionary(column):
        column = column.value_type
    return bool(pa.types.is_string(column) or pa.types.is_large_string(column) or pa.types.is_string_view(column))


def _newest(keys: Sequence[bytes], times: Column, seen: dict[bytes, int]) -> list[int]:
    """Rows of a batch that are newer than all of their entity before; each entity once.

    Of rows with the same event time the last one counts.
    """
    newest_rows: dict[bytes, int] = {}
    for index, (key, time) in enumerate(zip(keys, times.astype(np.int64).tolist(), strict=True)):
        # 0 is 1970 and as good as any time: absence must be told from it
        if (before := seen.get(key)) is None or time >= before:
            seen[key] = time
            newest_rows[key] = index
    return list(newest_rows.values())


def _key(batch: pa.RecordBatch, name: str, first: int) -> Column:
    column = batch.column(name)
    if column.null_count:
        raise DefinitionError(f"column {name!r} has nulls in {_null_rows(column, first)}; a key must always be given")
    return np.array(column.to_pylist(), object)


def _event_times(batch: pa.RecordBatch, name: str, first: int) -> Column:
    column = batch.column(name)
    if column.null_count:
        raise DefinitionError(f"column {name!r} has nulls in {_null_rows(column, first)}; each row needs an event time")
    return read_column(name, column, "timestamp")[0]


def _null_rows(column: pa.Array[Any], first: int) -> str:
    return rows_named(first + np.flatnonzero(np.asarray(column.is_null())))


def _pack(layout: RowLayout, batch: pa.RecordBatch, times: Column, rows: list[int], first: int) -> list[bytes]:
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
