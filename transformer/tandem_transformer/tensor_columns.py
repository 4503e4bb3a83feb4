"""Columns of a request's tensors: which shapes a field takes, and what its values become."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tandem.column_rules import MAX_VIOLATIONS
from tandem.dtypes import Column, column_width, is_ragged, mask_column, parse_timestamp
from tandem.errors import ContractViolation, Violation
from tandem.fields import Field
from tandem.oip import Tensor


def describe_shape(field: Field) -> list[int]:
    """The shape of a field's tensor as metadata has it, -1 where a dimension is free."""
    if field.length is None:
        return [-1]
    return [-1, -1 if is_ragged(field.type) else field.length]


def broken_shape_rule(field: Field, shape: Sequence[int]) -> str | None:
    """Why a tensor of a shape cannot be the field's; None if it can."""
    if not _has_shape(shape, field):
        length = f"at most {field.length}" if is_ragged(field.type) else f"{field.length}"
        shapes = "[rows] or [rows, 1]" if field.length is None else f"[rows, {length}]"
        return f"must have shape {shapes}, not {list(shape)}"
    return None if shape[0] else "must have at least one row"


def broken_mask_rule(name: str, mask: Tensor, values: Tensor | None) -> str | None:
    """Why a tensor cannot be the mask of the field of that name; None if it can."""
    if values is None:
        return f"is the mask of {name}, which is missing"
    if mask.datatype != "BOOL":
        return "must have datatype BOOL"
    shapes = f"must have the shape of {name}, {list(values.shape)}, not {list(mask.shape)}"
    return shapes if mask.shape != values.shape else None


def read_column(name: str, field: Field, tensor: Tensor, mask: Tensor | None) -> Column:
    """The column of a field; a value that its dtype cannot hold becomes infinite.

    Args:
        name: The field's name.
        field: The field.
        tensor: Its tensor, of a datatype and shape that the field takes.
        mask: For arrays of different length, which numbers count; None if all do.

    Raises:
        ContractViolation: for a text that is not UTF-8 or no timestamp, or a mask with a gap.
    """
    data = tensor.data.reshape(tensor.shape[0] if field.length is None else tensor.shape)
    if field.type == "string":
        return _texts(name, data)
    if field.type == "timestamp":
        # microseconds since 1970, of which the smallest is NaT: not given
        return data.astype("datetime64[us]") if tensor.datatype == "INT64" else _timestamps(name, _texts(name, data))
    if field.type in ("float64", "int64", "bool"):
        return np.ascontiguousarray(data, dtype=field.dtype)
    if field.scalar == "float32":
        with np.errstate(over="ignore"):
            data = np.ascontiguousarray(data, dtype=field.dtype)
    if is_ragged(field.type):
        return _padded(name, field, data, mask)
    return np.ascontiguousarray(data, dtype=field.dtype)


def _has_shape(shape: Sequence[int], field: Field) -> bool:
    length = field.length
    if length is not None and is_ragged(field.type):
        return len(shape) == 2 and shape[1] <= length
    return (len(shape) == 1 and length is None) or (len(shape) == 2 and shape[1] == (length or 1))


def _padded(name: str, field: Field, data: Column, mask: Tensor | None) -> Column:
    """Arrays of different length as one column; see :func:`~tandem.dtypes.column_width`."""
    rows, width = data.shape
    counts = np.ones(data.shape, bool) if mask is None else mask.data
    sizes = np.count_nonzero(counts, axis=1)
    if gaps := np.flatnonzero((counts != (np.arange(width) < sizes[:, None])).any(axis=1)).tolist():
        rule = "must be true for the numbers of a row, and false after the last"
        raise ContractViolation([Violation(row, mask_column(name), rule) for row in gaps[:MAX_VIOLATIONS]])
    column = np.zeros((rows, column_width(field.type) or 0), field.dtype)
    # what stands in the padding is not looked at
    np.copyto(column[:, :width], data, where=counts)
    column[:, -1] = sizes
    return column


def _texts(name: str, data: Column) -> Column:
    texts = np.empty(len(data), object)
    for row, value in enumerate(data.tolist()):
        try:
            texts[row] = value.decode()
        except UnicodeDecodeError:
            raise ContractViolation([Violation(row, name, "must be UTF-8")]) from None
    return texts


def _timestamps(name: str, texts: Column) -> Column:
    moments = [parse_timestamp(text) for text in texts.tolist()]
    rule = "must be an RFC 3339 timestamp with a time zone, such as 2026-05-01T08:00:00Z"
    wrong = [Violation(row, name, rule) for row, moment in enumerate(moments) if moment is None]
    if wrong:
        raise ContractViolation(wrong[:MAX_VIOLATIONS])
    return np.array(moments, "datetime64[us]")
