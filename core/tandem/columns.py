"""One column of one type, from whatever a table of any library has in its place.

One rule says what is a null, whatever the library: None, NaN, NaT, pandas' NA, an Arrow null, a masked value, an array
with a NaN. What becomes of it is up to the reader of the column: the default, else NaN or NaT, else it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from tandem.dtypes import Column, FieldType, array_length, naive_utc, nan_rows, numpy_dtype
from tandem.errors import DefinitionError
from tandem.nulls import drop_nulls, is_null

_ROWS_NAMED = 5
_EXACT = 2**53
"""Up to here every whole number is a float64 of its own."""


def read_column(name: str, values: Any, type_: FieldType, places: Column | None = None) -> tuple[Column, Column | None]:
    """A column of the given type, and where it is null.

    Args:
        name: For messages.
        values: A column of a table, of any library.
        type_: Timestamps with a zone are taken to UTC, those without are taken as UTC.
        places: For messages, the rows of the table in which the values stand, if these are not all of it.

    Returns:
        The column, zero or empty where it is null, and a mask of shape ``(rows,)``; None if nothing is null.

    Raises:
        DefinitionError: naming column and row of a value that is infinite, of another type, or cannot be kept without
            loss.
    """
    present, null = drop_nulls(values)
    rows = np.arange(len(present)) if null is None else np.flatnonzero(~null)
    named = rows if places is None else places[rows]
    length = array_length(type_)
    column = _READERS[type_](name, present, named) if length is None else _arrays(name, present, named, length)
    if column.ndim == 2 and (broken := nan_rows(column)).any():
        null = np.zeros(len(rows), bool) if null is None else null.copy()
        null[rows[broken]] = True
        column, rows, named = column[~broken], rows[~broken], named[~broken]
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        infinite = ~np.isfinite(column).reshape(len(column), -1).all(axis=1)
        raise DefinitionError(f"column {name!r} is infinite in {rows_named(named[infinite])}; values must be finite")
    if null is None:
        return np.ascontiguousarray(column), None
    whole = np.full((len(null), *column.shape[1:]), "" if column.dtype == object else np.zeros(1, column.dtype)[0])
    whole = whole.astype(column.dtype, copy=False)
    whole[rows] = column
    return whole, null


def rows_named(rows: Sequence[int] | Column) -> str:
    """Rows in words: ``row 3``, or ``rows 3, 7, 8 and 12 more``."""
    numbers = [str(int(row)) for row in rows[:_ROWS_NAMED]]
    more = f" and {len(rows) - _ROWS_NAMED} more" if len(rows) > _ROWS_NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(numbers)}{more}"


def _objects(name: str, values: Any, rows: Column, type_: FieldType, is_one: Callable[[Any], bool]) -> list[Any]:
    """Values of a column of objects, if all are of the type."""
    objects: list[Any] = values.tolist()
    wrong = [at for at, value in enumerate(objects) if not is_one(value)]
    if wrong:
        value = objects[wrong[0]]
        raise DefinitionError(
            f"column {name!r} cannot be read as {type_}: {rows_named(rows[wrong])}, such as {value!r:.60} "
            f"({type(value).__name__})"
        )
    return objects


def _not_readable(name: str, type_: FieldType, values: Any) -> DefinitionError:
    return DefinitionError(f"column {name!r} cannot be read as {type_}: its values are {values.dtype}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _numbers(name: str, values: Any, rows: Column, type_: FieldType) -> Any:
    """Numbers of any type, as an array."""
    if not len(values):
        return np.zeros(0, numpy_dtype(type_))
    if values.dtype.kind == "O":
        values = np.array(_objects(name, values, rows, type_, _is_number))
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        raise _not_readable(name, type_, values)
    return values


def _without_loss(name: str, values: Any, rows: Column, type_: FieldType, lossy: Column) -> Column:
    if lossy.any():
        row = int(np.flatnonzero(lossy)[0])
        raise DefinitionError(
            f"column {name!r} cannot be read as {type_} without loss: row {rows[row]} is {values[row]}"
        )
    return values.astype(numpy_dtype(type_))  # type: ignore[no-any-return]


def _floats(name: str, values: Any, rows: Column) -> Column:
    values = _numbers(name, values, rows, "float64")
    # not abs(): the least int64 has no positive counterpart
    lossy = (values > _EXACT) | (values < -_EXACT) if values.dtype.kind in "iu" else np.zeros(len(values), bool)
    return _without_loss(name, values, rows, "float64", lossy)


def _integers(name: str, values: Any, rows: Column) -> Column:
    values = _numbers(name, values, rows, "int64")
    if values.dtype.kind == "f":
        # whole numbers beside a NaN are floats in pandas and NumPy
        lossy = (np.floor(values) != values) | (np.abs(values) > _EXACT)
    else:
        lossy = values > np.iinfo(np.int64).max if values.dtype.kind == "u" else np.zeros(len(values), bool)
    return _without_loss(name, values, rows, "int64", lossy)


def _booleans(name: str, values: Any, rows: Column) -> Column:
    if values.dtype.kind == "O":
        values = np.array(_objects(name, values, rows, "bool", lambda value: isinstance(value, bool | np.bool_)), bool)
    if len(values) and (values.dtype.kind != "b" or values.ndim != 1):
        raise _not_readable(name, "bool", values)
    return values.astype(bool)  # type: ignore[no-any-return]


def _texts(name: str, values: Any, rows: Column) -> Column:
    if values.dtype.kind in "iu":
        # ids: a key is the same whether its column is of text or of integers
        values = values.astype(str)
    if len(values) and (values.dtype.kind not in "OUT" or values.ndim != 1):
        raise DefinitionError(f"column {name!r} has values that are not strings: they are {values.dtype}")
    texts = values.tolist()
    if wrong := [at for at, text in enumerate(texts) if not isinstance(text, str)]:
        raise DefinitionError(f"column {name!r} has values that are not strings in {rows_named(rows[wrong])}")
    column = np.empty(len(texts), object)
    column[:] = texts
    return column


def _timestamps(name: str, values: Any, rows: Column) -> Column:
    if values.dtype.kind in "OUT":
        moments = _objects(name, values, rows, "timestamp", lambda value: _moment(value) is not None)
        return np.array([_moment(value) for value in moments], "datetime64[us]")
    if len(values) and (values.dtype.kind != "M" or values.ndim != 1):
        raise _not_readable(name, "timestamp", values)
    return values.astype("datetime64[us]")  # type: ignore[no-any-return]


def _moment(value: Any) -> datetime | date | np.datetime64 | None:
    """A moment in UTC without its zone; None for any other value."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return naive_utc(value) if value.tzinfo is not None else value
    return value if isinstance(value, date | np.datetime64) else None


def _arrays(name: str, values: Any, rows: Column, length: int) -> Column:
    """Rows of ``length`` numbers each."""
    type_ = f"float64[{length}]"
    if not len(values):
        return np.zeros((0, length))
    if values.ndim == 1 and values.dtype.kind == "O":
        arrays = [_array(value) for value in values.tolist()]
        if wrong := [at for at, array in enumerate(arrays) if array is None or array.shape != (length,)]:
            raise DefinitionError(f"column {name!r} cannot be read as {type_}: {rows_named(rows[wrong])}")
        return np.array(arrays, np.float64)
    array = _array(values) if values.ndim == 2 else None
    if array is None or array.shape[1] != length:
        raise DefinitionError(f"column {name!r} cannot be read as {type_}: it has shape {values.shape}, {values.dtype}")
    return array


def _array(values: Any) -> Column | None:
    array = np.asarray(values)
    if array.dtype.kind == "O":
        # None among the numbers
        numbers = [item for item in array.ravel().tolist() if not is_null(item)]
        if not all(map(_is_number, numbers)):
            return None
        array = np.array([np.nan if is_null(item) else item for item in array.ravel()]).reshape(array.shape)
    return array.astype(np.float64) if array.dtype.kind in "iuf" else None


_READERS: dict[str, Callable[[str, Any, Column], Column]] = {
    "float64": _floats,
    "int64": _integers,
    "bool": _booleans,
    "string": _texts,
    "timestamp": _timestamps,
}
