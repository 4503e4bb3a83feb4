"""The simpler model of a bundle in a transformer: it answers rows whose features cannot be had."""

from __future__ import annotations

import time
from dataclasses import replace

from tandem.answer_parts import Rows, counting_in_batch, without_views
from tandem.bundle import Bundle
from tandem.dtypes import Columns
from tandem.golden import replay_vectors
from tandem.inputs import Inputs, Tensors
from tandem.pipeline import Pipeline
from tandem.stores.memory import MemoryStore
from tandem_transformer.backends import Backends
from tandem_transformer.batch import PartVectors
from tandem_transformer.config import TransformerConfig
from tandem_transformer.prediction_cache import CacheCounts
from tandem_transformer.predictors import PredictorClient, connect


class SimplerModel:
    """Answers with the simpler model of a bundle.

    Args:
        bundle: The bundle within the one that is served.
        predictor: What turns its vectors into predictions.
        config: Time limits.

    Attributes:
        bundle: The bundle.
        backends: Its predictor, within its time limit.
    """

    def __init__(self, bundle: Bundle, predictor: PredictorClient, config: TransformerConfig) -> None:
        self.bundle = bundle
        self.pipeline: Pipeline = bundle.pipeline()
        # nothing is looked up, and predictions are kept for the main model only, whose bytes are bounded
        without_cache = replace(config, prediction_cache_bytes=0, prediction_cache_store="")
        self.backends = Backends(bundle, MemoryStore(), predictor, without_cache, CacheCounts())

    def prove(self) -> None:
        """Replay the golden rows to vectors and answers.

        Raises:
            BundleError: naming the column that differs.
        """
        replay_vectors(self.pipeline, self.bundle.golden_inputs())

    async def answer(self, inputs: Inputs, rows: Rows, deadline: float) -> tuple[Columns, PartVectors]:
        """Answers for some rows of a batch, and their vectors.

        Args:
            inputs: The batch.
            rows: Indices of the rows.
            deadline: When nobody waits for the batch any more, on the event loop's clock.

        Raises:
            RequestError: as the main model, naming rows of the batch.
        """
        with counting_in_batch(rows):
            columns = self.pipeline.features(without_views(inputs, rows)).columns
            answers, tensors = await answer_columns(self.pipeline, columns, self.backends, deadline)
        return answers, PartVectors(rows, self.bundle.signature, tensors)

    async def close(self) -> None:
        """Give back connections."""
        await self.backends.close()


def open_simpler(bundle: Bundle, predictor: PredictorClient | None, config: TransformerConfig) -> SimplerModel | None:
    """The simpler model of a bundle; None if it has none.

    Args:
        bundle: The bundle that is served.
        predictor: What turns the simpler model's vectors into predictions; None for what the configuration says.
        config: Time limits, and where the predictor is.

    Raises:
        BundleError: if it is refused.
    """
    if bundle.simpler is None:
        return None
    return SimplerModel(bundle.simpler, predictor or connect(bundle.simpler, config), config)


async def answer_columns(
    pipeline: Pipeline, columns: Columns, backends: Backends, deadline: float
) -> tuple[Columns, Tensors]:
    """Answers for the columns of a pipeline's features, and the vectors.

    Args:
        pipeline: Of the model.
        columns: Of its features; further columns are added.
        backends: Ask its predictor.
        deadline: When nobody waits for the answers any more, on the event loop's clock.

    Raises:
        RequestError: as the pipeline and the predictor do.
    """
    tensors = pipeline.tensors(columns)
    outputs = await backends.predict(tensors, deadline)
    predicted = time.perf_counter()
    answers = pipeline.predictions(outputs, columns)
    backends.measured(None, time.perf_counter() - predicted)
    return answers, tensors
