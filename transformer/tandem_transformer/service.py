"""From calls to answers: lookup, pipeline, predictor, pipeline. The one place where a batch meets the world."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from tandem.bundle import Bundle
from tandem.dtypes import Column
from tandem.errors import (
    DeadlineExceeded,
    Internal,
    Overloaded,
    RequestError,
    Unavailable,
)
from tandem.golden import replay_vectors
from tandem.inputs import Inputs
from tandem.packed_rows import ViewColumns
from tandem.pipeline import Pipeline
from tandem.rows import RowReader
from tandem.stores import OnlineStore
from tandem_transformer.backends import Backends
from tandem_transformer.batch import BatchAnswer, Call, merge
from tandem_transformer.call_results import divide, expire, fail, refuse_rows, resolve
from tandem_transformer.coalescer import Coalescer
from tandem_transformer.config import TransformerConfig
from tandem_transformer.explain import name_causes
from tandem_transformer.metrics import Recorder
from tandem_transformer.mixed_batches import MixedBatches
from tandem_transformer.predictors import PredictorClient
from tandem_transformer.simpler_model import open_simpler

log = logging.getLogger(__name__)

MANY_ROWS = 1000
"""A batch of more rows yields to other requests between its stages, which take some milliseconds each."""

EXPIRY_S = 0.02
"""A call is ended at most so much after its deadline."""

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
        simpler: The same for the bundle's simpler model; None for what the configuration says, where there is one.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: OnlineStore,
        predictor: PredictorClient,
        config: TransformerConfig,
        recorder: Recorder,
        simpler: PredictorClient | None = None,
    ) -> None:
        self.bundle = bundle
        self.config = config
        self.model_name = config.model_name or bundle.name
        self.recorder = recorder
        self.unit_header = config.unit_header.encode()
        self.reader = RowReader(bundle.contract)
        self.pipeline: Pipeline = bundle.pipeline()
        self.draining = False
        self.listening = True
        self.backends = Backends(bundle, store, predictor, config, recorder.cache_counts)
        self.simpler = open_simpler(bundle, simpler, config)
        self._mixed = MixedBatches(self.pipeline, self.backends, self.simpler, recorder.cache_counts)
        self.request_timeout = config.request_timeout_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._expiry: asyncio.TimerHandle | None = None
        self._coalescer = Coalescer(
            self.answer,
            max_rows=config.max_batch_rows,
            max_wait=config.max_batch_wait_ms / 1000,
            max_batches=config.max_batches,
            max_queued_rows=config.max_queued_rows,
        )

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

    def call(self, size: int, timeout: float | None, arrived: float | None = None) -> Call:
        """A call with its deadline.

        Args:
            size: Number of its rows.
            timeout: Seconds that the client gives it; None for what the configuration gives.
            arrived: When the request was there, on the clock of deadlines; now if None.
        """
        own = timeout is not None and timeout < self.request_timeout
        seconds = timeout if own and timeout is not None else self.request_timeout
        call = Call(size, (self._loop.time() if arrived is None else arrived) + seconds, self._loop.create_future())
        if own:
            # a timer of its own only where a client asks for less time; the others share one
            timer = self._loop.call_at(call.deadline, expire, call)
            call.answer.add_done_callback(lambda _: timer.cancel())
        return call

    def submit(self, call: Call) -> None:
        """Put a call on its way, coalesced with others; its ``answer`` will be resolved.

        Raises:
            Overloaded: if too much is waiting.
        """
        self._coalescer.submit(call)
        if self._expiry is None:
            self._expiry = self._loop.call_later(EXPIRY_S, self._expire_late)

    async def answer(self, calls: list[Call]) -> None:
        """Answer the calls of one batch; each gets its answer or its error."""
        now = self._loop.time()
        late = [call for call in calls if call.deadline <= now]
        # nobody waits for these any more, so nothing is computed for them
        for call in late:
            expire(call)
        calls = [call for call in calls if not call.answer.done()] if late else calls
        if not calls:
            return
        try:
            await self._run(calls)
        except _SHARED as error:
            fail(calls, error)
        except Exception as error:
            # in parts, so that only the calls fail whose rows are the cause
            if len(calls) > 1:
                await asyncio.gather(*map(self.answer, divide(calls, error)))
            elif isinstance(error, RequestError):
                tensors = calls[0].tensors
                fail(calls, name_causes(error, self.bundle.signature, tensors) if tensors else error)
            else:
                request_id = calls[0].request_id.decode("latin-1")
                log.exception("a request failed", extra={"request_id": request_id})
                fail(calls, Internal("internal error"))

    async def close(self) -> None:
        """Finish what is in flight, then give back connections."""
        await self._coalescer.drain()
        await self.backends.close()
        if self.simpler is not None:
            await self.simpler.close()

    def _expire_late(self) -> None:
        """End the calls whose time is over, wherever they are; a timer for each of them would cost more."""
        calls = list(self._coalescer.calls())
        self._expiry = self._loop.call_later(EXPIRY_S, self._expire_late) if calls else None
        now = self._loop.time()
        for call in calls:
            if call.deadline <= now:
                expire(call)

    async def _run(self, calls: list[Call]) -> None:
        # one function for the whole path: each further await would cost a coroutine per batch
        clock = time.perf_counter
        started = clock()
        request = merge(self.reader, calls)
        rows = sum(call.size for call in calls)
        # NumPy's times have no zone: all of them are UTC
        now = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us")
        as_of = self.reader.as_of(request, now)
        merged = clock()
        if rows > MANY_ROWS:
            await asyncio.sleep(0)
        views, hits = await self.backends.look_up(request, as_of)
        looked_up = clock()
        if rows > MANY_ROWS:
            await asyncio.sleep(0)
        features = self.pipeline.features(Inputs(request, views, as_of))
        if hits is not None:
            features.forget(hits.rows.tolist())
        # a row that cannot be answered fails its own call only: the others go on without it
        if features.refused and (refused := features.unanswerable):
            if answerable := refuse_rows(calls, refused):
                await self.answer(answerable)
            return
        computed = clock()
        decode = sum(call.decode_s for call in calls) + merged - started
        if features.simpler or hits is not None:
            spent = decode, looked_up - merged, computed - looked_up
            batch = await self._mixed.answer(Inputs(request, views, as_of), features, hits, spent)
            self._finish(calls, batch, views, as_of)
            return
        if rows > MANY_ROWS:
            await asyncio.sleep(0)
        tensors = self.pipeline.tensors(features.columns)
        # only a call that is alone can be shown which vectors made it fail
        if len(calls) == 1:
            calls[0].tensors = tensors
        assembled = clock()
        outputs = await self.backends.predict(tensors)
        predicted = clock()
        if rows > MANY_ROWS:
            await asyncio.sleep(0)
        answers = self.pipeline.predictions(outputs, features.columns)
        finished = clock()
        stages = (
            decode,
            looked_up - merged,
            computed - looked_up,
            assembled - computed,
            predicted - assembled,
            finished - predicted,
        )
        batch = BatchAnswer(answers, tensors, features.degraded, stages)
        self._finish(calls, batch, views, as_of)

    def _finish(self, calls: list[Call], batch: BatchAnswer, views: Sequence[ViewColumns], as_of: Column) -> None:
        self.recorder.batch(batch, calls, views, as_of)
        resolve(calls, batch)
