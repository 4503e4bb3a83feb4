"""Columns of a contract as clients send them: rows in JSON, and tensors of the Open Inference Protocol."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tandem.contract import Contract
from tandem.dtypes import Column, is_ragged, mask_column, nan_rows, split_ragged
from tandem.fields import Field
from tandem.oip import Tensor
from tandem.rows import json_values


def rows_of(contract: Contract, columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    """JSON-encodable rows of a request; missing values are left out.

    Args:
        contract: The deployment API.
        columns: A column for each of its fields.
    """
    values = {name: _values(field, columns[name]) for name, field in contract.inputs.items()}
    return [
        {name: value for name, value in zip(values, row, strict=True) if value is not None}
        for row in zip(*values.values(), strict=True)
    ]


def tensors_of(contract: Contract, columns: Mapping[str, Column]) -> list[Tensor]:
    """The tensors of a request, rows along the first axis; missing values are NaN or NaT in them.

    Args:
        contract: The deployment API.
        columns: A column for each of its fields.
    """
    return [tensor for name, field in contract.inputs.items() for tensor in _tensors(name, field, columns[name])]


def _values(field: Field, column: Column) -> list[Any]:
    if field.type == "bytes":
        return [b64encode(content).decode() for content in column.tolist()]
    if is_ragged(field.type):
        return [numbers[: int(size)] for *numbers, size in column.tolist()]
    if field.length is not None:
        missing = nan_rows(column).tolist()
        return [None if absent else numbers for numbers, absent in zip(column.tolist(), missing, strict=True)]
    if column.dtype.kind == "M":
        return [None if np.isnat(instant) else f"{instant}Z" for instant in column]
    return [None if isinstance(value, float) and math.isnan(value) else value for value in column.tolist()]


def _tensors(name: str, field: Field, column: Column) -> Iterator[Tensor]:
    if is_ragged(field.type):
        numbers, mask = split_ragged(column)
        yield Tensor.of(name, numbers)
        yield Tensor.of(mask_column(name), mask)
    elif field.type == "timestamp" and np.isnat(column).any():
        # text has no form for a time that is not given; among numbers it is the smallest
        yield Tensor.of(name, column.astype(np.int64))
    elif field.type == "bytes":
        yield Tensor(name, "BYTES", column.shape, column)
    elif field.type in ("string", "timestamp"):
        texts = np.empty(len(column), object)
        texts[:] = [text.encode() for text in json_values(column)]
        yield Tensor(name, "BYTES", texts.shape, texts)
    else:
        yield Tensor.of(name, np.ascontiguousarray(column))
