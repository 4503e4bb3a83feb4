"""Batches in which not all rows are answered by the model: each part by its source, at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from tandem.answer_parts import Rows, counting_in_batch, merge, take
from tandem.dtypes import Columns
from tandem.inputs import Features, Inputs, Tensors
from tandem.pipeline import Pipeline
from tandem_transformer.batch import PartVectors
from tandem_transformer.simpler_model import Predict, SimplerModel, answer_columns


@dataclass(slots=True, eq=False)
class MixedAnswer:
    """What the parts of a batch came to.

    Attributes:
        columns: A column for each field of the answers, all rows.
        tensors: The model's input tensors, all rows; zeros where it was not asked.
        simpler: What the simpler model was given.
    """

    columns: Columns
    tensors: Tensors
    simpler: PartVectors


async def answer_in_parts(
    pipeline: Pipeline, predict: Predict, simpler: SimplerModel, inputs: Inputs, features: Features
) -> MixedAnswer:
    """Answers of a batch some of whose rows are left to the simpler model.

    Args:
        pipeline: Of the model.
        predict: Asks its predictor.
        simpler: The simpler model.
        inputs: The batch.
        features: Of the pipeline, for the batch.

    Raises:
        RequestError: of either model, naming rows of the batch.
    """
    left = np.array(sorted(features.simpler), np.intp)
    own = np.delete(np.arange(len(inputs)), left)
    parts = []
    tensors: Tensors = {}
    if len(own):
        ((columns, tensors), (simpler_columns, vectors)) = await asyncio.gather(
            _answer_own(pipeline, predict, features, own), simpler.answer(inputs, left)
        )
        parts.append((own, columns))
    else:
        simpler_columns, vectors = await simpler.answer(inputs, left)
    parts.append((left, simpler_columns))
    answers = merge(pipeline.model.contract.answers, len(inputs), parts)
    return MixedAnswer(answers, _all_rows(pipeline, tensors, own, len(inputs)), vectors)


async def _answer_own(pipeline: Pipeline, predict: Predict, features: Features, rows: Rows) -> tuple[Columns, Tensors]:
    with counting_in_batch(rows):
        return await answer_columns(pipeline, take(features.columns, rows), predict)


def _all_rows(pipeline: Pipeline, tensors: Tensors, rows: Rows, count: int) -> Tensors:
    """Input tensors with as many rows as the batch."""
    whole: Tensors = {}
    for spec in pipeline.signature.inputs:
        shape = (count,) if len(spec.shape) == 1 else (count, len(spec.columns))
        whole[spec.name] = np.zeros(shape, spec.dtype) if spec.dtype != "object" else np.full(shape, "", object)
        if len(rows):
            whole[spec.name][rows] = tensors[spec.name]
    return whole
