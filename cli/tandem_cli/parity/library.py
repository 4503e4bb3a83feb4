"""Modes that are functions in this process: the embedded model, and what batch and streams do with a batch of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from tandem import EmbeddedModel, RequestError
from tandem.dtypes import Column
from tandem.inputs import Inputs
from tandem.parity import RecordedRun, Results, Sample, read_degraded
from tandem.parity.results import Degraded, by_simpler_model
from tandem_cli.parity.session import Session

if TYPE_CHECKING:
    from tandem_stream.records import Records

Requests = Sequence[Sequence[int]]
"""Rows of a sample as requests; a row that has no answer is a request of its own."""

Run = Callable[[Sample, Requests], Results]
"""A mode: what it makes of the rows of a sample, which are stored already."""

_EVENTS: Final = 2_000
"""Events of a batch, as of `tandem stream`."""


def open_embedded(session: Session) -> Run:
    """:class:`~tandem.EmbeddedModel`, request by request."""
    bundle = session.bundle
    model = EmbeddedModel(bundle, get=session.store.get_now)
    model.run = recording = RecordedRun(model.run)

    def run(sample: Sample, requests: Requests) -> Results:
        results = Results.of(sample.inputs)
        answers: dict[int, dict[str, Any]] = {}
        pending = [list(rows) for rows in requests]
        while pending:
            rows = pending.pop()
            try:
                objects = model.predict([sample.rows[row] for row in rows], now=sample.now)
            except RequestError as error:
                recording.take(0)
                pending += one_by_one(rows, error, results)
                continue
            answers.update(zip(rows, objects, strict=True))
            _put_vectors(results, _by_model(np.array(rows), read_degraded(objects)), recording)
        results.put_objects(bundle.contract, answers)
        return results

    return run


def open_batch(session: Session) -> Run:
    """What `tandem batch` does with a batch of rows.

    Raises:
        ModuleNotFoundError: if its extra is not installed.
    """
    from tandem_cli.parity.tables import batch_of
    from tandem_offline.batch import score
    from tandem_offline.batch.plan import ROWS_PER_BATCH

    bundle = session.bundle
    model = EmbeddedModel(bundle)
    model.run = recording = RecordedRun(model.run)

    def run(sample: Sample, requests: Requests) -> Results:
        results = Results.of(sample.inputs)
        if bundle.contract.as_of is not None:
            # a batch has the time of every row
            results.carried = sample.timed
        for rows in _parts(np.flatnonzero(results.carried), ROWS_PER_BATCH):
            scored = score(model, batch_of(bundle.model, sample.inputs.take(rows)))
            answered = np.delete(np.arange(len(rows)), sorted(scored.errors))
            results.put_answers(rows[answered], {name: column[answered] for name, column in scored.columns.items()})
            results.put_degraded(rows, scored.degraded)
            results.errors |= {int(rows[row]): error.code for row, error in scored.errors.items()}
            own = np.setdiff1d(answered, list(by_simpler_model(scored.degraded)))
            _put_vectors(
                results,
                rows[own],
                recording,
                lambda rows: score(model, batch_of(bundle.model, sample.inputs.take(rows))),
            )
        return results

    return run


def open_stream(session: Session) -> Run:
    """What a worker of `tandem stream` does with a batch of events.

    Raises:
        ModuleNotFoundError: if its extra is not installed.
    """
    from tandem_stream.answers import AnswerWriter
    from tandem_stream.decoding import JsonDecoder
    from tandem_stream.lookups import Lookups
    from tandem_stream.predictors import load_model
    from tandem_stream.scoring import Scorer

    bundle = session.bundle
    recording = RecordedRun(load_model(bundle, threads=1))
    scorer = Scorer(
        bundle,
        decoder=JsonDecoder(bundle.contract),
        lookups=Lookups(bundle.model.views, session.store.get_now),
        predict=recording,
        writer=AnswerWriter(bundle, "parity"),
    )
    pipeline = bundle.pipeline()

    def run(sample: Sample, requests: Requests) -> Results:
        results = Results.of(sample.inputs)
        # an event that does not say its time is asked about when it was produced, in milliseconds
        produced_at = sample.inputs.as_of.astype("datetime64[ms]")
        results.as_of = np.where(sample.timed, sample.inputs.as_of, produced_at)
        inputs = Inputs(sample.inputs.request, sample.inputs.views, results.as_of)
        # a stream has no simpler model
        results.carried[list(pipeline.given(inputs).simpler)] = False
        answers: dict[int, dict[str, Any]] = {}
        for rows in _parts(np.arange(len(sample)), _EVENTS):
            scored = scorer.score(_records(sample, rows, produced_at))
            order = sorted(scored.values)
            objects = [msgspec.json.decode(scored.values[at]) for at in order]
            answers.update(zip(rows[order].tolist(), objects, strict=True))
            results.errors |= {int(rows[at]): error.code for at, error in scored.rejected.items()}
            own = _by_model(rows[order], read_degraded(objects))
            _put_vectors(results, own, recording, lambda rows: scorer.score(_records(sample, rows, produced_at)))
        results.put_objects(bundle.contract, answers)
        return results

    return run


def one_by_one(rows: Sequence[int], error: RequestError, results: Results) -> list[list[int]]:
    """The rows of a request that failed, each as a request of its own.

    Args:
        rows: The rows.
        error: The error.
        results: Where it is kept if the request has one row.
    """
    if len(rows) == 1:
        results.errors[rows[0]] = error.code
        return []
    return [[row] for row in rows]


def _by_model(rows: Column, degraded: Degraded) -> Column:
    """Those of some rows that the model itself answered."""
    return np.delete(rows, sorted(by_simpler_model(degraded)))


def _put_vectors(
    results: Results, rows: Column, recording: RecordedRun, again: Callable[[Column], object] | None = None
) -> None:
    """Keep the vectors of rows that the model has answered.

    Args:
        results: Where they are kept.
        rows: The rows.
        recording: Has them, if all were computed at once.
        again: Answers the rows once more, where they were not, because others of the batch failed.
    """
    vectors = recording.take(len(rows))
    if vectors is None and len(rows) and again is not None:
        again(rows)
        vectors = recording.take(len(rows))
    if vectors is not None:
        results.put_vectors(rows, vectors)


def _parts(rows: Column, size: int) -> Iterator[Column]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _records(sample: Sample, rows: Column, produced_at: Column) -> Records:
    from tandem_stream.records import Records

    count = len(rows)
    values = [msgspec.json.encode(sample.rows[row]) for row in rows.tolist()]
    timestamps = produced_at[rows].astype(np.int64)
    return Records("parity", values, [None] * count, [()] * count, [0] * count, range(count), timestamps)
