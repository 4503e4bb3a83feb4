"""Request columns of a table, checked against the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tandem.column_rules import MAX_VIOLATIONS, check_columns
from tandem.columns import read_column
from tandem.contract import Contract
from tandem.dtypes import Columns
from tandem.errors import ContractViolation, DefinitionError, Violation
from tandem.tables import Table, columns_of


def read_rows(contract: Contract, table: Table) -> Columns:
    """Request columns of a table with a column for each field, which those that may be left out may lack.

    Raises:
        ContractViolation: naming field and rule, and the row where there is one.
        DefinitionError: if it is not a table.
    """
    columns = columns_of(table)
    rows = len(next(iter(columns.values())))
    violations = _shape_violations(contract, columns, rows)
    request: Columns = {name: field.filling(rows) for name, field in contract.inputs.items() if not field.required}
    for name, field in contract.inputs.items():
        if name not in columns:
            continue
        try:
            request[name], null = read_column(name, columns[name], field.type)
        except DefinitionError as error:
            violations.append(Violation(None, name, str(error)))
            continue
        if null is not None and field.required:
            violations += [Violation(int(row), name, "must not be null") for row in np.flatnonzero(null)]
        elif null is not None:
            request[name][null] = np.array(field.filler, field.dtype)
    if violations:
        raise ContractViolation(violations[:MAX_VIOLATIONS])
    check_columns(contract, request)
    return request


def _shape_violations(contract: Contract, columns: Mapping[str, Any], rows: int) -> list[Violation]:
    """Fields that the table has and the contract does not, required fields that it lacks, and the lack of rows."""
    violations = [Violation(None, str(name), "unknown field") for name in columns if name not in contract.inputs]
    violations += [
        Violation(None, name, "is required")
        for name, field in contract.inputs.items()
        if field.required and name not in columns
    ]
    if not rows:
        violations.append(Violation(None, "rows", "must have at least one row"))
    return violations
