"""What is handed to the log, and what is read back from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from tandem.dtypes import Column, Columns
from tandem.errors import LogError
from tandem.inputs import Degradation, Inputs, Tensors
from tandem.model import Model
from tandem.packed_rows import ViewColumns
from tandem.prediction_log.schema import LogSchema

_CALL_BYTES: Final = 200
"""About what a request takes beside its columns: numbers in Python lists, and its ids."""

_TEXT_BYTES: Final = 60
"""What a string takes beside its characters."""

_decode_reasons = msgspec.json.Decoder(dict[str, Degradation]).decode


@dataclass(slots=True, eq=False)
class LoggedBatch:
    """A batch on its way into the log. Nothing in it is copied, so nothing in it may be changed any more.

    Attributes:
        numbers: Of each request: the number in its prediction id.
        sizes: Of each request: how many rows.
        request_ids: Of each request: the client's id of it; may be empty.
        traffic: Of each request: index of how it came here.
        errors: Of each request: the code of the error that its client got; empty for none.
        time: When the batch began: ``datetime64[us]``, UTC.
        request: A column for each field of the contract.
        as_of: When each row's question is asked; None where that is not known.
        views: What was looked up, by use of a view; empty where nothing was.
        vectors: The model's input tensors, zeros in rows that it did not answer; empty where it was not asked.
        answers: A column for each field of the answers; empty where there is none.
        degraded: For each row whose stored values were not used: why, by view.
        stages: Seconds of each stage; empty where they are not known.
        precomputed: For each row that a prediction computed ahead answered: its age in seconds.
    """

    numbers: Sequence[int]
    sizes: Sequence[int]
    request_ids: Sequence[bytes]
    traffic: Sequence[int]
    errors: Sequence[str]
    time: np.datetime64
    request: Columns
    as_of: Column | None = None
    views: Mapping[str, ViewColumns] = field(default_factory=dict)
    vectors: Tensors = field(default_factory=dict)
    answers: Columns = field(default_factory=dict)
    degraded: Mapping[int, Mapping[str, Degradation]] = field(default_factory=dict)
    stages: Sequence[float] = ()
    precomputed: Mapping[int, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many records it has."""
        return sum(self.sizes)

    def count_bytes(self) -> int:
        """About what it takes in memory."""
        columns = [*self.request.values(), *self.answers.values(), *self.vectors.values()]
        columns += [column for view in self.views.values() for column in view.columns.values()]
        return _CALL_BYTES * len(self.sizes) + sum(map(_count_bytes, columns)) + sum(map(len, self.request_ids))


@dataclass(slots=True, eq=False)
class LoggedFeedback:
    """Truths about predictions, on their way into the log.

    Attributes:
        writers: Of each: what the prediction's id begins with.
        numbers: Of each: the number in the prediction's id.
        indices: Of each: the row of that request.
        truths: Of each: what turned out to be true.
        time: When they arrived: ``datetime64[us]``, UTC.
    """

    writers: Sequence[str]
    numbers: Sequence[int]
    indices: Sequence[int]
    truths: Column
    time: np.datetime64

    @property
    def rows(self) -> int:
        """How many records it has."""
        return len(self.numbers)

    def count_bytes(self) -> int:
        """About what it takes in memory."""
        return _CALL_BYTES * len(self.numbers) + _count_bytes(self.truths)


@dataclass(slots=True, eq=False)
class Records:
    """Records of one schema, column by column.

    Columns of predictions:

        number row time as_of traffic stages request_id error precomputed_age_s
        request/FIELD   answer/FIELD   vector/TENSOR
        view/VIEW/event_time   view/VIEW/feature/FEATURE   view/VIEW/null/FEATURE

    and of feedback: ``writer number row time truth``. A column that none of the records has is left out.

    Attributes:
        schema: Of the segment that they are in.
        rows: How many.
        columns: By name.
        degraded: For each row whose stored values were not used: the reasons as JSON.
    """

    schema: LogSchema
    rows: int
    columns: Columns
    degraded: dict[int, str]

    def take(self, rows: Column) -> Records:
        """Some of the rows, by their indices, ascending."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        places = {row: at for at, row in enumerate(rows.tolist())}
        degraded = {places[row]: reasons for row, reasons in self.degraded.items() if row in places}
        return Records(self.schema, len(rows), columns, degraded)

    @property
    def are_answered(self) -> bool:
        """Whether they are predictions, with all that they depended on, and not failures or feedback."""
        return "as_of" in self.columns

    @property
    def by_model(self) -> Records:
        """Those that the model answered: not the simpler one, and no prediction computed ahead."""
        ages = self.columns.get("precomputed_age_s")
        own = np.ones(self.rows, bool) if ages is None else np.isnan(ages)
        for row, reasons in self.degraded.items():
            if any(reason.source == "simpler_model" for reason in _decode_reasons(reasons).values()):
                own[row] = False
        return self if own.all() else self.take(np.flatnonzero(own))

    @property
    def prediction_ids(self) -> list[str]:
        """The id of each record's request, as its client got it."""
        return [f"{self.schema.writer}-{number}" for number in self.columns["number"].tolist()]

    def inputs(self, model: Model) -> Inputs:
        """All that the predictions depended on, for the model's pipeline.

        Raises:
            LogError: naming what the model needs and the log does not have.
        """
        request = {name: self._column(f"request/{name}") for name in model.contract.inputs}
        views = []
        for use in model.views:
            prefix = f"view/{use.name}"
            columns = {feature.name: self._column(f"{prefix}/feature/{feature.name}") for feature in use.view.features}
            nulls = {name: self.columns[f"{prefix}/null/{name}"] for name in columns
                     if f"{prefix}/null/{name}" in self.columns}  # fmt: skip
            views.append(ViewColumns(columns, self._column(f"{prefix}/event_time"), nulls))
        return Inputs(request, tuple(views), self._column("as_of"))

    def _column(self, name: str) -> Column:
        try:
            return self.columns[name]
        except KeyError:
            raise LogError(f"the log of version {self.schema.version!r} has no {name.replace('/', ' ')}") from None


def _count_bytes(column: Column) -> int:
    if column.dtype != object:
        return column.nbytes
    # a character takes up to four bytes
    return sum(_TEXT_BYTES + 4 * len(text) for text in column.ravel().tolist())
