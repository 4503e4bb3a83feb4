"""Rows of a request, from columns."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np

from tandem import Bundle, Contract, Field
from tandem.dtypes import Column, is_ragged, nan_rows


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


def example_row(bundle: Bundle) -> dict[str, Any]:
    """The first of a bundle's golden rows, as a client would send it."""
    inputs = bundle.golden_inputs().inputs
    if inputs is None:
        return {}
    return rows_of(bundle.contract, inputs.take(slice(0, 1)).request)[0]


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
