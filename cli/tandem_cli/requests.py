"""Rows of a request, from columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tandem import Bundle, Contract
from tandem.dtypes import Column


def rows_of(contract: Contract, columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    """JSON-encodable rows of a request; missing values are left out.

    Args:
        contract: The deployment API.
        columns: A column for each of its fields.
    """
    values = {name: _values(columns[name]) for name in contract.inputs}
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


def _values(column: Column) -> list[Any]:
    if column.dtype.kind == "M":
        return [None if np.isnat(instant) else f"{instant}Z" for instant in column]
    return [None if isinstance(value, float) and math.isnan(value) else value for value in column.tolist()]
