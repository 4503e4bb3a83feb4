"""State of one model-dependent transform, fitted to columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tandem.dtypes import Column, nan_rows
from tandem.errors import DefinitionError
from tandem.evaluation import check_finite
from tandem.table_numbers import rows_named
from tandem.transforms import BoundTransform, State


def fit_state(transform: BoundTransform, columns: Mapping[str, Column]) -> State:
    """State of one model-dependent transform, fitted to columns; empty where there is nothing to fit.

    Raises:
        DefinitionError: if ``fit`` returns something else than the state that the transform reads, or state that is not
            finite; names the columns and rows with NaN from which it may come.
    """
    if transform.fit is None:
        return {}
    result = transform.fit(*(columns[name] for name in transform.inputs))
    _check_names(transform, result)
    state = {name: plain_state(transform.name, name, value) for name, value in result.items()}
    try:
        check_finite(transform.name, state)
    except DefinitionError as error:
        raise DefinitionError(f"{error}{_where_nan(transform, columns)}") from None
    return state


def _check_names(transform: BoundTransform, result: Any) -> None:
    """Refuse a result of ``fit`` that is not the state that the transform reads."""
    if not isinstance(result, Mapping):
        raise DefinitionError(f"{transform.name}: fit must return a dict of state, not {type(result).__name__}")
    if strange := result.keys() - set(transform.state_names):
        raise DefinitionError(
            f"{transform.name}: fit returns {', '.join(sorted(strange))}, which the transform does not read"
        )
    if lacking := transform.required_state - result.keys():
        raise DefinitionError(f"{transform.name}: fit does not return {', '.join(sorted(lacking))}")


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
        # Python's own numbers, which JSON writes so that the same bits come back
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
