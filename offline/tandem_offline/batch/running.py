"""A run: rows with their features are predicted and appended to a table, part by part, in bounded memory."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from tandem.embedded import EmbeddedModel
from tandem.errors import DefinitionError
from tandem_offline.batch.outputs import Output, OutputError, Progress
from tandem_offline.batch.plan import ROWS_PER_BATCH, BatchPlan
from tandem_offline.batch.scoring import Scored, score
from tandem_offline.feature_table import FeatureTable

_WARM_UP: Final = 1_000
"""Rows that are predicted before the time is taken."""


@dataclass(frozen=True)
class BatchSummary:
    """What :func:`write_batch` did.

    Attributes:
        run_id: The run.
        rows: Rows of the run.
        rows_before: Rows that the table had of it already.
        rows_written: Rows that were predicted and written, also those without a prediction.
        degraded: Of these, rows with stored values that were not used.
        errors: Of these, rows without a prediction, by the code of the error.
        changed: Whether the run was complete already, and a new one would not be the same: its version, its arguments
            or the tables that it reads have changed.
    """

    run_id: str
    rows: int
    rows_before: int = 0
    rows_written: int = 0
    degraded: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    changed: bool = False

    def add(self, scored: Scored) -> BatchSummary:
        """The same after some more rows."""
        return replace(
            self,
            rows_written=self.rows_written + scored.rows,
            degraded=self.degraded + len(scored.degraded),
            errors=self.errors + Counter(error.code for error in scored.errors.values()),
        )


@dataclass(frozen=True)
class Estimate:
    """How long a run will take.

    Attributes:
        first_row_s: Seconds until the join has its first rows.
        rows_per_s: Rows that are predicted and encoded in a second from then on; None without rows.
        total_s: Seconds of the whole run.
    """

    first_row_s: float
    rows_per_s: float | None
    total_s: float


def write_batch(
    model: EmbeddedModel,
    features: FeatureTable,
    plan: BatchPlan,
    output: Output,
    *,
    progress: Callable[[BatchSummary], None] | None = None,
) -> BatchSummary:
    """Predict rows, and append them to a table; a run that was interrupted continues after its last part.

    Each row of the plan is in the table once, however often this is called. A row that has no prediction has an error.

    Args:
        model: The version.
        features: The rows, with their features.
        plan: The run, planned for these.
        output: The table.
        progress: Called after each batch with what was done so far.

    Raises:
        DefinitionError: naming view, table, column and rows of what cannot be read. No part of it is written.
        OutputError: if the table cannot be written, has other columns, or has a part of this run that was made of
            another version, other arguments or other tables.
    """
    output.check(plan.layout.schema)
    with output.opened(plan.run_id):
        state = output.progress(plan.run_id)
        summary = _continue(plan, state)
        if state is not None and state.is_complete:
            return summary
        run = _Run(model, features, plan, summary, progress)
        run.write(output, 0 if state is None else state.written)
    return run.summary


def estimate(model: EmbeddedModel, features: FeatureTable, plan: BatchPlan) -> Estimate:
    """How long a run will take, from its first rows, which are predicted and not written.

    Raises:
        DefinitionError: as :func:`write_batch`.
    """
    started = time.perf_counter()
    with closing(features.batches(ROWS_PER_BATCH)) as joined:
        batch = next(_cut(joined, iter([ROWS_PER_BATCH])), None)
    first_row_s = time.perf_counter() - started
    if batch is None:
        return Estimate(first_row_s, None, first_row_s)
    score(model, batch.slice(0, _WARM_UP))
    started = time.perf_counter()
    rows = plan.layout.rows(batch, score(model, batch))
    with pq.ParquetWriter(pa.BufferOutputStream(), rows.schema) as writer:
        writer.write_batch(rows)
    rate = batch.num_rows / (time.perf_counter() - started)
    return Estimate(first_row_s, rate, first_row_s + plan.rows / rate)


def _continue(plan: BatchPlan, state: Progress | None) -> BatchSummary:
    """What has been done of a run before."""
    if state is None:
        return BatchSummary(plan.run_id, plan.rows)
    changed = state.fingerprint != plan.fingerprint
    if state.is_complete:
        # of other rows it is not known how many there were
        return BatchSummary(plan.run_id, plan.rows, 0 if changed else plan.rows, changed=changed)
    if changed:
        raise OutputError(
            f"run {plan.run_id} was interrupted after {state.written} of {state.parts} parts, and cannot be continued: "
            "its version, its arguments or the tables that it reads have changed; delete its rows, or give another "
            "run id"
        )
    return BatchSummary(plan.run_id, plan.rows, plan.rows_before(state.written))


class _Run:
    """One process's share of a run."""

    def __init__(
        self,
        model: EmbeddedModel,
        features: FeatureTable,
        plan: BatchPlan,
        summary: BatchSummary,
        progress: Callable[[BatchSummary], None] | None,
    ) -> None:
        self._model = model
        self._features = features
        self._plan = plan
        self._progress = progress
        self.summary = summary

    def write(self, output: Output, first: int) -> None:
        """Write all parts from the first one on."""
        plan = self._plan
        sizes = itertools.chain.from_iterable(plan.sizes(number) for number in range(plan.parts))
        # closed whatever happens, since the join has files of its own
        with closing(self._features.batches(ROWS_PER_BATCH)) as joined:
            batches = _cut(joined, sizes)
            for number in range(first):
                _take_all(itertools.islice(batches, len(list(plan.sizes(number)))))
            for number in range(first, plan.parts):
                output.write(plan.part(number), plan.layout.schema, self._part(batches, number))

    def _part(self, batches: Iterator[pa.RecordBatch], number: int) -> Iterator[pa.RecordBatch]:
        """The rows of a part, as they are written."""
        plan = self._plan
        sizes = list(plan.sizes(number))
        rows = 0
        for batch in itertools.islice(batches, len(sizes)):
            scored = score(self._model, batch)
            yield plan.layout.rows(batch, scored)
            rows += batch.num_rows
            self.summary = self.summary.add(scored)
            if self._progress is not None:
                self._progress(self.summary)
        if rows != sum(sizes) or (number == plan.parts - 1 and next(batches, None) is not None):
            raise DefinitionError(f"the tables have changed: there were {plan.rows} rows when the run was planned")


def _cut(batches: Iterable[pa.RecordBatch], sizes: Iterator[int]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of the given sizes; after the last size in batches as they come."""
    pieces: list[pa.RecordBatch] = []
    lacking = next(sizes, None)
    for batch in batches:
        while batch.num_rows:
            piece = batch if lacking is None else batch.slice(0, lacking)
            pieces.append(piece)
            batch = batch.slice(piece.num_rows)
            lacking = 0 if lacking is None else lacking - piece.num_rows
            if not lacking:
                yield _join(pieces)
                pieces, lacking = [], next(sizes, None)
    if pieces:
        yield _join(pieces)


def _join(pieces: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)  # type: ignore[attr-defined]


def _take_all(batches: Iterable[pa.RecordBatch]) -> None:
    for _ in batches:
        pass
