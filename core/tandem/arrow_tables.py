"""Tables of features as Arrow datasets, and the check that their columns fit a feature view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import dataset

from tandem.dtypes import FieldType, array_length, element_type, is_ragged
from tandem.errors import DefinitionError
from tandem.features import FeatureView
from tandem.nulls import is_null
from tandem.tables import Table, is_table, missing_column

TableSource = Table | dataset.Dataset | Path | str
"""A table of any library, an Arrow dataset, or where one is: a Parquet file or a directory of them."""

EVENT_TIME = "event_time"
"""Column that tells since when a row's values hold."""

ARROW_TYPES: Mapping[FieldType, pa.DataType] = {
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}
"""Types of results, by those of fields and features."""

_WINDOW_TIMES = (EVENT_TIME, "created", "window_start")


def check_table(view: FeatureView, table: TableSource, *, event_time: str = EVENT_TIME) -> None:
    """Check that a table has the columns of a feature view, from its schema alone: no row is read.

    Args:
        view: The feature view.
        table: The table.
        event_time: Name of the column with the event time.

    Raises:
        DefinitionError: as :func:`materialize` does for a column that is missing or of another type.
    """
    with naming_file(table):
        schema = open_table(table).schema
        with naming_view(view):
            check_schema(view, schema, event_time)


def window_schema(view: FeatureView) -> pa.Schema:
    """Columns of a table of a view's windows.

    They are the view's keys as text, ``event_time``, ``created`` and ``window_start``, and the features, null where a
    window has none.

    Args:
        view: A view with a window.
    """
    fields: list[pa.Field[Any]] = [pa.field(name, pa.string()) for name in view.keys]
    fields += [pa.field(name, ARROW_TYPES["timestamp"]) for name in _WINDOW_TIMES]
    return pa.schema([*fields, *(pa.field(feature.name, ARROW_TYPES[feature.type]) for feature in view.features)])


def count_rows(table: TableSource) -> int:
    """Rows of a table; of files, from their footers."""
    with naming_file(table):
        return int(open_table(table).count_rows())


@contextmanager
def naming_view(view: FeatureView) -> Iterator[None]:
    """Errors of a block name the feature view."""
    try:
        yield
    except DefinitionError as error:
        raise DefinitionError(f"feature view {view.name!r}: {error}") from error


@contextmanager
def naming_file(table: TableSource) -> Iterator[None]:
    """Errors about a table that is a file name the file."""
    try:
        yield
    except DefinitionError as error:
        if isinstance(table, str | Path):
            raise DefinitionError(f"{table}: {error}") from error
        raise


def open_table(table: TableSource) -> dataset.Dataset:
    """The table as an Arrow dataset.

    Raises:
        DefinitionError: if it is not a table, or cannot be read.
    """
    if isinstance(table, dataset.Dataset):
        return table
    if isinstance(table, str | Path):
        try:
            return dataset.dataset(table, format="parquet")
        except (OSError, pa.ArrowException) as error:
            raise DefinitionError(f"cannot be read as Parquet: {error}") from error
    if not is_table(table):
        raise DefinitionError(f"{type(table).__name__} is not a table")
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


def without_string_views(batch: pa.RecordBatch) -> pa.RecordBatch:
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


def check_schema(view: FeatureView, schema: pa.Schema, event_time: str) -> None:
    """Check that a schema has a column of the right type for each key, each feature and the event time.

    Raises:
        DefinitionError: naming the column that is missing or of another type.
    """
    check_columns(schema, view.keys, {feature.name: feature.type for feature in view.features}, event_time)


def check_columns(
    schema: pa.Schema, keys: Sequence[str], columns: Mapping[str, FieldType], event_time: str, *, what: str = "feature"
) -> None:
    """Check that a schema has a column for each key, columns of the given types, and one with the event time.

    Args:
        schema: The schema.
        keys: Names of key columns.
        columns: Types of further columns, by name.
        event_time: Name of the column with the event time.
        what: What messages call the type that is given.

    Raises:
        DefinitionError: naming the column that is missing or of another type.
    """
    for name in (*keys, *columns, event_time):
        if schema.get_field_index(name) < 0:
            twice = f"the table has two columns {name!r}"
            reason = twice if name in schema.names else missing_column(name, schema.names)
            raise DefinitionError(reason)
    for name in keys:
        key_type = schema.field(name).type
        if not (_is_text(key_type) or pa.types.is_integer(key_type)):
            raise DefinitionError(f"column {name!r} is {key_type}; a key must be a string or an integer")
    for name, type_ in columns.items():
        column_type = schema.field(name).type
        if not fits(column_type, type_):
            raise DefinitionError(f"column {name!r} is {column_type}; the {what} is {type_}")
    if not pa.types.is_timestamp(schema.field(event_time).type):
        raise DefinitionError(f"column {event_time!r} is {schema.field(event_time).type}; it must be a timestamp")


def fits(column: pa.DataType, feature: FieldType) -> bool:
    """Whether a column can be read as a type other than ``bytes``; its values are checked when they are read."""
    if pa.types.is_dictionary(column):
        column = column.value_type
    # a column of nulls alone has no type of its own
    if pa.types.is_null(column):
        return True
    if (length := array_length(feature)) is not None:
        if pa.types.is_fixed_size_list(column) and column.list_size != length and not is_ragged(feature):
            return False
        return _is_list(column) and fits(column.value_type, element_type(feature))  # type: ignore[attr-defined]
    match feature:
        case "float64" | "float32" | "int64":
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
