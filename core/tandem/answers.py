"""Fields of the answer from the output tensors of the model, checked before they go out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.contract import Prediction
from tandem.dtypes import Column, FieldType, array_length
from tandem.errors import Internal
from tandem.evaluation import as_answer_column


def select_prediction(prediction: Prediction, output: NDArray[Any]) -> NDArray[Any]:
    """The prediction's column of its output; all of it for an array."""
    if prediction.column is None:
        return flatten(output) if array_length(prediction.type) is None else output
    if output.ndim != 2 or output.shape[1] <= prediction.column:
        raise Internal(
            f"{prediction.name} is column {prediction.column} of an output of shape {output.shape}, which has none",
            code="transform_failed",
        )
    # NumPy picks other inner loops for strided columns
    return np.ascontiguousarray(output[:, prediction.column])


def flatten(output: NDArray[Any]) -> NDArray[Any]:
    """An output of shape ``(rows, 1)`` as a column; any other as it is."""
    return output.reshape(len(output)) if output.ndim == 2 and output.shape[1] == 1 else output


def check_answer(name: str, values: Column, type_: FieldType) -> Column:
    """A field of the answer, checked."""
    length = array_length(type_)
    if values.ndim != 1 if length is None else values.shape[1:] != (length,):
        shape = "one value" if length is None else f"{length} numbers"
        raise Internal(f"{name} must have {shape} per row, not shape {values.shape}", code="transform_failed")
    try:
        column = as_answer_column(values, type_)
    except (TypeError, ValueError) as error:
        raise Internal(f"{name} must be of type {type_}: {error}", code="transform_failed") from error
    # count_nonzero is faster than all() on short columns
    if column.dtype.kind == "f" and np.count_nonzero(np.isfinite(column)) < column.size:
        rows = np.flatnonzero(~np.isfinite(column).reshape(len(column), -1).all(axis=1)).tolist()
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise Internal(
            f"row {rows[0]}: {name} is {column[rows[0]]}{more}",
            code="prediction_not_finite",
            details=[{"row": row, "field": name, "rule": "must be finite"} for row in rows],
        )
    return column
