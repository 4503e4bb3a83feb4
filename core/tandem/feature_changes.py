"""Changed features of some entities, laid over what the store has of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tandem.answer_parts import Rows
from tandem.dtypes import Column, Columns
from tandem.errors import Violation
from tandem.features import Feature, ViewUse
from tandem.fields import Field, filler_of
from tandem.packed_rows import ViewColumns

Change = Mapping[str, Any] | None
"""New values of one entity by feature, as JSON has them, null for a null; None if nothing changes."""


@dataclass(frozen=True, slots=True)
class ChangedView:
    """A view with changed features.

    Attributes:
        columns: What is known of its entities now.
        rows: Which of them changed.
        violations: Rules that the changes break; the columns are of no use then.
    """

    columns: ViewColumns
    rows: Rows
    violations: list[Violation]


def apply_changes(use: ViewUse, stored: ViewColumns, changes: Sequence[Change], as_of: Column) -> ChangedView:
    """Lay changed features over stored ones; a feature that does not change keeps its value.

    Args:
        use: The view.
        stored: What the store has.
        changes: One for each row.
        as_of: The time from which the changes hold, by row: ``datetime64[us]``.
    """
    rows = np.array([row for row, change in enumerate(changes) if change is not None], np.intp)
    names = {feature.name for feature in use.view.features}
    violations = [
        Violation(row, f"{use.name}.{name}", "unknown feature")
        for row, change in enumerate(changes)
        for name in (change or {}).keys() - names
    ]
    event_time = stored.event_time.copy()
    columns: Columns = {}
    nulls: dict[str, Column] = {}
    for feature in use.view.features:
        column = stored.columns[feature.name].copy()
        null = stored.nulls.get(feature.name, np.zeros(len(column), bool)) | np.isnat(event_time)
        violations += _change(use, feature, column, null, changes)
        columns[feature.name] = column
        # an entity without a row has no nulls, but no row
        null[np.isnat(event_time) & ~np.isin(np.arange(len(null)), rows)] = False
        if null.any():
            nulls[feature.name] = null
    event_time[rows] = as_of[rows]
    return ChangedView(ViewColumns(columns, event_time, nulls), rows, violations)


def _change(use: ViewUse, feature: Feature, column: Column, null: Column, changes: Sequence[Change]) -> list[Violation]:
    """Put the new values of a feature into its column and its mask of nulls."""
    field, name = Field(feature.type), f"{use.name}.{feature.name}"
    violations = []
    for row, change in enumerate(changes):
        if change is None:
            continue
        value = change.get(feature.name)
        if value is not None and (rule := field.broken_rule(value)):
            violations.append(Violation(row, name, rule))
        elif value is not None:
            column[row] = filler_of(feature.type, value)
            null[row] = False
        elif feature.name in change:
            null[row] = True
        if null[row] and not feature.nullable:
            violations.append(Violation(row, name, "is required: nothing is stored, and it has no default"))
    return violations
