"""From calls to answers: lookup, pipeline, predictor, pipeline. The one place where a batch meets the world."""

from __future__ import annotations

import asyncio
import logging
import time

from tandem.bundle import Bundle
from tandem.clock import utc_now
from tandem.errors import (
    DeadlineExceeded,
    Internal,
    Overloaded,
    RequestError,
    Unavailable,
)
from tandem.golden import replay_vectors
from tandem.inputs import Inputs
from tandem.pipeline import Pipeline
from tandem.rows import RowReader
from tandem.stores import OnlineStore
from tandem_transformer.backends import Backends
from tandem_transformer.batch import BatchAnswer, Call, merge
from tandem_transformer.call_results import divide, expire, fail, refuse_rows, resolve
from tandem_transformer.config import TransformerConfig
from tandem_transformer.explain import name_causes
from tandem_transformer.intake import Intake
from tandem_transformer.metrics import Recorder
from tandem_transformer.mixed_batches import MixedBatches
from tandem_transformer.prediction_log.log import PredictionLog
from tandem_transformer.predictors import PredictorClient
from tandem_transformer.simpler_model import open_simpler

log = logging.getLogger(__name__)

MANY_ROWS = 1000
"""A batch of more rows yields to other requests between its stages, which take some milliseconds each."""

# No row can be the cause of these: a second try in parts would only add to the load.
_SHARED = (Overloaded, Unavailable, DeadlineExceeded)


class Service:
    """Answers calls for one bundle.

    Args:
        bundle: The version that is served.
        store: Where features are looked up.
        predictor: What turns vectors into predictions.
        config: Time limits and bounds of batches.
        recorder: Takes what is measured.
        prediction_log: Where predictions are logged; None where they are not.
        simpler: What turns the vectors of the bundle's simpler model into predictions; None for what the configuration
            says, where there is one.

    Attributes:
        call: Makes a call with its deadline; :meth:`Intake.call`.
        check_room: Refuses a request before it is read, where that is certain already; :meth:`Intake.check_room`.
        submit: Puts a call on its way; :meth:`Intake.submit`.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: OnlineStore,
        predictor: PredictorClient,
        config: TransformerConfig,
        recorder: Recorder,
        prediction_log: PredictionLog | None = None,
        simpler: PredictorClient | None = None,
    ) -> None:
        self.bundle = bundle
        self.config = config
        self.model_name = config.model_name or bundle.name
        self.recorder = recorder
        self.prediction_log = prediction_log
        self.unit_header = config.unit_header.encode()
        self.reader = RowReader(bundle.contract)
        self.pipeline: Pipeline = bundle.pipeline()
        self.draining = False
        self.listening = True
        self.backends = Backends(bundle, store, predictor, config, recorder.cache_counts)
        self.fairness_header = config.fairness_header.encode()
        self.simpler = open_simpler(bundle, simpler, config)
        self._mixed = MixedBatches(self.pipeline, self.backends, self.simpler, recorder.cache_counts)
        self._loop = asyncio.get_running_loop()
        self._intake = intake = Intake(self.answer, config, recorder)
        self.request_timeout = intake.request_timeout
        # not methods of its own, whose calls would be on the path of every request
        self.call, self.check_room, self.submit = intake.call, intake.check_room, intake.submit

    def prove(self) -> None:
        """Replay the golden rows to vectors and answers; a service that cannot must not serve.

        Raises:
            BundleError: naming the column that differs.
        """
        replay_vectors(self.pipeline, self.bundle.golden_inputs())
        if self.simpler is not None:
            self.simpler.prove()

    @property
    def ready(self) -> bool:
        """Whether new requests should come here: not while stopping, nor where a port does not answer.

        What comes all the same is answered.
        """
        return self.listening and not self.draining

    def now(self) -> float:
        """The time on the clock of deadlines."""
        return self._loop.time()

    async def answer(self, calls: list[Call]) -> None:
        """Answer the calls of one batch; each gets its answer or its error."""
        now = self._loop.time()
        if late := [call for call in calls if call.deadline <= now]:
            # nobody waits for these any more, so nothing is computed for them
            for call in late:
                expire(call)
            self._log_failures(late)
            calls = [call for call in calls if not call.answer.done()]
        if not calls:
            return
        try:
            await self._run(calls)
        except _SHARED as error:
            fail(calls, error)
            self._log_failures(calls)
        except Exception as error:
            # in parts, so that only the calls fail whose rows are the cause
            if len(calls) > 1:
                await asyncio.gather(*map(self.answer, divide(calls, error)))
            elif isinstance(error, RequestError):
                tensors = calls[0].tensors
                fail(calls, name_causes(error, self.bundle.signature, tensors) if tensors else error)
                self._log_failures(calls)
            else:
                request_id = calls[0].request_id.decode("latin-1")
                log.exception("a request failed", extra={"request_id": request_id})
                fail(calls, Internal("internal error"))
                self._log_failures(calls)

    async def close(self) -> None:
        """Finish what is in flight, then give back connections, and write what is to be logged."""
        await self._intake.drain()
        await self.backends.close()
        if self.simpler is not None:
            await self.simpler.close()
        if self.prediction_log is not None:
            await self.prediction_log.close()

    def _log_failures(self, calls: list[Call]) -> None:
        if self.prediction_log is not None:
            self.prediction_log.failed(calls)

    async def _run(self, calls: list[Call]) -> None:
        # one function for the whole path: each further await would cost a coroutine per batch
        clock = time.perf_counter
        started = clock()
        request = merge(self.reader, calls)
        now = utc_now()
        as_of = self.reader.as_of(request, now)
        rows = len(as_of)
        merged = clock()
        if rows > MANY_ROWS:
            await asyncio.sleep(0)
        # lists and not generators, which cost more for the few calls of most batches
        deadline = max([call.deadline for call in calls])
        views, hits = await self.backends.look_up(request, as_of, deadline)
        looked_up = clock()
        if rows > MANY_ROWS:
            await asyncio.sleep(0)
        inputs = Inputs(request, views, as_of)
        features = self.pipeline.features(inputs)
        if hits is not None:
            features.forget(hits.rows.tolist())
        # a row that cannot be answered fails its own call only: the others go on without it
        if features.refused and (refused := features.unanswerable):
            await self._answer_others(calls, refused)
            return
        computed = clock()
        spent = sum([call.decode_s for call in calls]) + merged - started, looked_up - merged, computed - looked_up
        if features.simpler or hits is not None:
            batch = await self._mixed.answer(inputs, features, hits, spent, deadline)
        else:
            if rows > MANY_ROWS:
                await asyncio.sleep(0)
            tensors = self.pipeline.tensors(features.columns)
            # only a call that is alone can be shown which vectors made it fail
            if len(calls) == 1:
                calls[0].tensors = tensors
            assembled = clock()
            outputs = await self.backends.predict(tensors, deadline)
            predicted = clock()
            if rows > MANY_ROWS:
                await asyncio.sleep(0)
            answers = self.pipeline.predictions(outputs, features.columns)
            finished = clock()
            self.backends.measured(finished - looked_up, finished - predicted)
            stages = (*spent, assembled - computed, predicted - assembled, finished - predicted)
            batch = BatchAnswer(answers, tensors, features.degraded, stages)
        self.recorder.batch(batch, calls, views, as_of)
        if self.prediction_log is not None:
            written = self.prediction_log.answered(calls, batch, request, views, as_of, now)
            if written is not None:
                await written
        resolve(calls, batch)

    async def _answer_others(self, calls: list[Call], refused: dict[int, RequestError]) -> None:
        answerable = refuse_rows(calls, refused)
        self._log_failures(list(set(calls).difference(answerable)))
        if answerable:
            await self.answer(answerable)
