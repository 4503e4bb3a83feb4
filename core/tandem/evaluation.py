"""Evaluation of transforms: what they are called with, and which results and state are valid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tandem.dtypes import Column, FieldType, numpy_dtype
from tandem.errors import DefinitionError
from tandem.transforms import State, Transform


def evaluate(transform: Transform, columns: Mapping[str, Column], state: Mapping[str, Any]) -> Any:
    """Result of a transform, checked for its shape.

    Raises:
        DefinitionError: if it is not an array with one entry per row.
    """
    inputs = [columns[name] for name in transform.inputs]
    rows = len(inputs[0]) if inputs else len(next(iter(columns.values())))
    return check_result(transform.name, transform.function(*inputs, **as_arrays(state)), rows)


def as_arrays(state: Mapping[str, Any]) -> State:
    """Fitted state as a transform gets it: lists as arrays."""
    return {name: np.asarray(value) if isinstance(value, list) else value for name, value in state.items()}


def check_finite(name: str, state: Mapping[str, Any]) -> None:
    """Refuse fitted state with a NaN or an infinity: JSON has none, and whatever is computed with it is lost.

    Args:
        name: Of the transform.
        state: Its state.

    Raises:
        DefinitionError: naming the transform and the state.
    """
    for key, value in state.items():
        if not _is_finite(value):
            raise DefinitionError(f"{name}: state {key!r} is not finite: {value!r:.80}")


def _is_finite(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def check_result(name: str, result: Any, rows: int) -> Any:
    """The result of a transform, if it is an array with one entry per row.

    Raises:
        DefinitionError: if it is not.
    """
    # subclasses such as masked arrays would not reach the model as they are
    if type(result) is np.ndarray and result.ndim and len(result) == rows:
        return result
    outcome = f"{type(result).__name__} {getattr(result, 'shape', '')}".rstrip()
    raise DefinitionError(f"{name} must return an array of {rows} rows, not {outcome}")


def as_answer_column(values: Column, type_: FieldType) -> Column:
    """A prediction or post-processing result in the dtype of its declared type.

    Raises:
        TypeError: if that would change values, such as numbers to strings or fractions to whole numbers.
    """
    dtype = numpy_dtype(type_)
    if type_ == "string":
        # NumPy's string functions give fixed-width arrays
        texts = values.astype(object) if values.dtype.kind == "U" else values
        if texts.dtype != dtype or set(map(type, texts.tolist())) - {str}:
            raise TypeError(f"values of dtype {values.dtype} are not strings")
        return texts
    return values if values.dtype is dtype else values.astype(dtype, casting="same_kind", copy=False)
