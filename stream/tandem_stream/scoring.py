"""Records to predictions: one pass of the pipeline for a batch, in which a bad record fails alone.

What a record cannot be predicted for, by its own fault or its features', becomes a rejection with the code that a
client would get online. What is a backend's fault is an error of the whole batch, which is tried again later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tandem.bundle import Bundle
from tandem.clock import utc_now
from tandem.dtypes import Column, Columns
from tandem.errors import Internal, RequestError
from tandem.inputs import Degradation, Inputs, Tensors
from tandem.pipeline import Pipeline
from tandem.rows import RowReader
from tandem_stream.answers import AnswerWriter
from tandem_stream.decoding import Decoder
from tandem_stream.lookups import Lookups, StoredRows
from tandem_stream.outcomes import OUTAGES, Outcome
from tandem_stream.records import Records

log = logging.getLogger(__name__)

Predict = Callable[[Tensors], Tensors]
"""The model: output tensors for input tensors. Raises :class:`~tandem.errors.RequestError`."""


@dataclass(slots=True)
class Scored(Outcome):
    """What became of a batch of records: a prediction, or else a rejection.

    Attributes:
        values: For each record with a prediction, the value of its message; by record.
        predictions: The predictions, in no particular order.
        degraded: How often stored values were not used, by reason.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    predictions: list[Column] = field(default_factory=list)
    degraded: list[Degradation] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """The rows of a batch that could be decoded, with what is stored for them."""

    request: Columns
    as_of: Column
    stored: StoredRows
    positions: list[int]

    def inputs(self, rows: Sequence[int]) -> Inputs:
        """Inputs of some of the rows, by their numbers."""
        views = self.stored.columns(rows)
        if len(rows) == len(self.positions):
            return Inputs(self.request, views, self.as_of)
        index = np.array(rows)
        return Inputs({name: column[index] for name, column in self.request.items()}, views, self.as_of[index])


class Scorer:
    """Predicts for records with one version of a model.

    Args:
        bundle: The version.
        decoder: Reads records.
        lookups: Where stored features are read.
        predict: The model.
        writer: Writes predictions.
    """

    def __init__(
        self, bundle: Bundle, *, decoder: Decoder, lookups: Lookups, predict: Predict, writer: AnswerWriter
    ) -> None:
        self.pipeline: Pipeline = bundle.pipeline()
        self._reader = RowReader(bundle.contract)
        self._as_of = bundle.contract.as_of
        self._decoder = decoder
        self._lookups = lookups
        self._predict = predict
        self.writer = writer

    def score(self, records: Records) -> Scored:
        """Predictions for records, and the reasons why some have none.

        Args:
            records: At least one.

        Raises:
            RequestError: one of :data:`~tandem_stream.outcomes.OUTAGES`: the store or the predictor does not answer;
                nothing has been done.
        """
        scored = Scored()
        with scored.stages.timed("decode"):
            decoded = self._decoder.decode(records)
            scored.rejected = decoded.rejected
            if not decoded.rows:
                return scored
            request = self._reader.columns(decoded.rows)
        with scored.stages.timed("lookup"):
            stored = self._lookups.read(request)
        as_of = self._times(records, request, decoded.positions)
        batch = _Batch(request, as_of, stored, decoded.positions)
        pending: list[list[int]] = [list(range(len(decoded.rows)))]
        while pending:
            rows = pending.pop()
            try:
                pending += self._score_rows(batch, rows, scored)
            except OUTAGES:
                raise
            except RequestError as error:
                pending += _reject_or_divide(batch, rows, error, scored)
            except Exception as error:
                log.exception("a batch of %d rows failed", len(rows))
                pending += _reject_or_divide(batch, rows, _internal(error), scored)
        return scored

    def _score_rows(self, batch: _Batch, rows: list[int], scored: Scored) -> list[list[int]]:
        """Predict for some rows of a batch.

        Returns:
            Rows that are left to do; empty unless some of the rows were refused.
        """
        inputs = batch.inputs(rows)
        with scored.stages.timed("odt"):
            features = self.pipeline.features(inputs)
        if features.refused:
            _raise_outage(features.refused.values())
            scored.rejected |= {batch.positions[rows[index]]: error for index, error in features.refused.items()}
            answerable = [row for index, row in enumerate(rows) if index not in features.refused]
            return [answerable] if answerable else []
        with scored.stages.timed("mdt"):
            tensors = self.pipeline.tensors(features.columns)
        with scored.stages.timed("predict"):
            outputs = self._predict(tensors)
        with scored.stages.timed("post"):
            answers = self.pipeline.predictions(outputs, features.columns)
            values = self.writer.values(answers, features.degraded, inputs.request)
        scored.values.update(zip((batch.positions[row] for row in rows), values, strict=True))
        scored.predictions.append(next(iter(answers.values())))
        scored.degraded += [reason for reasons in features.degraded.values() for reason in reasons.values()]
        return []

    def _times(self, records: Records, request: Columns, positions: list[int]) -> Column:
        """The as-of column: the contract's field, and the time of the record where there is none."""
        times = records.times(utc_now())[positions]
        if self._as_of is None:
            return times
        column = request[self._as_of]
        return np.where(np.isnat(column), times, column)


def _reject_or_divide(batch: _Batch, rows: list[int], error: RequestError, scored: Scored) -> list[list[int]]:
    """Smaller parts of rows that failed together: those that the error names alone, else halves.

    So one bad row among ``n`` costs ``2 log2(n)`` further passes at most. A row that fails alone is rejected.
    """
    if len(rows) == 1:
        scored.rejected[batch.positions[rows[0]]] = error
        return []
    numbers = {detail.get("row") for detail in error.details}
    named = [[row] for index, row in enumerate(rows) if index in numbers]
    if not named:
        half = len(rows) // 2
        return [rows[:half], rows[half:]]
    unnamed = [row for index, row in enumerate(rows) if index not in numbers]
    return [*named, unnamed] if unnamed else named


def _raise_outage(errors: Iterable[RequestError]) -> None:
    """A row that only an outage refuses is no bad row: the batch waits."""
    for error in errors:
        if isinstance(error, OUTAGES):
            raise error


def _internal(error: Exception) -> Internal:
    return Internal(f"{type(error).__name__}: {error}")
