"""From training data to a fitted pipeline: the same code that serves, run over a table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.assembly import widths
from tandem.columns import read_column, rows_named
from tandem.dtypes import Column, Columns, nan_rows
from tandem.errors import DefinitionError
from tandem.evaluation import check_finite
from tandem.features import ViewUse
from tandem.fields import Field
from tandem.inputs import Inputs
from tandem.model import Model, input_name
from tandem.packed_rows import ViewColumns
from tandem.pipeline import Pipeline
from tandem.signature import Signature, TensorSpec, column_names, holds_strings
from tandem.tables import Table, columns_of, missing_column
from tandem.transforms import BoundTransform, State


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


def as_inputs(model: Model, inputs: Inputs | Table) -> Inputs:
    """The inputs themselves, or those of a table; see :func:`inputs_from_table`."""
    return inputs if isinstance(inputs, Inputs) else inputs_from_table(model, inputs)


def fit(model: Model, inputs: Inputs | Table) -> Pipeline:
    """Fit the state of the model-dependent transforms.

    Args:
        model: The model.
        inputs: The training data: of :func:`inputs_from_table`, or a table.

    Returns:
        A pipeline whose vectors are ``float32``, or ``object`` for strings, to train on and to write the bundle from:
        one tensor ``X``, or those that the author named, or one for each input where there are strings and numbers.

    Raises:
        DefinitionError: if ``fit`` returns no state, not the state that its transform reads, or state that is not
            finite, as of a column with NaN.
        RequestError: if a row cannot be answered, or a transform fails.
    """
    unfitted = Pipeline(model, Signature((), ()), {})
    columns = unfitted.features(as_inputs(model, inputs)).columns
    state = {
        transform.name: fit_state(transform, columns)
        for transform in model.model_dependent
        if transform.fit is not None
    }
    fitted = Pipeline(model, Signature((), ()), state)
    fitted.tensors(columns)
    return Pipeline(model, provisional(model, columns), state)


def matrix(pipeline: Pipeline, inputs: Inputs | Table) -> NDArray[Any]:
    """The vectors of a model with one input tensor, shape ``(rows, columns)``: what to train on.

    Args:
        pipeline: Of :func:`fit`.
        inputs: Of :func:`inputs_from_table`, or a table.

    Raises:
        DefinitionError: if it has several; :meth:`Pipeline.vectors` gives them all.
    """
    tensors = pipeline.vectors(as_inputs(pipeline.model, inputs))
    if len(tensors) != 1:
        raise DefinitionError(f"the model has {len(tensors)} input tensors, {', '.join(tensors)}: use pipeline.vectors")
    return next(iter(tensors.values()))


def fit_state(transform: BoundTransform, columns: Mapping[str, Column]) -> State:
    """State of one model-dependent transform, fitted to columns; empty where there is nothing to fit.

    Raises:
        DefinitionError: if ``fit`` returns something else than the state that the transform reads, or state that is not
            finite; names the columns and rows with NaN from which it may come.
    """
    if transform.fit is None:
        return {}
    result = transform.fit(*(columns[name] for name in transform.inputs))
    if not isinstance(result, Mapping):
        raise DefinitionError(f"{transform.name}: fit must return a dict of state, not {type(result).__name__}")
    if strange := result.keys() - set(transform.state_names):
        raise DefinitionError(
            f"{transform.name}: fit returns {', '.join(sorted(strange))}, which the transform does not read"
        )
    if lacking := transform.required_state - result.keys():
        raise DefinitionError(f"{transform.name}: fit does not return {', '.join(sorted(lacking))}")
    state = {name: plain_state(transform.name, name, value) for name, value in result.items()}
    try:
        check_finite(transform.name, state)
    except DefinitionError as error:
        raise DefinitionError(f"{error}{_where_nan(transform, columns)}") from None
    return state


def plain_state(transform: str, name: str, value: Any) -> Any:
    """State as JSON can hold it; floats survive that exactly.

    Args:
        transform: Name of the transform.
        name: Name of the state.
        value: A number, string, boolean, or an array or list of these.

    Raises:
        DefinitionError: if it is something else.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    kinds = (bool, int, float, str)
    if isinstance(value, kinds) or (
        isinstance(value, list) and all(isinstance(item, (*kinds, list)) for item in value)
    ):
        return value
    raise DefinitionError(
        f"{transform}: state {name!r} must be numbers, strings, booleans or lists of them, not {type(value).__name__}"
    )


def _where_nan(transform: BoundTransform, columns: Mapping[str, Column]) -> str:
    """The rows in which the columns of a transform are NaN, and what to do about them."""
    nan = {
        name: np.flatnonzero(nan_rows(columns[name])) for name in transform.inputs if columns[name].dtype.kind == "f"
    }
    places = [f"{name!r} is NaN in {rows_named(rows)}" for name, rows in nan.items() if len(rows)]
    if not places:
        return ""
    return (
        f"; column {', column '.join(places)}: leave these out with np.nanmean, np.nanstd and the like, or give the "
        "field or feature a default"
    )


def provisional(model: Model, columns: Columns) -> Signature:
    """Input tensors as far as they are known without a graph; see :func:`fit`.

    Raises:
        DefinitionError: for a model input that is no number, boolean or string, or a tensor with strings and numbers.
    """
    sizes = widths(model, columns)
    tensors = []
    for tensor, inputs in model.inputs.items():
        sources = [input_name(source) for source in inputs]
        kinds = {holds_strings(name, columns[name]) for name in sources}
        if len(kinds) == 2 and tensor is not None:
            raise DefinitionError(
                f"tensor {tensor!r} has strings and numbers among {', '.join(sources)}: give it one kind"
            )
        groups = [(tensor or "X", sources)] if len(kinds) == 1 else [(name, [name]) for name in sources]
        for name, group in groups:
            parts = tuple(part for source in group for part in column_names(source, sizes[source]))
            dtype = "object" if holds_strings(group[0], columns[group[0]]) else "float32"
            tensors.append(TensorSpec(name, dtype, parts, (-1, len(parts))))
    return Signature(tuple(tensors), ())


def _request_column(name: str, field: Field, columns: Mapping[str, Any], rows: int) -> Column:
    if name not in columns:
        if field.required:
            raise DefinitionError(missing_column(name, columns))
        return field.filling(rows)
    column, null = read_column(name, columns[name], field.type)
    if null is None:
        return column
    if field.required:
        raise DefinitionError(
            f"column {name!r} is null in {rows_named(np.flatnonzero(null))}; the field is required, so no client can "
            "leave it out: drop these rows, or give the field a default"
        )
    column[null] = field.filler
    return column


def _as_of(model: Model, request: Columns, columns: Mapping[str, Any]) -> Column:
    name = model.contract.as_of or "as_of"
    if name not in columns and (name not in request or np.isnat(request[name]).any()):
        raise DefinitionError(f"{missing_column(name, columns)}; when was the question of each row asked?")
    as_of = request[name] if name in request else _moments(name, columns[name])
    unknown = np.flatnonzero(np.isnat(as_of))
    if len(unknown):
        raise DefinitionError(f"column {name!r} is null in {rows_named(unknown)}; when was the question asked?")
    return as_of


def _view_columns(use: ViewUse, columns: Mapping[str, Any], as_of: Column) -> ViewColumns:
    time = f"{use.name}_event_time"
    event_time = _moments(time, columns[time]) if time in columns else as_of
    has_time = ~np.isnat(event_time)
    features: Columns = {}
    nulls: Columns = {}
    for feature in use.view.features:
        name = use.prefix + feature.name
        if name not in columns:
            raise DefinitionError(missing_column(name, columns, of=f" of feature view {use.name!r}"))
        features[feature.name], null = read_column(name, columns[name], feature.type)
        # of an entity without a row nothing is stored, not even a null
        if null is None or not (null := null & has_time).any():
            continue
        if not feature.nullable:
            raise DefinitionError(
                f"column {name!r} is null in {rows_named(np.flatnonzero(null))}; the feature is {feature.type} and has "
                "no default"
            )
        nulls[feature.name] = null
        features[feature.name][null] = feature.filler
    return ViewColumns(features, event_time, nulls)


def _moments(name: str, values: Any) -> Column:
    """A column of timestamps, NaT where it is null."""
    moments, null = read_column(name, values, "timestamp")
    if null is not None:
        moments[null] = np.datetime64("NaT")
    return moments
