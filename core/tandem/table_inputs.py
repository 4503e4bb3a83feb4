"""Inputs of a model from a table in which features are joined already."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tandem.column_rules import RowErrors, refuse_rows
from tandem.columns import read_column
from tandem.dtypes import Column, Columns
from tandem.durations import parse_duration
from tandem.errors import DefinitionError
from tandem.features import ViewUse
from tandem.fields import Field
from tandem.inputs import Inputs
from tandem.model import Model
from tandem.packed_rows import ViewColumns
from tandem.table_numbers import rows_named
from tandem.tables import Table, columns_of, missing_column


def inputs_from_table(model: Model, table: Table) -> Inputs:
    """Inputs of a model from a table in which features are joined already.

    A null (None, NaN, NaT, pandas' NA, Arrow's null) becomes what it becomes when the model is served: the default of
    its field or feature, else NaN or NaT, else it is refused. Further columns are not read.

    Args:
        model: The model.
        table: A pandas or polars frame, an Arrow table, or arrays by column name. It has every field of the contract
            (those that clients may leave out may be missing), every feature, and ``<view>_event_time`` for each view;
            NaT there means that the entity had no row. ``as_of`` comes from the contract's field, or from a column
            ``as_of``.

    Raises:
        DefinitionError: naming a column that is missing, has another type or length, an infinity, or a null for which
            nothing stands.

    Warns:
        UserWarning: if a view has no event times, since its values then count as of ``as_of``: never missing, and
            never too old.
    """
    columns = columns_of(table)
    rows = len(next(iter(columns.values())))
    request = {name: _request_column(name, field, columns, rows) for name, field in model.contract.inputs.items()}
    as_of = _as_of(model, request, columns)
    timeless = [use.name for use in model.views if f"{use.name}_event_time" not in columns]
    if timeless:
        names = ", ".join(f"{name}_event_time" for name in timeless)
        warnings.warn(
            f"the table has no column {names}: all values of {', '.join(timeless)} are taken as fresh (age 0), and "
            "every entity as known; serving will see older values, and entities without any",
            stacklevel=2,
        )
    return Inputs(request, tuple(_view_columns(use, columns, as_of) for use in model.views), as_of)


def inputs_row_by_row(model: Model, table: Table) -> tuple[Inputs, RowErrors]:
    """Inputs of a model from a table in which features are joined already; a bad row is refused alone.

    Args:
        model: The model.
        table: As of :func:`inputs_from_table`, with the event times of all views.

    Returns:
        The inputs of all rows, and for each row that breaks the contract the error that a client would get. A null in a
        feature for which nothing stands is refused by the pipeline, as when the model is served.

    Raises:
        DefinitionError: naming a column that is missing, has another type or length, or an infinity.
    """
    columns = columns_of(table)
    rows = len(next(iter(columns.values())))
    request: Columns = {}
    nulls: Columns = {}
    for name, field in model.contract.inputs.items():
        request[name], null = _request_values(name, field, columns, rows)
        if null is not None and field.required:
            nulls[name] = null
    as_of = _as_of(model, request, columns)
    views = tuple(_view_columns(use, columns, as_of, refuse_nulls=False) for use in model.views)
    return Inputs(request, views, as_of), refuse_rows(model.contract, request, nulls)


def as_inputs(model: Model, inputs: Inputs | Table) -> Inputs:
    """The inputs themselves, or those of a table; see :func:`inputs_from_table`."""
    return inputs if isinstance(inputs, Inputs) else inputs_from_table(model, inputs)


def _request_column(name: str, field: Field, columns: Mapping[str, Any], rows: int) -> Column:
    column, null = _request_values(name, field, columns, rows)
    if null is not None and field.required:
        raise DefinitionError(
            f"column {name!r} is null in {rows_named(np.flatnonzero(null))}; the field is required, so no client can "
            "leave it out: drop these rows, or give the field a default"
        )
    return column


def _request_values(name: str, field: Field, columns: Mapping[str, Any], rows: int) -> tuple[Column, Column | None]:
    """A column of the contract with its filler where it is null, and where that is; None if nothing is null."""
    if name not in columns:
        if field.required:
            raise DefinitionError(missing_column(name, columns))
        return field.filling(rows), None
    column, null = read_column(name, columns[name], field.type)
    if null is not None:
        column[null] = np.array(field.filler, field.dtype)
    return column, null


def _as_of(model: Model, request: Columns, columns: Mapping[str, Any]) -> Column:
    name = model.contract.as_of or "as_of"
    if name not in columns and (name not in request or np.isnat(request[name]).any()):
        raise DefinitionError(f"{missing_column(name, columns)}; it must hold the time of each row's request")
    as_of = request[name] if name in request else _moments(name, columns[name])
    unknown = np.flatnonzero(np.isnat(as_of))
    if len(unknown):
        raise DefinitionError(
            f"column {name!r} is null in {rows_named(unknown)}; it must hold the time of each row's request"
        )
    return as_of


def _view_columns(use: ViewUse, columns: Mapping[str, Any], as_of: Column, *, refuse_nulls: bool = True) -> ViewColumns:
    time = f"{use.name}_event_time"
    event_time = _moments(time, columns[time]) if time in columns else as_of
    # NaT compares as False; of an entity without a row, or with one that is too old, no value is read, not even a null
    limit = use.view.max_age and parse_duration(use.view.max_age)
    is_read = ~np.isnat(event_time) if limit is None else as_of - event_time <= limit
    features: Columns = {}
    nulls: Columns = {}
    for feature in use.view.features:
        name = use.prefix + feature.name
        if name not in columns:
            raise DefinitionError(missing_column(name, columns, of=f" of feature view {use.name!r}"))
        features[feature.name], null = read_column(name, columns[name], feature.type)
        if null is None or not (null := null & is_read).any():
            continue
        if refuse_nulls and not feature.nullable:
            raise DefinitionError(
                f"column {name!r} is null in {rows_named(np.flatnonzero(null))}; the feature is {feature.type} and has "
                "no default"
            )
        nulls[feature.name] = null
        features[feature.name][null] = np.array(feature.filler, features[feature.name].dtype)
    return ViewColumns(features, event_time, nulls)


def _moments(name: str, values: Any) -> Column:
    """A column of timestamps, NaT where it is null."""
    moments, null = read_column(name, values, "timestamp")
    if null is not None:
        moments[null] = np.datetime64("NaT")
    return moments
