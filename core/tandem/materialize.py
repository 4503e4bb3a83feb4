"""From a table of features to the online store, for one feature view.

The table is read in batches, so that it may be larger than memory; of several rows for one entity the newest counts.
Writing a row twice changes nothing, so an interrupted run is simply repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from tandem.contract import NUMPY_DTYPES, Column, Columns, FieldType
from tandem.errors import DefinitionError
from tandem.features import FeatureView, RowLayout
from tandem.stores import OnlineStore

Table = pa.Table | dataset.Dataset | Path | str
"""An Arrow table, a dataset, or where one is: a Parquet file or a directory of them."""

EVENT_TIME = "event_time"
"""Column that tells since when a row's values hold."""

ROWS_PER_BATCH = 20_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What :func:`materialize` did.

    Attributes:
        rows_read: Rows of the table so far.
        entities_written: Different entities among them.
        newest: Newest event time, ``datetime64[us]``; NaT for an empty table.
    """

    rows_read: int
    entities_written: int
    newest: np.datetime64


async def materialize(
    view: FeatureView,
    table: Table,
    store: OnlineStore,
    *,
    event_time: str = EVENT_TIME,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Write the newest values of every entity in a table to the online store.

    Args:
        view: The feature view.
        table: Has a column for each key and each feature of the view, and one with the event time; further columns
            are not read. Timestamps without a zone are taken as UTC.
        store: Where to write.
        event_time: Name of the column with the event time.
        progress: Called after each batch with what was done so far.

    Raises:
        DefinitionError: naming the column and the rule it breaks: missing, of another type, or null where the
            feature has no default.
        StoreError: if the store cannot be reached or refuses.
    """
    source = _open(table)
    _check_columns(view, source.schema, event_time)
    layout = RowLayout(view)
    seen: dict[bytes, int] = {}
    done = Summary(0, 0, np.datetime64("NaT", "us"))
    names = [*view.keys, *(feature.name for feature in view.features), event_time]
    for batch in source.to_batches(columns=names, batch_size=ROWS_PER_BATCH):
        if not batch.num_rows:
            continue
        times = _event_times(batch, event_time)
        keys = layout.keys([_key(batch, name) for name in view.keys])
        newest = _newest(keys, times, seen)
        if newest:
            columns, nulls = _features(view, batch.take(pa.array(newest)))
            rows = layout.pack(columns, times[newest], nulls)
            await store.put(zip((keys[index] for index in newest), rows, strict=True))
        done = Summary(done.rows_read + batch.num_rows, len(seen), np.fmax(done.newest, times.max()))
        if progress is not None:
            progress(done)
    return done


def count_rows(table: Table) -> int:
    """Rows of a table, from its files' footers."""
    return int(_open(table).count_rows())


def _open(table: Table) -> dataset.Dataset:
    if isinstance(table, dataset.Dataset):
        return table
    if isinstance(table, pa.Table):
        return dataset.dataset(table)
    try:
        return dataset.dataset(table, format="parquet")
    except (OSError, pa.ArrowException) as error:
        raise DefinitionError(f"{table} cannot be read as Parquet: {error}") from error


def _check_columns(view: FeatureView, schema: pa.Schema, event_time: str) -> None:
    for name in (*view.keys, *(feature.name for feature in view.features), event_time):
        if schema.get_field_index(name) < 0:
            raise DefinitionError(f"feature view {view.name!r}: the table has no column {name!r}")
    for name in view.keys:
        found = schema.field(name).type
        if not (_is_text(found) or pa.types.is_integer(found)):
            raise DefinitionError(f"column {name!r} is {found}; a key must be a string or an integer")
    for feature in view.features:
        found = schema.field(feature.name).type
        if not _fits(found, feature.type):
            raise DefinitionError(f"column {feature.name!r} is {found}; the feature is {feature.type}")
    if not pa.types.is_timestamp(schema.field(event_time).type):
        raise DefinitionError(f"column {event_time!r} is {schema.field(event_time).type}; it must be a timestamp")


def _fits(found: pa.DataType, wanted: FieldType) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    match wanted:
        case "float64":
            return bool(pa.types.is_floating(found) or pa.types.is_integer(found))
        case "int64":
            return bool(pa.types.is_integer(found))
        case "bool":
            return bool(pa.types.is_boolean(found))
        case "string":
            return _is_text(found)
        case "timestamp":
            return bool(pa.types.is_timestamp(found))


def _is_text(found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))


def _newest(keys: Sequence[bytes], times: Column, seen: dict[bytes, int]) -> list[int]:
    """Rows of a batch that are newer than all of their entity before; each entity once.

    Of rows with the same event time the last one counts.
    """
    found: dict[bytes, int] = {}
    for index, (key, time) in enumerate(zip(keys, times.astype(np.int64).tolist(), strict=True)):
        # 0 is 1970 and as good as any time: absence must be told from it
        if (before := seen.get(key)) is None or time >= before:
            seen[key] = time
            found[key] = index
    return list(found.values())


def _key(batch: pa.RecordBatch, name: str) -> Column:
    column = batch.column(name)
    if column.null_count:
        raise DefinitionError(f"column {name!r} has nulls; a key must always be given")
    return np.array(column.to_pylist(), object)


def _event_times(batch: pa.RecordBatch, name: str) -> Column:
    if batch.column(name).null_count:
        raise DefinitionError(f"column {name!r} has nulls; every row needs an event time")
    return _numpy(batch.column(name), "timestamp", name)


def _features(view: FeatureView, batch: pa.RecordBatch) -> tuple[Columns, Columns]:
    """Columns and null masks of the features of a batch."""
    columns: Columns = {}
    nulls: Columns = {}
    for feature in view.features:
        column = batch.column(feature.name)
        if column.null_count:
            if feature.default is None and feature.type != "float64":
                raise DefinitionError(
                    f"column {feature.name!r} has nulls; the feature has no default and is no float64"
                )
            nulls[feature.name] = pc.is_null(column).to_numpy(zero_copy_only=False)
            column = column.fill_null("" if feature.type == "string" else pa.scalar(0).cast(column.type))
        columns[feature.name] = _numpy(column, feature.type, feature.name)
    return columns, nulls


def _numpy(column: pa.Array[Any], type_: FieldType, name: str) -> Column:
    if type_ == "string":
        return np.array(column.to_pylist(), object)
    # nanoseconds are cut off; everything else must survive
    options = pc.CastOptions(_ARROW[type_], allow_time_truncate=True)
    try:
        array = pc.cast(column, options=options)  # type: ignore[call-overload]
    except pa.ArrowInvalid as error:
        raise DefinitionError(f"column {name!r} cannot be read as {type_} without loss: {error}") from error
    return array.to_numpy(zero_copy_only=False).astype(NUMPY_DTYPES[type_], copy=False)  # type: ignore[no-any-return]


_ARROW: dict[FieldType, pa.DataType] = {
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
}
