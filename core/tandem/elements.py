"""Which values the element type of a tensor can hold: a column is cast to it, and a cast must not change a value.

Rounding to fewer digits is not a change: training saw the same. A number that becomes infinite, wraps around or loses
its fraction is one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def find_misfits(column: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Elements that the type cannot hold: ``bool``, shape of ``column``.

    Args:
        column: Numbers or booleans.
        dtype: The element type. A float holds NaN and infinities that were there before the cast.
    """
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            infinite: NDArray[Any] = np.isinf(column.astype(dtype)) & np.isfinite(column)
        return infinite
    if dtype.kind not in "iub" or column.dtype.kind not in "fiu" or column.dtype == dtype:
        return np.zeros(column.shape, np.bool_)
    low, high = _bounds(dtype)
    if column.dtype.kind != "f":
        return np.asarray((column < low) | (column > high))
    # high + 1 is a power of two, which a double holds exactly; high itself would be rounded up to it
    column = column.astype(np.float64, copy=False)
    inside = (column >= float(low)) & (column < float(high + 1))
    return np.asarray(~(inside & (column == np.floor(column))))


def describe_rule(dtype: np.dtype[Any]) -> str:
    """What an element type demands, as a broken rule says it."""
    if dtype.kind == "f":
        largest = np.finfo(dtype).max
        return f"must be from {-largest:.8g} to {largest:.8g}, as the model computes in {dtype.name}"
    low, high = _bounds(dtype)
    return f"must be a whole number from {low} to {high}, as the model takes {dtype.name}"


def _bounds(dtype: np.dtype[Any]) -> tuple[int, int]:
    return (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
