"""Rows with features to answers: one pass of the pipeline and the model for a batch, in which a bad row fails alone.

What a row cannot be predicted for becomes an error with the code that a client would get online.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from tandem.answer_parts import Answers, Rows, counting_in_batch
from tandem.arrow_tables import without_string_views
from tandem.dtypes import Column, Columns
from tandem.embedded import EmbeddedModel
from tandem.errors import DefinitionError, RequestError, TandemError
from tandem.inputs import Degradation
from tandem.table_inputs import inputs_row_by_row

INVALID_VALUE: Final = "invalid_value"
"""Code of rows with a value that its column's type cannot hold, such as an infinity."""


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row has no prediction.

    Attributes:
        code: The code of the error, as in ``docs/errors.md``, or :data:`INVALID_VALUE`.
        message: What is wrong, for people.
    """

    code: str
    message: str


@dataclass(slots=True)
class Scored:
    """What became of the rows of a batch.

    Attributes:
        rows: How many there are.
        columns: A column for each field of the answer, with zeros in rows that have none; empty if no row has one.
        degraded: For rows with stored values that were not used: why, and what stands for them, by view.
        errors: For each row without an answer, why.
    """

    rows: int
    columns: Columns = field(default_factory=dict)
    degraded: dict[int, Mapping[str, Degradation]] = field(default_factory=dict)
    errors: dict[int, RowError] = field(default_factory=dict)

    @property
    def unanswered(self) -> Column:
        """Where a row has no answer: ``bool``, shape ``(rows,)``."""
        mask = np.zeros(self.rows, bool)
        mask[list(self.errors)] = True
        return mask

    def add(self, rows: Rows, answers: Answers) -> None:
        """Keep the answers to some of the rows."""
        answered = rows[answers.rows]
        if len(answered) == self.rows:
            self.columns = answers.columns
        else:
            for name, column in answers.columns.items():
                if name not in self.columns:
                    self.columns[name] = np.zeros((self.rows, *column.shape[1:]), column.dtype)
                self.columns[name][answered] = column
        for row, error in answers.refused.items():
            self.errors[int(rows[row])] = RowError(error.code, str(error))
        for row, reasons in answers.degraded.items():
            if row not in answers.refused:
                self.degraded[int(rows[row])] = reasons


def score(model: EmbeddedModel, batch: pa.RecordBatch) -> Scored:
    """Answers for rows with their features, and the reasons why some have none.

    A row that fails costs ``2 log2(n)`` further passes over parts of the batch, unless the error names it.

    Args:
        model: The version.
        batch: At least one row, with the columns of a :class:`~tandem_offline.feature_table.FeatureTable`.
    """
    batch = without_string_views(batch)
    scored = Scored(batch.num_rows)
    pending: list[Rows] = [np.arange(batch.num_rows, dtype=np.intp)]
    while pending:
        rows = pending.pop()
        try:
            _score_rows(model, batch, rows, scored)
        except (DefinitionError, RequestError) as error:
            pending += _refuse_or_divide(rows, error, scored)
    return scored


def _score_rows(model: EmbeddedModel, batch: pa.RecordBatch, rows: Rows, scored: Scored) -> None:
    table = batch if len(rows) == batch.num_rows else batch.take(pa.array(rows, pa.int64()))
    inputs, violations = inputs_row_by_row(model.bundle.model, table)
    valid = np.delete(np.arange(len(rows), dtype=np.intp), sorted(violations))
    if len(valid):
        with counting_in_batch(valid):
            answers = model.answer(inputs.take(valid) if violations else inputs)
        scored.add(rows[valid], answers)
    for row, error in violations.items():
        scored.errors[int(rows[row])] = RowError(error.code, str(error))


def _refuse_or_divide(rows: Rows, error: TandemError, scored: Scored) -> list[Rows]:
    """Refuse the rows that an error names, and return the others; if it names none, return halves."""
    details = error.details if isinstance(error, RequestError) else []
    rules = {detail["row"]: f"field {detail['field']!r}: {detail['rule']}" for detail in details}
    named = sorted(row for row in rules if row is not None and row < len(rows))
    if not named:
        if len(rows) == 1:
            scored.errors[int(rows[0])] = _row_error(error)
            return []
        half = len(rows) // 2
        return [rows[:half], rows[half:]]
    for row in named:
        scored.errors[int(rows[row])] = RowError(_row_error(error).code, rules[row])
    unnamed = np.delete(rows, named)
    return [unnamed] if len(unnamed) else []


def _row_error(error: TandemError) -> RowError:
    """An error that is about one row alone."""
    if isinstance(error, RequestError):
        return RowError(error.code, str(error))
    return RowError(INVALID_VALUE, str(error).replace(" in row 0", ""))
