"""From training data to a fitted pipeline: the same code that serves, run over a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.contract import NUMPY_DTYPES, Column, Columns, FieldType
from tandem.errors import DefinitionError
from tandem.features import ViewColumns
from tandem.model import Model, input_name
from tandem.pipeline import Inputs, Pipeline, widths
from tandem.signature import Signature, TensorSpec, column_names, holds_strings
from tandem.transforms import BoundTransform, State


def inputs_from_table(model: Model, table: Mapping[str, Any]) -> Inputs:
    """Inputs of a model from a table in which features are joined already.

    Args:
        model: The model.
        table: Arrays by column name: every field of the contract (those that clients may leave out may be missing),
            every feature, and optionally ``<view>_event_time`` for each view; a view without it counts as of ``as_of``.
            ``as_of`` itself comes from the contract's field, or from a column ``as_of``.

    Raises:
        DefinitionError: naming a column that is missing, or has another type or length.
    """
    rows = len(next(iter(table.values())))
    for name, values in table.items():
        if len(values) != rows:
            raise DefinitionError(f"column {name!r} has {len(values)} rows, the table has {rows}")
    request = {}
    for name, field in model.contract.inputs.items():
        if name in table:
            request[name] = as_column(name, table[name], field.type)
        elif field.required:
            raise DefinitionError(f"the table has no column {name!r}")
        else:
            request[name] = np.full(rows, field.filler, field.dtype)
    as_of_name = model.contract.as_of or "as_of"
    if as_of_name not in request and as_of_name not in table:
        raise DefinitionError(f"the table has no column {as_of_name!r}: when was each row's question asked?")
    as_of = request[as_of_name] if as_of_name in request else as_column(as_of_name, table[as_of_name], "timestamp")
    if np.isnat(as_of).any():
        row = int(np.flatnonzero(np.isnat(as_of))[0])
        raise DefinitionError(f"column {as_of_name!r} is missing in row {row}: when was its question asked?")
    views = []
    for use in model.views:
        columns = {}
        for feature in use.view.features:
            if use.prefix + feature.name not in table:
                raise DefinitionError(
                    f"the table has no column {use.prefix + feature.name!r} of feature view {use.name!r}"
                )
            columns[feature.name] = as_column(feature.name, table[use.prefix + feature.name], feature.type)
        event_time = table.get(f"{use.name}_event_time")
        views.append(
            ViewColumns(columns, as_of if event_time is None else as_column(use.name, event_time, "timestamp"), {})
        )
    return Inputs(request, tuple(views), as_of)


def fit(model: Model, inputs: Inputs) -> Pipeline:
    """Fit the state of the model-dependent transforms.

    Args:
        model: The model.
        inputs: The training data.

    Returns:
        A pipeline whose vectors are ``float32``, or ``object`` for strings, to train on and to write the bundle from:
        one tensor ``X``, or those that the author named, or one for each input where there are strings and numbers.

    Raises:
        DefinitionError: if ``fit`` returns no state or not the state that its transform reads.
        RequestError: if a row cannot be answered, or a transform fails.
    """
    unfitted = Pipeline(model, Signature((), ()), {})
    columns = unfitted.features(inputs).columns
    state = {
        transform.name: fit_state(transform, columns)
        for transform in model.model_dependent
        if transform.fit is not None
    }
    fitted = Pipeline(model, Signature((), ()), state)
    fitted.tensors(columns)
    return Pipeline(model, provisional(model, columns), state)


def matrix(pipeline: Pipeline, inputs: Inputs) -> NDArray[Any]:
    """The vectors of a model with one input tensor, shape ``(rows, columns)``: what to train on.

    Raises:
        DefinitionError: if it has several; :meth:`Pipeline.vectors` gives them all.
    """
    tensors = pipeline.vectors(inputs)
    if len(tensors) != 1:
        raise DefinitionError(f"the model has {len(tensors)} input tensors, {', '.join(tensors)}: use pipeline.vectors")
    return next(iter(tensors.values()))


def as_column(name: str, values: Any, type_: FieldType) -> Column:
    """A column of the given type from any array; timestamps with a zone are taken to UTC.

    Raises:
        DefinitionError: if the values cannot be of that type without loss.
    """
    array = np.asarray(values)
    if type_ == "string":
        array = np.array([str(value) for value in array.tolist()], object) if array.dtype != object else array
        if any(not isinstance(value, str) for value in array.tolist()):
            raise DefinitionError(f"column {name!r} has values that are no strings")
        return array
    try:
        return np.ascontiguousarray(
            array.astype(NUMPY_DTYPES[type_], casting="same_kind" if type_ != "timestamp" else "unsafe")
        )
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"column {name!r} cannot be read as {type_}: {error}") from error


def fit_state(transform: BoundTransform, columns: Mapping[str, Column]) -> State:
    """State of one model-dependent transform, fitted to columns; empty where there is nothing to fit.

    Raises:
        DefinitionError: if ``fit`` returns something else than the state that the transform reads.
    """
    if transform.fit is None:
        return {}
    found = transform.fit(*(columns[name] for name in transform.inputs))
    if not isinstance(found, Mapping):
        raise DefinitionError(f"{transform.name}: fit must return a dict of state, not {type(found).__name__}")
    if strange := found.keys() - set(transform.state_names):
        raise DefinitionError(
            f"{transform.name}: fit returns {', '.join(sorted(strange))}, which the transform does not read"
        )
    if lacking := transform.required_state - found.keys():
        raise DefinitionError(f"{transform.name}: fit does not return {', '.join(sorted(lacking))}")
    return {name: plain_state(transform.name, name, value) for name, value in found.items()}


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
