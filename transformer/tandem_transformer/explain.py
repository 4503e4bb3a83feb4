"""Vectors in answers and errors: which value of which column a model was given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tandem.errors import Internal, RequestError
from tandem.inputs import Tensors
from tandem.signature import Signature

MAX_VECTORS: Final = 100
"""An error shows the vectors of at most so many rows."""


def describe_vector(signature: Signature, tensors: Tensors, row: int) -> dict[str, Any]:
    """The values that went into the model for one row, by column; JSON has ``"NaN"`` and ``"Infinity"`` as strings.

    Args:
        signature: Names the columns.
        tensors: The model's inputs, rows along the first axis.
        row: Index of the row.
    """
    return {
        name: _plain(value)
        for spec in signature.inputs
        for name, value in zip(spec.columns, tensors[spec.name][row].reshape(-1).tolist(), strict=True)
    }


def describe_vectors(signature: Signature, tensors: Tensors) -> list[dict[str, Any]]:
    """The vectors of the rows, the first hundred."""
    rows = len(next(iter(tensors.values())))
    return [describe_vector(signature, tensors, row) for row in range(min(rows, MAX_VECTORS))]


def name_causes(error: RequestError, signature: Signature, tensors: Tensors) -> RequestError:
    """The same error; one about a prediction that is not finite names the columns of the vector that are not either.

    Args:
        error: The error for the client.
        signature: Names the columns.
        tensors: The model's inputs, of the rows that ``error`` counts.
    """
    if error.code != "prediction_not_finite":
        return error
    rows = [detail["row"] for detail in error.details]
    columns = _not_finite(signature, tensors, rows)
    if not columns:
        return error
    values = ", ".join(f"{name!r} is {value}" for name, value in columns.items())
    return Internal(f"{error}; in the vector of row {rows[0]}, {values}", code=error.code, details=error.details)


def _not_finite(signature: Signature, tensors: Tensors, rows: Sequence[int]) -> dict[str, float]:
    """Columns of the first row's vector whose values are not finite."""
    columns: dict[str, float] = {}
    for spec in signature.inputs:
        values = tensors[spec.name][rows[0]].reshape(-1) if rows else np.zeros(0)
        if values.dtype.kind == "f":
            columns |= {
                name: value
                for name, value in zip(spec.columns, values.tolist(), strict=True)
                if not math.isfinite(value)
            }
    return columns


def _plain(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
