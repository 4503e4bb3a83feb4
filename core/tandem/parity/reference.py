"""What the pipeline and ONNX Runtime make of a sample, all rows at once: what the modes are compared with."""

from __future__ import annotations

import numpy as np

from tandem.answer_parts import Answers, Rows
from tandem.bundle import Bundle
from tandem.embedded import EmbeddedModel
from tandem.errors import RequestError
from tandem.inputs import Inputs
from tandem.parity.results import RecordingPipeline, Results, by_simpler_model


def compute_results(bundle: Bundle, inputs: Inputs) -> Results:
    """Results of inputs whose features are looked up already.

    A row without an answer costs ``2 log2(n)`` further passes over parts of the rows, unless the error names it.

    Args:
        bundle: The version.
        inputs: At least one row.
    """
    model = EmbeddedModel(bundle)
    model.pipeline = recording = RecordingPipeline(bundle)
    results = Results.of(inputs)
    pending: list[Rows] = [np.arange(len(inputs), dtype=np.intp)]
    while pending:
        rows = pending.pop()
        try:
            answers = model.answer(inputs.take(rows))
        except RequestError as error:
            recording.take(0)
            pending += divide_rows(rows, error, results)
        else:
            put_answers(results, rows, answers, recording)
    return results


def put_answers(results: Results, rows: Rows, answers: Answers, recording: RecordingPipeline) -> None:
    """Keep what a model answered to some rows, and the vectors that it was given for them.

    Args:
        results: Where they are kept.
        rows: The rows.
        answers: Of :meth:`~tandem.embedded.EmbeddedModel.answer`.
        recording: The pipeline of the model.
    """
    results.put_answers(rows[answers.rows], answers.columns)
    results.put_degraded(rows, {row: why for row, why in answers.degraded.items() if row not in answers.refused})
    results.errors |= {int(rows[row]): error.code for row, error in answers.refused.items()}
    own = np.setdiff1d(answers.rows, list(by_simpler_model(answers.degraded)))
    vectors = recording.take(len(own))
    if vectors is not None:
        results.put_vectors(rows[own], vectors)


def divide_rows(rows: Rows, error: RequestError, results: Results) -> list[Rows]:
    """Smaller parts of rows that failed together: those that the error names alone, else halves.

    Args:
        rows: The rows.
        error: The error, which counts among these rows.
        results: Where the error of a row that failed alone is kept.
    """
    if len(rows) == 1:
        results.errors[int(rows[0])] = error.code
        return []
    named = sorted({detail["row"] for detail in error.details if detail.get("row") is not None})
    if not named:
        half = len(rows) // 2
        return [rows[:half], rows[half:]]
    unnamed = np.delete(rows, named)
    return [*(rows[row : row + 1] for row in named), *([unnamed] if len(unnamed) else [])]
