"""A batch whose rows are answered by different sources: its rows by source, and their answers put together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tandem.dtypes import Columns
from tandem.errors import ContractViolation, RequestError
from tandem.inputs import Degradation, Inputs

Rows = NDArray[np.intp]
"""Indices of rows of a batch, ascending: shape ``(rows of the part,)``."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the rows of a batch are answered with.

    Attributes:
        rows: The rows that have an answer.
        columns: A column for each field of the answer, with an entry for each of these rows; none without rows.
        degraded: For rows with stored values that were not used: why, and what stands for them, by view.
        refused: For each other row: the error for the client.
    """

    rows: Rows
    columns: Columns
    degraded: Mapping[int, Mapping[str, Degradation]]
    refused: Mapping[int, RequestError]


def take(columns: Columns, rows: Rows) -> Columns:
    """Some rows of every column, contiguous."""
    # NumPy picks other inner loops for strided columns, and those may differ in the last bit; an index array copies
    return {name: column[rows] for name, column in columns.items()}


def without_views(inputs: Inputs, rows: Rows) -> Inputs:
    """Some rows as a model without views takes them."""
    return Inputs(take(inputs.request, rows), (), inputs.as_of[rows])


def merge(names: Iterable[str], rows: int, parts: Sequence[tuple[Rows, Columns]]) -> Columns:
    """Columns of all rows of a batch, from those of its parts.

    Args:
        names: Names of the columns, in their order.
        rows: Rows of the batch, each in one of the parts.
        parts: At least one: which rows a part has, and their columns, of the same dtypes in each.
    """
    merged: Columns = {}
    for name in names:
        column = parts[0][1][name]
        merged[name] = np.empty((rows, *column.shape[1:]), column.dtype)
        for indices, columns in parts:
            merged[name][indices] = columns[name]
    return merged


@contextmanager
def counting_in_batch(rows: Rows) -> Iterator[None]:
    """Within the block, errors about rows of a part become errors about the same rows of the batch.

    Args:
        rows: Which rows of the batch those of the part are.

    Raises:
        RequestError: as raised in the block.
    """
    try:
        yield
    except RequestError as error:
        raise _renumber(error, rows) from error


def _renumber(error: RequestError, rows: Rows) -> RequestError:
    if not error.details:
        return error
    if isinstance(error, ContractViolation):
        return ContractViolation([replace(violation, row=_row(violation.row, rows)) for violation in error.violations])
    details = [{**detail, "row": _row(detail["row"], rows)} for detail in error.details]
    text = str(error).replace(f"row {error.details[0]['row']}", f"row {details[0]['row']}", 1)
    return type(error)(text, code=error.code, details=details, retry_after=error.retry_after)


def _row(row: int | None, rows: Rows) -> int | None:
    return None if row is None else int(rows[row])
