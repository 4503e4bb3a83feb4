"""Types of fields and features, and the NumPy columns that hold their values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

ScalarType = Literal["float64", "int64", "bool", "string", "timestamp"]
"""Types of single values. ``timestamp`` is an instant in UTC with microseconds."""

FieldType = str
"""Types of fields and features: a :data:`ScalarType`, or ``float64[8]`` for arrays of 8 numbers, such as embeddings."""

Column = NDArray[Any]
"""One entry per row: shape ``(rows,)``, or ``(rows, n)`` for arrays of ``n`` numbers; see :func:`numpy_dtype`."""

Columns = dict[str, Column]
"""Columns by name, all of the same length."""

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "int64": np.dtype(np.int64),
    "bool": np.dtype(np.bool_),
    # not fixed-width: that would drop NULs at the end, and take the longest string for each row
    "string": np.dtype(object),  # of str
    "timestamp": np.dtype("datetime64[us]"),
}

_ARRAY_TYPE = re.compile(r"float64\[([1-9]\d{0,4})\]")

ZonedDatetime = Annotated[datetime, msgspec.Meta(tz=True)]
"""How msgspec reads a timestamp: RFC 3339, refused without a zone."""


def array_length(type_: FieldType) -> int | None:
    """Numbers in a value of an array type: 8 for ``float64[8]``; None for a single value."""
    match = _ARRAY_TYPE.fullmatch(type_)
    return int(match[1]) if match else None


def numpy_dtype(type_: FieldType) -> np.dtype[Any]:
    """Dtype of a column; arrays have that of their numbers."""
    return NUMPY_DTYPES[type_.partition("[")[0]]


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
