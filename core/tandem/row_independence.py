"""The check that a transform treats each row by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tandem.dtypes import Column
from tandem.errors import DefinitionError
from tandem.evaluation import evaluate
from tandem.transforms import Transform


def check_row_independence(transform: Transform, columns: Mapping[str, Column], state: Mapping[str, Any]) -> None:
    """Reject a transform whose result for a row depends on the other rows.

    The transform runs on all rows, on each of up to 16 rows alone, on halves, and in reverse; all results must be
    equal bit for bit.

    Args:
        transform: The transform.
        columns: Sample of its inputs; at least two rows.
        state: Its state.

    Raises:
        DefinitionError: naming the transform and a row that changes with its neighbours.
    """
    with np.errstate(all="ignore"):
        whole = evaluate(transform, columns, state)
        rows = len(whole)
        selections = [np.array([row]) for row in range(0, rows, max(1, rows // 16))]
        selections += [np.arange(rows // 2), np.arange(rows // 2, rows), np.arange(rows)[::-1]]
        for selection in selections:
            if not len(selection):
                continue
            # contiguous, as in serving: NumPy may take another loop for strided columns, with another last bit
            arguments = {name: np.ascontiguousarray(columns[name][selection]) for name in transform.inputs}
            differs = ~_equal(evaluate(transform, arguments, state), whole[selection])
            if differs.any():
                row = int(selection[np.flatnonzero(differs)[0]])
                raise DefinitionError(
                    f"{transform.name} is not row-independent: row {row} of {rows} gets another value when computed "
                    f"among {len(selection)} row(s); a transform must not use mean, std, sort, cumulative sums … "
                    "across rows"
                )


def _equal(left: Any, right: Any) -> Any:
    """Rows that are equal bit for bit, NaN equal to NaN; ``bool``, shape ``(rows,)``."""
    # the dtype of a result may depend on the rows too, as with object columns
    if left.shape != right.shape or left.dtype != right.dtype:
        return np.zeros(len(left), bool)
    same = left == right
    if left.dtype.kind in "fmM":
        same |= np.isnan(left) & np.isnan(right) if left.dtype.kind == "f" else np.isnat(left) & np.isnat(right)
    return same.reshape(len(left), -1).all(axis=1)
