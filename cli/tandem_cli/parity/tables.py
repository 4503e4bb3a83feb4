"""Rows with their features as a table, with the columns of a point-in-time join."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tandem import Model
from tandem.dtypes import Column, FieldType, array_length, is_ragged, nan_rows
from tandem.durations import parse_duration
from tandem.features import ViewUse
from tandem.fields import Field
from tandem.inputs import Inputs
from tandem.packed_rows import ViewColumns


def batch_of(model: Model, inputs: Inputs) -> pa.RecordBatch:
    """Inputs as a table: what :func:`~tandem.inputs_from_table` reads, with nulls where a row has no value.

    Args:
        model: The model.
        inputs: The inputs.
    """
    arrays = {name: _request(field, inputs.request[name]) for name, field in model.contract.inputs.items()}
    if model.contract.as_of is None:
        arrays["as_of"] = _array(inputs.as_of, "timestamp", np.zeros(len(inputs), bool))
    for use, view in zip(model.views, inputs.views, strict=True):
        arrays |= _features(use, view, inputs.as_of)
    return pa.RecordBatch.from_pydict(arrays)


def _request(field: Field, column: Column) -> Any:
    absent = np.zeros(len(column), bool)
    if not field.required and column.dtype.kind in "fM" and not is_ragged(field.type):
        absent = np.isnat(column) if column.dtype.kind == "M" else nan_rows(column)
    return _array(column, field.type, absent)


def _features(use: ViewUse, view: ViewColumns, as_of: Column) -> dict[str, Any]:
    """Features of a view, null where they are not read: there is no row, it is too old, or the value is null."""
    limit = use.view.max_age and parse_duration(use.view.max_age)
    absent = np.isnat(view.event_time)
    unread = absent if limit is None else ~(as_of - view.event_time <= limit)
    arrays = {f"{use.name}_event_time": _array(view.event_time, "timestamp", absent)}
    for feature in use.view.features:
        null = unread | view.nulls[feature.name] if feature.name in view.nulls else unread
        arrays[use.prefix + feature.name] = _array(view.columns[feature.name], feature.type, null)
    return arrays


def _array(column: Column, type_: FieldType, null: Column) -> Any:
    if type_ == "timestamp":
        return pa.array(column, pa.timestamp("us"), mask=null).cast(pa.timestamp("us", "UTC"))
    if array_length(type_) is None:
        kind = {"string": pa.string(), "bytes": pa.binary()}.get(type_)
        return pa.array(column, kind, mask=null)
    rows = column.tolist()
    if is_ragged(type_):
        rows = [numbers[: int(size)] for *numbers, size in rows]
    values = [None if is_null else numbers for numbers, is_null in zip(rows, null.tolist(), strict=True)]
    return pa.array(values, pa.list_(pa.from_numpy_dtype(column.dtype)))
