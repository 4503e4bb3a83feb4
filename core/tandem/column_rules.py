"""Columns that came as tensors, checked against the rules of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tandem.contract import Contract
from tandem.dtypes import Column, Columns, is_ragged, nan_rows, split_ragged
from tandem.errors import ContractViolation, Violation
from tandem.fields import FINITE, HOLDS, SIGNS, Field

MAX_VIOLATIONS = 100
"""An error lists at most this many broken rules."""

RowErrors = dict[int, ContractViolation]
"""Errors by row of a batch."""


def fill_nulls(contract: Contract, columns: Mapping[str, Column]) -> Columns:
    """Columns that came as tensors, with the filler of the field where they have a null: a NaN or NaT.

    Args:
        contract: The contract.
        columns: A column of the right dtype for each field. A required field is left as it is.
    """
    return {name: _filled(contract.inputs[name], column) for name, column in columns.items()}


def check_columns(contract: Contract, columns: Mapping[str, Column]) -> None:
    """Check columns that came as tensors against the contract.

    Args:
        contract: The contract.
        columns: A column of the right dtype for each field.

    Raises:
        ContractViolation: with the first hundred broken rules.
    """
    violations: list[Violation] = []
    for name, field in contract.inputs.items():
        for rule, wrong in _broken(field, columns[name]):
            # cut before the objects are made: a batch may break a rule in every row
            violations += [Violation(int(row), name, rule) for row in np.flatnonzero(wrong)[:MAX_VIOLATIONS]]
    if violations:
        raise ContractViolation(sorted(violations, key=lambda violation: violation.row or 0)[:MAX_VIOLATIONS])


def refuse_rows(contract: Contract, columns: Mapping[str, Column], nulls: Mapping[str, Column]) -> RowErrors:
    """For each row that breaks the contract, the error that a client would get for it alone.

    Args:
        contract: The contract.
        columns: A column of the right dtype for each field.
        nulls: For fields with nulls that no filler stands for, where these are: ``bool``, shape ``(rows,)``.
    """
    violations: dict[int, list[Violation]] = {}
    for name, field in contract.inputs.items():
        null = nulls.get(name)
        if null is not None:
            _note(violations, Violation(None, name, "must not be null"), null)
        for rule, wrong in _broken(field, columns[name]):
            _note(violations, Violation(None, name, rule), wrong if null is None else wrong & ~null)
    return {row: ContractViolation(broken) for row, broken in violations.items()}


def _note(violations: dict[int, list[Violation]], violation: Violation, rows: Column) -> None:
    for row in np.flatnonzero(rows).tolist():
        violations.setdefault(row, []).append(violation)


def _filled(field: Field, column: Column) -> Column:
    if field.required or column.dtype.kind not in "fM":
        return column
    null = nan_rows(column) if column.dtype.kind == "f" else np.isnat(column)
    if not np.count_nonzero(null):
        return column
    return np.where(null if column.ndim == 1 else null[:, None], np.array(field.filler, field.dtype), column)


def _broken(field: Field, column: Column) -> Iterable[tuple[str, Column]]:
    """Broken rules with the rows that break them."""
    if column.ndim == 2:
        yield from _broken_by_arrays(field, column)
        return
    yield from _broken_by_numbers(field, column)
    if field.type == "timestamp" and not field.optional:
        yield "must be given", np.isnat(column)
    if field.max_bytes is not None:
        sizes = np.fromiter(map(len, column.tolist()), np.int64, len(column))
        yield f"must have at most {field.max_bytes} bytes", sizes > field.max_bytes
    if field.enum is not None:
        yield f"must be one of {', '.join(map(str, field.enum))}", ~np.isin(column, np.array(field.enum, field.dtype))


def _broken_by_numbers(field: Field, numbers: Column) -> Iterable[tuple[str, Column]]:
    """Broken rules about numbers, and where they are broken; the shape is that of the numbers."""
    absent = np.zeros(numbers.shape, bool)
    if field.type in FINITE:
        not_given_allowed = field.optional and field.default is None
        # NaN stands for a field that was left out, which no bound applies to
        absent = np.isnan(numbers) if not_given_allowed else absent
        wrong = ~np.isfinite(numbers) & ~absent
        if wrong.any():
            yield FINITE[field.type], wrong
            # a value that is not finite breaks this rule alone, not each bound too
            absent = absent | wrong
    for rule, bound in field.bounds.items():
        wrong = ~HOLDS[rule](numbers, bound) & ~absent
        if wrong.any():
            yield f"must be {SIGNS[rule]} {bound}", wrong


def _broken_by_arrays(field: Field, column: Column) -> Iterable[tuple[str, Column]]:
    """The same for arrays, number by number."""
    numbers, counted = split_ragged(column) if is_ragged(field.type) else (column, None)
    # of all numbers at once: one after another would take milliseconds for an embedding
    for rule, wrong in _broken_by_numbers(field.number, numbers):
        wrong = wrong if counted is None else wrong & counted
        for index in np.flatnonzero(wrong.any(axis=0)).tolist():
            yield f"number {index} {rule}", wrong[:, index]
