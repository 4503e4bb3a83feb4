"""One column of one type, from whatever a table of any library has in its place.

One rule says what is a null, whatever the library: None, NaN, NaT, pandas' NA, an Arrow null, a masked value, an array
with a NaN. What becomes of it is up to the reader of the column: the default, else NaN or NaT, else it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import numpy as np

from tandem.array_columns import read_arrays
from tandem.dtypes import Column, FieldType, array_length, naive_utc, numpy_dtype
from tandem.errors import DefinitionError
from tandem.nulls import drop_nulls
from tandem.table_numbers import is_number, rows_named, without_loss


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
    if array_length(type_) is None:
        column = _READERS[type_](name, present, named)
    else:
        column, broken = read_arrays(name, present, type_, named)
        if broken.any():
            null = np.zeros(len(rows), bool) if null is None else null.copy()
            null[rows[broken]] = True
            rows, named = rows[~broken], named[~broken]
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        infinite = ~np.isfinite(column).reshape(len(column), -1).all(axis=1)
        raise DefinitionError(f"column {name!r} is infinite in {rows_named(named[infinite])}; values must be finite")
    if null is None:
        return np.ascontiguousarray(column), None
    empty = {"string": "", "bytes": b""}.get(type_, np.zeros(1, column.dtype)[0])
    whole = np.full((len(null), *column.shape[1:]), empty).astype(column.dtype, copy=False)
    whole[rows] = column
    return whole, null


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


def _numbers(name: str, values: Any, rows: Column, type_: FieldType) -> Any:
    """Numbers of any type, as an array."""
    if not len(values):
        return np.zeros(0, numpy_dtype(type_))
    if values.dtype.kind == "O":
        values = np.array(_objects(name, values, rows, type_, is_number))
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        raise _not_readable(name, type_, values)
    return values


def _floats(name: str, values: Any, rows: Column) -> Column:
    return without_loss(name, _numbers(name, values, rows, "float64"), rows, "float64")


def _short_floats(name: str, values: Any, rows: Column) -> Column:
    return without_loss(name, _numbers(name, values, rows, "float32"), rows, "float32")


def _integers(name: str, values: Any, rows: Column) -> Column:
    return without_loss(name, _numbers(name, values, rows, "int64"), rows, "int64")


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
    # one by one only where there are other types, such as NumPy's own text
    if set(map(type, texts)) - {str} and (wrong := [at for at, text in enumerate(texts) if not isinstance(text, str)]):
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


def _contents(name: str, values: Any, rows: Column) -> Column:
    """Objects of bytes; NumPy's fixed-width bytes are refused, since they lose zeros at their end."""
    if len(values) and values.dtype.kind != "O":
        raise _not_readable(name, "bytes", values)
    column = np.empty(len(values), object)
    column[:] = _objects(name, values, rows, "bytes", lambda value: isinstance(value, bytes)) if len(values) else []
    return column


_READERS: dict[str, Callable[[str, Any, Column], Column]] = {
    "float64": _floats,
    "float32": _short_floats,
    "int64": _integers,
    "bool": _booleans,
    "string": _texts,
    "timestamp": _timestamps,
    "bytes": _contents,
}
