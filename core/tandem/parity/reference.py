"""What the pipeline and ONNX Runtime make of a sample, all rows at once: what the modes are compared with."""

from __future__ import annotations

import numpy as np

from tandem.answer_parts import Answers, Rows
from tandem.embedded import EmbeddedModel
from tandem.errors import RequestError
from tandem.inputs import Inputs
from tandem.parity.results import RecordedRun, Results, by_simpler_model


class Reference:
    """A model that answers all rows of a sample in one batch.

    Args:
        model: The version; used for nothing else.
    """

    def __init__(self, model: EmbeddedModel) -> None:
        self._model = model
        model.run = self._recording = RecordedRun(model.run)

    def compute(self, inputs: Inputs) -> Results:
        """Results of inputs whose features are looked up already.

        A row without an answer costs ``2 log2(n)`` further passes over parts of the rows, unless the error names it.

        Args:
            inputs: At least one row.
        """
        results = Results.of(inputs)
        pending: list[Rows] = [np.arange(len(inputs), dtype=np.intp)]
        while pending:
            rows = pending.pop()
            try:
                answers = self._model.answer(inputs.take(rows))
            except RequestError as error:
                self._recording.take(0)
                pending += _divide(rows, error, results)
            else:
                self._put(results, rows, answers)
        return results

    def _put(self, results: Results, rows: Rows, answers: Answers) -> None:
        results.put_answers(rows[answers.rows], answers.columns)
        results.put_degraded(rows, {row: why for row, why in answers.degraded.items() if row not in answers.refused})
        results.errors |= {int(rows[row]): error.code for row, error in answers.refused.items()}
        own = np.setdiff1d(answers.rows, list(by_simpler_model(answers.degraded)))
        vectors = self._recording.take(len(own))
        if vectors is not None:
            results.put_vectors(rows[own], vectors)


def _divide(rows: Rows, error: RequestError, results: Results) -> list[Rows]:
    """Smaller parts of rows that failed together: those that the error names alone, else halves."""
    if len(rows) == 1:
        results.errors[int(rows[0])] = error.code
        return []
    named = sorted({detail["row"] for detail in error.details if detail.get("row") is not None})
    if not named:
        half = len(rows) // 2
        return [rows[:half], rows[half:]]
    unnamed = np.delete(rows, named)
    return [*(rows[row : row + 1] for row in named), *([unnamed] if len(unnamed) else [])]
