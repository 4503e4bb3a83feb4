"""Which of Feast's types are which of Tandem's, and values of Feast as columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
from feast import Field as FeastField
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

from tandem.dtypes import Column, FieldType, array_length, naive_utc, numpy_dtype

_TYPES: Final[dict[Any, FieldType]] = {
    Int32: "int64",
    Int64: "int64",
    Float32: "float64",
    Float64: "float64",
    Bool: "bool",
    String: "string",
    UnixTimestamp: "timestamp",
}
_KEY_TYPES: Final = ("int64", "string")


def feature_type(field: FeastField) -> FieldType | None:
    """Tandem's type of a feature; None where it has none, as for bytes, maps and arrays without ``vector_length``."""
    if isinstance(field.dtype, Array) and field.dtype.base_type in (Float32, Float64):
        return f"float64[{field.vector_length}]" if field.vector_length else None
    return _TYPES.get(field.dtype)


def key_type(field: FeastField) -> FieldType | None:
    """Tandem's type of a join key; None where it has none."""
    type_ = feature_type(field)
    return type_ if type_ in _KEY_TYPES else None


def fits(field: FeastField, type_: FieldType) -> bool:
    """Whether values of a field of Feast are values of one of Tandem's types without loss."""
    if isinstance(field.dtype, Array):
        # Feast need not know how many numbers there are
        return field.dtype.base_type in (Float32, Float64) and array_length(type_) is not None
    return feature_type(field) in (type_, "int64" if type_ == "float64" and field.dtype == Int32 else type_)


def column(values: Sequence[Any], type_: FieldType) -> tuple[Column, Column, Column]:
    """A column of values as Feast returns them.

    Args:
        values: None for a null.
        type_: Of the feature.

    Returns:
        The column; where the values are null: ``bool``, shape ``(rows,)``; and where arrays have another length.
    """
    length = array_length(type_)
    null = np.array([value is None for value in values], bool)
    strange = np.zeros(len(values), bool)
    if length is None:
        filler: Any = {"string": "", "timestamp": np.datetime64("NaT", "us")}.get(type_, 0)
        plain = [filler if value is None else _plain(value) for value in values]
        return np.array(plain, numpy_dtype(type_)), null, strange
    strange = np.array([value is not None and len(value) != length for value in values], bool)
    empty = [np.nan] * length
    rows = [empty if value is None or len(value) != length else value for value in values]
    return np.array(rows, numpy_dtype(type_)).reshape(len(values), length), null, strange


def _plain(value: Any) -> Any:
    return np.datetime64(naive_utc(value), "us") if isinstance(value, datetime) else value
