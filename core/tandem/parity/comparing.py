"""The difference of what two modes made of the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from tandem.bundle import Bundle
from tandem.comparison import Tolerance
from tandem.dtypes import Column
from tandem.parity.results import Results
from tandem.parity.samples import Sample
from tandem.prediction_log.skew import differing_bits

ANSWERED: Final = "answered"
"""Stands in a difference for the code of an error where the row has an answer."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that a mode answers otherwise.

    Attributes:
        kind: ``error``, ``vector``, ``prediction``, ``answer`` (a field of post-processing) or ``degraded``.
        sample: ``golden`` or ``random``.
        row: Its number among the golden or random rows.
        column: Column of the vector, or field of the answer; empty for others.
        expected: What the reference has.
        actual: What the mode has.
        request: The row as a client sends it.
    """

    kind: str
    sample: str
    row: int
    column: str
    expected: Any
    actual: Any
    request: dict[str, Any]


@dataclass(slots=True)
class Parity:
    """How far a mode is from the reference, over all its samples.

    Attributes:
        mode: The mode.
        rows: Rows that were compared.
        vectors: Rows whose vectors were compared.
        errors: Rows that have an error in place of an answer, as they should.
        vector_bits: Most bits in which the vector of a row differs.
        prediction: Largest difference of a prediction that is a number.
        tolerance_share: The same as a part of what the bundle allows; more than 1 is out of tolerance.
        differing: Rows that differ, by kind of the difference.
        first: The first of them; None if there is none.
    """

    mode: str
    rows: int = 0
    vectors: int = 0
    errors: int = 0
    vector_bits: int = 0
    prediction: float = 0.0
    tolerance_share: float = 0.0
    differing: Counter[str] = field(default_factory=Counter)
    first: Difference | None = None

    @property
    def is_equal(self) -> bool:
        """Whether no row differs."""
        return not self.differing


@dataclass(frozen=True, slots=True)
class _Finding:
    """Rows that differ in one column: where, and both values of a row."""

    kind: str
    column: str
    rows: Column
    expected: Any
    actual: Any


def compare(bundle: Bundle, sample: Sample, reference: Results, results: Results, parity: Parity) -> None:
    """Compare the results of a mode with the reference, and add what differs.

    Vectors must be equal bit for bit; predictions within the tolerance of the bundle for CPUs; other fields of the
    answer where the predictions of the row are equal, since they follow from them; the rest must be equal.

    Args:
        bundle: The version.
        sample: The rows.
        reference: What they should be.
        results: What the mode made of them.
        parity: Of the mode; is changed.
    """
    comparison = _Comparison(bundle, reference, results, parity)
    parity.rows += int(np.count_nonzero(results.carried))
    parity.errors += int(np.count_nonzero(comparison.refused & results.carried))
    differing: dict[str, Column] = {}
    first: _Finding | None = None
    for finding in comparison.findings():
        if finding.rows.any():
            differing[finding.kind] = differing.get(finding.kind, False) | finding.rows
            # of one row, the first kind: an error before a vector, a vector before what follows from it
            if first is None or np.argmax(finding.rows) < np.argmax(first.rows):
                first = finding
    for kind, rows in differing.items():
        parity.differing[kind] += int(np.count_nonzero(rows))
    if first is not None and parity.first is None:
        row = int(np.argmax(first.rows))
        values = _plain(first.expected[row]), _plain(first.actual[row])
        number = int(sample.numbers[row])
        parity.first = Difference(first.kind, sample.kind, number, first.column, *values, sample.rows[row])


class _Comparison:
    """One comparison: which rows differ, column by column."""

    def __init__(self, bundle: Bundle, reference: Results, results: Results, parity: Parity) -> None:
        self.bundle = bundle
        self.reference = reference
        self.results = results
        self.parity = parity
        self.refused = _mask(reference)
        self.answered = results.carried & ~self.refused & ~_mask(results)

    def findings(self) -> Iterator[_Finding]:
        """What differs, kind after kind."""
        rows = range(len(self.answered))
        codes = [[results.errors.get(row, ANSWERED) for row in rows] for results in (self.reference, self.results)]
        yield _Finding("error", "", self.results.carried & _unequal(*codes), *codes)
        yield from self._vectors()
        same = self.answered.copy()
        yield from self._predictions(same)
        yield from self._answers(same)
        texts = self.reference.degraded, self.results.degraded
        yield _Finding("degraded", "", self.answered & _unequal(*texts), *texts)

    def _vectors(self) -> Iterator[_Finding]:
        compared = self.answered & self.reference.has_vector
        missing = compared & ~self.results.has_vector
        yield _Finding("vector", "", missing, ["given"] * len(missing), ["not known"] * len(missing))
        rows = np.flatnonzero(compared & ~missing)
        self.parity.vectors += len(rows)
        if not len(rows):
            return
        totals = np.zeros(len(rows), np.int64)
        for tensor in self.bundle.signature.inputs:
            expected, actual = (results.vectors[tensor.name] for results in (self.reference, self.results))
            bits = differing_bits(actual[rows], expected[rows])
            totals += bits.sum(axis=1)
            for at in np.flatnonzero(bits.any(axis=0)).tolist():
                columns = (array.reshape(len(array), -1)[:, at] for array in (expected, actual))
                yield _Finding("vector", tensor.columns[at], _spread(bits[:, at] > 0, rows, missing), *columns)
        self.parity.vector_bits = max(self.parity.vector_bits, int(totals.max()))

    def _predictions(self, same: Column) -> Iterator[_Finding]:
        """Predictions out of tolerance; rows with predictions that are not equal are taken out of ``same``."""
        tolerance = self.bundle.tolerance("CPUExecutionProvider")
        for prediction in self.bundle.contract.predictions:
            expected, actual = self._columns(prediction.name)
            share = _tolerance_shares(expected, actual, tolerance)
            share[~self.answered] = 0.0
            same &= share == 0
            self.parity.tolerance_share = max(self.parity.tolerance_share, float(share.max(initial=0.0)))
            if expected.dtype.kind == "f":
                gaps = np.abs(actual - expected)[self.answered]
                self.parity.prediction = max(self.parity.prediction, float(gaps.max(initial=0.0)))
            yield _Finding("prediction", prediction.name, share > 1, expected, actual)

    def _answers(self, same: Column) -> Iterator[_Finding]:
        """Fields of post-processing."""
        tolerance = self.bundle.tolerance("CPUExecutionProvider")
        for name in self.bundle.contract.outputs:
            expected, actual = self._columns(name)
            share = _tolerance_shares(expected, actual, tolerance)
            yield _Finding("answer", name, same & (share > 1), expected, actual)

    def _columns(self, name: str) -> tuple[Column, Column]:
        """A field of both; zeros where none of the rows has an answer."""
        column = self.reference.answers.get(name, self.results.answers.get(name))
        absent = np.zeros(len(self.answered)) if column is None else np.zeros_like(column)
        return self.reference.answers.get(name, absent), self.results.answers.get(name, absent)


def _tolerance_shares(expected: Column, actual: Column, tolerance: Tolerance) -> Column:
    """For each row how much of what is allowed it differs; infinite where values must be equal and are not."""
    equal = _equal(expected, actual)
    if expected.dtype.kind != "f":
        shares = np.where(equal, 0.0, np.inf)
    else:
        # a tolerance of nothing makes any difference infinite
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.abs(actual - expected) / (tolerance.atol + tolerance.rtol * np.abs(expected))
        shares = np.where(equal, 0.0, shares)
    result: Column = shares.reshape(len(shares), -1).max(axis=1, initial=0.0)
    return result


def _equal(left: Column, right: Column) -> Column:
    equal: Column = left == right
    # NaT is not equal to itself
    return equal | (np.isnat(left) & np.isnat(right)) if left.dtype.kind == "M" else equal


def _mask(results: Results) -> Column:
    mask = np.zeros(len(results.as_of), bool)
    mask[list(results.errors)] = True
    return mask


def _unequal(left: list[str], right: list[str]) -> Column:
    return np.array([text != expected for text, expected in zip(left, right, strict=True)], bool)


def _spread(values: Column, rows: Column, like: Column) -> Column:
    """Values of some rows as those of all rows, False elsewhere."""
    spread = np.zeros_like(like)
    spread[rows] = values
    return spread


def _plain(value: Any) -> Any:
    """A value as Python has it; times as text."""
    if isinstance(value, np.datetime64):
        return str(value)
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
