"""Types of fields and features, and the NumPy columns that hold their values.

A type is written as text: a :data:`ScalarType`; ``float32[384]`` for arrays of 384 numbers, such as embeddings; or
``int64[<=50]`` for arrays of at most 50 numbers, such as the last things that somebody bought.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

ScalarType = Literal["float64", "float32", "int64", "bool", "string", "timestamp", "bytes"]
"""Types of single values. ``timestamp`` is an instant in UTC with microseconds, ``bytes`` a file such as an image."""

FieldType = str
"""Types of fields and features: a :data:`ScalarType`, ``NUMBER[N]``, or ``NUMBER[<=N]``, where ``NUMBER`` is
``float64``, ``float32`` or ``int64``."""

Column = NDArray[Any]
"""One entry per row: shape ``(rows,)``, or ``(rows, n)`` for arrays; see :func:`numpy_dtype` and
:func:`column_width`."""

Columns = dict[str, Column]
"""Columns by name, all of the same length."""

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "int64": np.dtype(np.int64),
    "bool": np.dtype(np.bool_),
    # not fixed-width: that would drop NULs at the end, and take the longest string for each row
    "string": np.dtype(object),  # of str
    "timestamp": np.dtype("datetime64[us]"),
    "bytes": np.dtype(object),  # of bytes
}

_ARRAY_TYPE = re.compile(r"(?:float64|float32|int64)\[(<=)?([1-9]\d{0,4})\]")

ZonedDatetime = Annotated[datetime, msgspec.Meta(tz=True)]
"""How msgspec reads a timestamp: RFC 3339, refused without a zone."""


@cache
def array_length(type_: FieldType) -> int | None:
    """Most numbers in a value of an array type: 8 for ``float64[8]`` and ``float64[<=8]``; None for a single value."""
    match = _ARRAY_TYPE.fullmatch(type_)
    return int(match[2]) if match else None


@cache
def is_ragged(type_: FieldType) -> bool:
    """Whether the values of a type are arrays of different length: ``int64[<=50]``."""
    match = _ARRAY_TYPE.fullmatch(type_)
    return match is not None and match[1] is not None


@cache
def column_width(type_: FieldType) -> int | None:
    """Elements per row of a column; None for a column of single values.

    Of ``float32[8]`` these are the 8 numbers. Of ``int64[<=8]`` they are 9: the numbers, zeros up to the greatest
    length, and the length itself. So one column has all of it, and is stored, sliced and joined like any other; a
    pipeline splits it with :func:`split_ragged` before a transform sees it.
    """
    length = array_length(type_)
    return length if length is None or not is_ragged(type_) else length + 1


def element_type(type_: FieldType) -> str:
    """The type itself, or that of an array's numbers."""
    return type_.partition("[")[0]


@cache
def numpy_dtype(type_: FieldType) -> np.dtype[Any]:
    """Dtype of a column; arrays have that of their numbers."""
    return NUMPY_DTYPES[type_.partition("[")[0]]


def mask_column(name: str) -> str:
    """Name of the column that says which numbers of a column of arrays of different length count."""
    return f"{name}_mask"


def pad_ragged(arrays: Sequence[Any], type_: FieldType) -> Column:
    """Arrays of different length as one column, shape ``(len(arrays), column_width(type_))``; none may be too long."""
    column = np.zeros((len(arrays), column_width(type_) or 0), numpy_dtype(type_))
    for row, array in zip(column, arrays, strict=True):
        row[: len(array)] = array
        row[-1] = len(array)
    return column


def split_ragged(column: Column) -> tuple[Column, Column]:
    """The numbers of a column of :func:`pad_ragged`, and a mask of those that count.

    Returns:
        The numbers, shape ``(rows, n)``, zeros after the last of a row; and ``bool`` of the same shape. Both are
        C-contiguous.
    """
    numbers = np.ascontiguousarray(column[:, :-1])
    return numbers, np.arange(numbers.shape[1]) < column[:, -1:]


def parse_timestamp(value: str | datetime) -> np.datetime64 | None:
    """Instant of an RFC 3339 timestamp with a zone, in UTC with microseconds; None if it is not one."""
    try:
        moment = msgspec.convert(value, ZonedDatetime)
    except msgspec.ValidationError:
        return None
    return to_datetime64([moment])[0]  # type: ignore[no-any-return]


def to_datetime64(moments: Sequence[datetime]) -> Column:
    """Column of zoned :class:`datetime.datetime` objects as ``datetime64[us]`` in UTC; shape ``(len(moments),)``."""
    return np.array([naive_utc(moment) for moment in moments], dtype="datetime64[us]")


def naive_utc(moment: datetime) -> datetime:
    """A zoned :class:`datetime.datetime` in UTC, without its zone, as NumPy reads it."""
    if moment.tzinfo is not UTC:
        # beyond the first and the last day that there is, a zone's offset cannot be taken off
        with suppress(OverflowError):
            moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None)


def nan_rows(column: Column) -> Column:
    """Where a ``float64`` column has a NaN, or an array with one; ``bool``, shape ``(rows,)``."""
    nan: Column = np.isnan(column)
    return nan if nan.ndim == 1 else np.any(nan, axis=1)
