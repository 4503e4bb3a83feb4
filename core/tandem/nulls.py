"""Nulls in a column of a table, of any library.

One rule says what is a null: None, NaN, NaT, pandas' NA, an Arrow null, a masked value, an array with a NaN.
"""

from __future__ import annotations

import re
import sys
from datetime import datetime
from typing import Any, Final

import numpy as np

from tandem.dtypes import Column

_INTEGER_LISTS: Final = re.compile(r"\w*list.*<\w+: u?int|(List|Array)\(U?Int")
"""Types of lists of whole numbers, as Arrow and polars write them."""


def drop_nulls(values: Any) -> tuple[Any, Column | None]:
    """The values that are there, as an array, and a mask of those that are not; None where all are."""
    present, null = _split(values)
    if present.ndim != 1 or present.dtype.kind not in "fM":
        return present, null
    nan = np.isnan(present) if present.dtype.kind == "f" else np.isnat(present)
    if not nan.any():
        return present, null
    if null is None:
        return present[~nan], nan
    null = np.array(null)
    null[np.flatnonzero(~null)[nan]] = True
    return present[~nan], null


def _split(values: Any) -> tuple[Any, Column | None]:
    """The same by what each library says; NaN and NaT may be left."""
    if hasattr(values, "is_null"):
        return _split_arrow(values)
    if hasattr(values, "isna"):
        return _split_pandas(values)
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values)
        null = mask if mask.ndim == 1 else np.any(mask, axis=1)
        return np.asarray(values)[~null], null if null.any() else None
    array = values if isinstance(values, np.ndarray) else _array_of(values)
    if array.dtype.kind not in "OT" or array.ndim != 1:
        return array, None
    objects = array.tolist()
    if set(map(type, objects)) <= {str, int, bool}:
        return array, None
    null = np.array([is_null(value) for value in objects], bool)
    return (array[~null], null) if null.any() else (array, None)


def _split_arrow(values: Any) -> tuple[Any, Column | None]:
    """The same for Arrow and polars."""
    if str(getattr(values, "type", "")) == "string_view":
        # of polars; Arrow cannot leave nulls out of it
        values = values.cast("string")
    # of Arrow; where it is 0, nothing need be copied
    has_nulls = getattr(values, "null_count", None) != 0
    null = np.array(values.is_null()) if has_nulls else None
    if has_nulls:
        values = values.drop_null() if hasattr(values, "drop_null") else values.drop_nulls()
    if null is not None and not null.any():
        null = None
    if _INTEGER_LISTS.match(str(getattr(values, "type", getattr(values, "dtype", "")))):
        # beside a null in any of the lists, NumPy has floats in all of them
        return _array_of(_to_list(values)), null
    present = np.asarray(values)
    if present.dtype.kind == "U":
        # polars gives texts of fixed width, which lose a NUL at their end
        present = _array_of(values.to_list())
    return present, null


def _to_list(values: Any) -> list[Any]:
    return values.to_pylist() if hasattr(values, "to_pylist") else values.to_list()  # type: ignore[no-any-return]


def _split_pandas(values: Any) -> tuple[Any, Column | None]:
    if getattr(values.dtype, "tz", None) is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    null = np.array(values.isna())
    return np.asarray(values.dropna()), null if null.any() else None


def _array_of(values: Any) -> Any:
    """An array of a list; of objects where NumPy would turn one type into another, or lists are of different length."""
    try:
        array = np.asarray(values) if len(set(map(type, values))) < 2 else None
    except ValueError:
        array = None
    if array is not None and array.dtype.kind not in "US":
        return array
    objects = np.empty(len(values), object)
    objects[:] = list(values)
    return objects


def is_null(value: Any) -> bool:
    """Whether one Python value stands for none: None, NaN, NaT, pandas' NA."""
    pandas = sys.modules.get("pandas")
    if value is None or (pandas is not None and value is pandas.NA):
        return True
    # only NaN and NaT differ from themselves
    return isinstance(value, float | np.floating | np.datetime64 | datetime) and bool(value != value)
