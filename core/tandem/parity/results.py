"""What a mode makes of the rows of a sample: vectors, answers, why stored values were not used, and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from tandem.answer_parts import Rows
from tandem.contract import Contract
from tandem.dtypes import Column, Columns, numpy_dtype, parse_timestamp
from tandem.inputs import Degradation, Inputs, Tensors
from tandem.replay import Run

Degraded = Mapping[int, Mapping[str, Degradation]]
"""For rows with stored values that were not used: why, and what stands for them, by view."""


class RecordedRun:
    """A graph that keeps the tensors that it is given, for modes that do not tell them.

    Args:
        run: The graph.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._calls: list[Tensors] = []

    def __call__(self, tensors: Tensors) -> Tensors:
        """Output tensors for input tensors; raises what the graph does."""
        self._calls.append(tensors)
        return self._run(tensors)

    def take(self, rows: int) -> Tensors | None:
        """The tensors since the last time, if they were given at once for so many rows; None otherwise."""
        calls, self._calls = self._calls, []
        if len(calls) != 1 or len(next(iter(calls[0].values()))) != rows:
            return None
        return calls[0]


@dataclass(slots=True)
class Results:
    """What became of the rows of a sample.

    Attributes:
        as_of: When each row was asked about: ``datetime64[us]``.
        carried: Rows that the mode can carry; the others are not compared: ``bool``, shape ``(rows,)``.
        vectors: The model's input tensors, with anything in rows of which they are not known.
        has_vector: Rows of which they are known: ``bool``, shape ``(rows,)``.
        answers: A column for each field of the answer, with zeros in rows that have none.
        degraded: For each row, why stored values were not used and what stands for them; empty where they were.
        errors: The code of the error, for each row without an answer.
    """

    as_of: Column
    carried: Column
    has_vector: Column
    degraded: list[str]
    vectors: Tensors = field(default_factory=dict)
    answers: Columns = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: Inputs) -> Results:
        """Results for some inputs, as yet without any answer."""
        rows = len(inputs)
        return cls(inputs.as_of.copy(), np.ones(rows, bool), np.zeros(rows, bool), [""] * rows)

    def put_vectors(self, rows: Rows | Sequence[int], vectors: Tensors) -> None:
        """Keep what the model was given for some rows: tensors with an entry for each of them."""
        for name, tensor in vectors.items():
            _put(self.vectors, name, len(self.as_of), rows, tensor)
        self.has_vector[rows] = True

    def put_answers(self, rows: Rows | Sequence[int], answers: Columns) -> None:
        """Keep the answers to some rows: columns with an entry for each of them."""
        for name, column in answers.items():
            _put(self.answers, name, len(self.as_of), rows, column)

    def put_objects(self, contract: Contract, objects: Mapping[int, Mapping[str, Any]]) -> None:
        """Keep answers in JSON, by row."""
        rows, answers = list(objects), list(objects.values())
        if rows:
            self.put_answers(rows, read_answers(contract, answers))
            self.put_degraded(rows, read_degraded(answers))

    def put_degraded(self, rows: Rows | Sequence[int], degraded: Degraded) -> None:
        """Keep why stored values of some rows were not used; their numbers count among these rows."""
        for at, reasons in degraded.items():
            self.degraded[int(rows[at])] = describe(reasons)


def _put(columns: Columns, name: str, size: int, rows: Rows | Sequence[int], values: Column) -> None:
    if name not in columns:
        columns[name] = np.zeros((size, *values.shape[1:]), values.dtype)
    columns[name][rows] = values


def describe(reasons: Mapping[str, Degradation]) -> str:
    """Reasons of one row as the Open Inference Protocol has them, views in alphabetical order."""
    return ",".join(sorted(f"{view}:{reason}" for view, reason in reasons.items()))


def by_simpler_model(degraded: Degraded) -> set[int]:
    """Rows that the simpler model answered, so that the model itself was given no vector of them."""
    return {
        row for row, reasons in degraded.items() if any(reason.source == "simpler_model" for reason in reasons.values())
    }


def read_answers(contract: Contract, objects: Sequence[Mapping[str, Any]]) -> Columns:
    """Answers in JSON as columns.

    Args:
        contract: The contract.
        objects: An object for each row.
    """
    return {name: _column([answer[name] for answer in objects], field.type) for name, field in contract.answers.items()}


def read_degraded(objects: Sequence[Mapping[str, Any]]) -> Degraded:
    """Why stored values were not used, of answers in JSON: for the rows that have something to say."""
    return {
        row: msgspec.convert(answer["degraded"], dict[str, Degradation])
        for row, answer in enumerate(objects)
        if "degraded" in answer
    }


def _column(values: list[Any], type_: str) -> Column:
    if type_ == "timestamp":
        values = [np.datetime64("NaT") if value is None else parse_timestamp(value) for value in values]
    elif type_ == "string":
        texts = np.empty(len(values), object)
        texts[:] = values
        return texts
    # probabilities of classes are by name
    numbers = [list(value.values()) if isinstance(value, dict) else value for value in values]
    return np.array(numbers, numpy_dtype(type_))
