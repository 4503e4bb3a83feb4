"""Numbers of a table in the type of a column: which of them it can hold, and which rows have others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tandem.dtypes import Column, FieldType, element_type, numpy_dtype
from tandem.errors import DefinitionError
from tandem.fields import LARGEST

_ROWS_NAMED = 5
_EXACT = {"float64": 2**53, "float32": 2**24}
"""Up to here every whole number is a float of its own."""


def rows_named(rows: Sequence[int] | Column) -> str:
    """Rows in words: ``row 3``, or ``rows 3, 7, 8 and 12 more``."""
    numbers = [str(int(row)) for row in rows[:_ROWS_NAMED]]
    more = f" and {len(rows) - _ROWS_NAMED} more" if len(rows) > _ROWS_NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(numbers)}{more}"


def is_number(value: Any) -> bool:
    """Whether a Python value is a number; a boolean is none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def without_loss(name: str, values: Any, rows: Column, type_: FieldType) -> Column:
    """Numbers in the dtype of a type; rounding a float to fewer digits is no loss, since a request is rounded too.

    Args:
        name: Of the column, for messages.
        values: Integers or floats of any width, shape ``(n,)``.
        rows: For messages, the row in which each of them stands.
        type_: The type, or that of the arrays in which they stand.

    Raises:
        DefinitionError: naming the first row with a number that the type cannot hold.
    """
    lossy = _find_lossy(values, element_type(type_))
    if lossy.any():
        at = int(np.flatnonzero(lossy)[0])
        raise DefinitionError(
            f"column {name!r} cannot be read as {type_} without loss: row {rows[at]} is {values[at]}"
            if element_type(type_) == type_
            else f"column {name!r} cannot be read as {type_} without loss: row {rows[at]} has {values[at]}"
        )
    return values.astype(numpy_dtype(type_))  # type: ignore[no-any-return]


def _find_lossy(values: Any, type_: str) -> Column:
    none = np.zeros(len(values), bool)
    if type_ == "int64":
        if values.dtype.kind != "f":
            return values > np.iinfo(np.int64).max if values.dtype.kind == "u" else none
        # whole numbers beside a NaN are floats in pandas and NumPy
        return (np.floor(values) != values) | (np.abs(values) > _EXACT["float64"])  # type: ignore[no-any-return]
    if values.dtype.kind in "iu":
        exact = _EXACT[type_]
        # not abs(): the least int64 has no positive counterpart
        return (values > exact) | (values < -exact)  # type: ignore[no-any-return]
    if values.dtype.itemsize <= numpy_dtype(type_).itemsize:
        return none
    # an infinity is refused as what it is
    return np.isfinite(values) & (np.abs(values) > LARGEST[type_])  # type: ignore[no-any-return]
