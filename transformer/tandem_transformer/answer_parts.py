"""Batches in which not all rows are answered by the model: each part by its source, at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from tandem.answer_parts import Rows, counting_in_batch, merge, take
from tandem.dtypes import Columns
from tandem.inputs import Features, Inputs, Tensors
from tandem.pipeline import Pipeline
from tandem.precomputed import Hits
from tandem_transformer.batch import PartVectors
from tandem_transformer.simpler_model import Predict, SimplerModel, answer_columns


@dataclass(slots=True, eq=False)
class MixedAnswer:
    """What the parts of a batch came to.

    Attributes:
        columns: A column for each field of the answers, all rows.
        tensors: The model's input tensors, all rows; zeros where it was not asked.
        simpler: What the simpler model was given; None where it was not asked.
        precomputed: For each row that a prediction computed ahead answered: its age in seconds.
    """

    columns: Columns
    tensors: Tensors
    simpler: PartVectors | None
    precomputed: dict[int, float]


async def answer_in_parts(
    pipeline: Pipeline,
    predict: Predict,
    simpler: SimplerModel | None,
    hits: Hits | None,
    inputs: Inputs,
    features: Features,
) -> MixedAnswer:
    """Answers of a batch that the model does not answer alone.

    Args:
        pipeline: Of the model.
        predict: Asks its predictor.
        simpler: The simpler model; None if the bundle has none.
        hits: Predictions computed ahead; None if there are none.
        inputs: The batch.
        features: Of the pipeline, for the batch.

    Raises:
        RequestError: of either model, naming rows of the batch.
    """
    rows = len(inputs)
    known = np.zeros(0, np.intp) if hits is None else hits.rows
    left = np.array(sorted(features.simpler), np.intp)
    own = np.delete(np.arange(rows), np.concatenate((known, left)))
    (own_columns, tensors), (simpler_columns, vectors) = await asyncio.gather(
        _answer_own(pipeline, predict, features, own), _answer_simpler(simpler, inputs, left)
    )
    parts = [(own, own_columns), (left, simpler_columns), (known, {} if hits is None else hits.columns)]
    columns = merge(pipeline.model.contract.answers, rows, [part for part in parts if len(part[0])])
    ages = {} if hits is None else dict(zip(hits.rows.tolist(), hits.age_s.round(3).tolist(), strict=True))
    return MixedAnswer(columns, _all_rows(pipeline, tensors, own, rows), vectors, ages)


async def _answer_own(pipeline: Pipeline, predict: Predict, features: Features, rows: Rows) -> tuple[Columns, Tensors]:
    if not len(rows):
        return {}, {}
    with counting_in_batch(rows):
        return await answer_columns(pipeline, take(features.columns, rows), predict)


async def _answer_simpler(
    simpler: SimplerModel | None, inputs: Inputs, rows: Rows
) -> tuple[Columns, PartVectors | None]:
    # a bundle without a simpler model has no view that leaves rows to one
    if simpler is None or not len(rows):
        return {}, None
    return await simpler.answer(inputs, rows)


def _all_rows(pipeline: Pipeline, tensors: Tensors, rows: Rows, count: int) -> Tensors:
    """Input tensors with as many rows as the batch."""
    whole: Tensors = {}
    for spec in pipeline.signature.inputs:
        shape = (count,) if len(spec.shape) == 1 else (count, len(spec.columns))
        whole[spec.name] = np.zeros(shape, spec.dtype) if spec.dtype != "object" else np.full(shape, "", object)
        if len(rows):
            whole[spec.name][rows] = tensors[spec.name]
    return whole
