"""Columns of arrays, from whatever a table of any library has in each of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tandem.dtypes import Column, FieldType, array_length, column_width, is_ragged, numpy_dtype
from tandem.errors import DefinitionError
from tandem.nulls import is_null
from tandem.table_numbers import is_number, rows_named, without_loss


def read_arrays(name: str, values: Any, type_: FieldType, rows: Column) -> tuple[Column, Column]:
    """A column of arrays.

    Args:
        name: For messages.
        values: An array of objects, each a list or an array of numbers; or an array of two dimensions.
        type_: An array type.
        rows: For messages, the row in which each of them stands.

    Returns:
        The column without the rows that have a null or a NaN, and where these are: ``bool``, shape ``(rows,)``.

    Raises:
        DefinitionError: naming column and rows of arrays that are no arrays of numbers, have another length, or numbers
            that the type cannot hold.
    """
    arrays = _arrays_of(name, values, type_)
    length = array_length(type_) or 0
    sizes = np.array([-1 if array is None or array.ndim != 1 else len(array) for array in arrays], np.int64)
    wrong = (sizes < 0) | (sizes > length) if is_ragged(type_) else sizes != length
    if wrong.any():
        raise DefinitionError(_another_length(name, type_, sizes[wrong], rows[wrong]))
    broken = np.array([array.dtype.kind == "f" and np.isnan(array).any() for array in arrays], bool)
    sizes = sizes[~broken]
    # with rows of floats beside rows of integers, what a float cannot hold is refused; an empty list has floats
    rows_of_numbers = zip(arrays, broken.tolist(), strict=True)
    whole = [array for array, is_broken in rows_of_numbers if not is_broken and len(array)]
    numbers = np.concatenate(whole) if whole else np.zeros(0, numpy_dtype(type_))
    numbers = without_loss(name, numbers, np.repeat(rows[~broken], sizes), type_)
    return _columned(numbers, sizes, type_), broken


def _arrays_of(name: str, values: Any, type_: FieldType) -> Sequence[Any] | Column:
    """An array for each row; None for a row that has none."""
    if not len(values):
        return []
    if values.dtype.kind == "O" and values.ndim < 3:
        return [_array(value) for value in values.tolist()]
    arrays = _array(values) if values.ndim == 2 else None
    length = array_length(type_) or 0
    if arrays is None or arrays.shape[1] > length or (arrays.shape[1] < length and not is_ragged(type_)):
        raise DefinitionError(f"column {name!r} cannot be read as {type_}: it has shape {values.shape}, {values.dtype}")
    return arrays


def _array(values: Any) -> Column | None:
    array = np.asarray(values)
    if array.dtype.kind == "O":
        # None among the numbers
        numbers = [item for item in array.ravel().tolist() if not is_null(item)]
        if not all(map(is_number, numbers)):
            return None
        array = np.array([np.nan if is_null(item) else item for item in array.ravel()]).reshape(array.shape)
    return array if array.dtype.kind in "iuf" else None


def _another_length(name: str, type_: FieldType, sizes: Column, rows: Column) -> str:
    reason = f"with {sizes[0]} numbers" if sizes[0] >= 0 else "without a list of numbers"
    return f"column {name!r} cannot be read as {type_}: {rows_named(rows)}, {reason}"


def _columned(numbers: Column, sizes: Column, type_: FieldType) -> Column:
    """Numbers of all rows as their column; see :func:`~tandem.dtypes.column_width`."""
    if not is_ragged(type_):
        return numbers.reshape(len(sizes), array_length(type_) or 0)
    column = np.zeros((len(sizes), column_width(type_) or 0), numbers.dtype)
    # row by row, as the mask goes too
    column[:, :-1][np.arange(column.shape[1] - 1) < sizes[:, None]] = numbers
    column[:, -1] = sizes
    return column
