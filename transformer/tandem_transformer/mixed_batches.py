"""Batches in which not all rows are answered by the model: each part by its source, at the same time."""

from __future__ import annotations

import asyncio
import time

import numpy as np

from tandem.answer_parts import Rows, counting_in_batch, merge, take
from tandem.dtypes import Columns
from tandem.inputs import Features, Inputs, Tensors
from tandem.pipeline import Pipeline
from tandem.precomputed import Hits
from tandem_transformer.backends import Backends
from tandem_transformer.batch import BatchAnswer, PartVectors
from tandem_transformer.prediction_cache import CacheCounts
from tandem_transformer.simpler_model import SimplerModel, answer_columns


class MixedBatches:
    """Answers batches that the model does not answer alone.

    Args:
        pipeline: Of the model.
        backends: Ask its predictor.
        simpler: The simpler model; None if the bundle has none.
        counts: Counters of predictions by how they were made.
    """

    def __init__(
        self, pipeline: Pipeline, backends: Backends, simpler: SimplerModel | None, counts: CacheCounts
    ) -> None:
        self._pipeline = pipeline
        self._backends = backends
        self._simpler = simpler
        self._counts = counts

    async def answer(
        self,
        inputs: Inputs,
        features: Features,
        hits: Hits | None,
        spent: tuple[float, float, float],
        deadline: float,
    ) -> BatchAnswer:
        """The answer to a batch.

        Args:
            inputs: The batch.
            features: Of the pipeline, for the batch.
            hits: Predictions computed ahead; None if there are none.
            spent: Seconds that the stages before the model took.
            deadline: When nobody waits for the batch any more, on the event loop's clock.

        Raises:
            RequestError: of either model, naming rows of the batch.
        """
        started = time.perf_counter()
        rows = len(inputs)
        ahead = np.zeros(0, np.intp) if hits is None else hits.rows
        simple = np.array(sorted(features.simpler), np.intp)
        own = np.delete(np.arange(rows, dtype=np.intp), np.concatenate((ahead, simple)))
        (own_columns, tensors), (simpler_columns, vectors) = await asyncio.gather(
            _answer_own(self._pipeline, self._backends, features, own, deadline),
            _answer_simpler(self._simpler, inputs, simple, deadline),
        )
        parts = [(own, own_columns), (simple, simpler_columns), (ahead, {} if hits is None else hits.columns)]
        columns = merge(self._pipeline.model.contract.answers, rows, [part for part in parts if len(part[0])])
        ages = {} if hits is None else dict(zip(hits.rows.tolist(), hits.age_s.round(3).tolist(), strict=True))
        self._counts.precomputed += len(ages)
        seconds = time.perf_counter() - started
        # batches that ask no model are so short that nothing would be kept back for those that do
        if len(ahead) < rows:
            self._backends.measured(spent[-1] + seconds, None)
        # the stages of the two models overlap
        stages = (*spent, 0.0, seconds, 0.0)
        whole = _all_rows(self._pipeline, tensors, own, rows)
        return BatchAnswer(columns, whole, features.degraded, stages, vectors, ages)


async def _answer_own(
    pipeline: Pipeline, backends: Backends, features: Features, rows: Rows, deadline: float
) -> tuple[Columns, Tensors]:
    if not len(rows):
        return {}, {}
    with counting_in_batch(rows):
        return await answer_columns(pipeline, take(features.columns, rows), backends, deadline)


async def _answer_simpler(
    simpler: SimplerModel | None, inputs: Inputs, rows: Rows, deadline: float
) -> tuple[Columns, PartVectors | None]:
    # a bundle without a simpler model has no view that leaves rows to one
    if simpler is None or not len(rows):
        return {}, None
    return await simpler.answer(inputs, rows, deadline)


def _all_rows(pipeline: Pipeline, tensors: Tensors, rows: Rows, count: int) -> Tensors:
    """Input tensors with as many rows as the batch."""
    whole: Tensors = {}
    for spec in pipeline.signature.inputs:
        shape = (count,) if len(spec.shape) == 1 else (count, len(spec.columns))
        whole[spec.name] = np.zeros(shape, spec.dtype) if spec.dtype != "object" else np.full(shape, "", object)
        if len(rows):
            whole[spec.name][rows] = tensors[spec.name]
    return whole
