"""What a batch asks of others: the online store and the predictor, each within its time.

The deadline of a batch is the latest of its requests. It ends the waiting, never the work: who gives up a lookup or a
call of the predictor half-way has to close the connection, and to suspect the predictor, which others share. But the
predictor is told until when somebody waits, and drops what it has not begun by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from math import inf
from typing import Any

from tandem.bundle import Bundle
from tandem.dtypes import Column, Columns
from tandem.errors import DeadlineExceeded
from tandem.inputs import Tensors
from tandem.packed_rows import ViewColumns
from tandem.precomputed import Hits, PrecomputedPredictions
from tandem.stores import OnlineStore, open_store
from tandem_transformer.background import Background
from tandem_transformer.config import TransformerConfig
from tandem_transformer.lookups import Lookups
from tandem_transformer.prediction_cache import CacheCounts, PredictionCache
from tandem_transformer.predictors import PredictorClient
from tandem_transformer.reserve import Estimate, observe, share_of
from tandem_transformer.shared_predictions import SharedPredictions


class Backends:
    """The online store and the predictor of one bundle.

    Args:
        bundle: The version that is served.
        store: Where features are looked up.
        predictor: What turns vectors into predictions.
        config: Time limits, and what may be kept.
        counts: Counters of rows by how they were answered.

    Attributes:
        store: The online store.
        precomputed: Reads predictions that were computed ahead; None if the model takes none.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: OnlineStore,
        predictor: PredictorClient,
        config: TransformerConfig,
        counts: CacheCounts,
    ) -> None:
        timeout_s = config.store_timeout_ms / 1000
        self._counts = counts
        self.store = store
        self.precomputed = None if bundle.model.precomputed is None else PrecomputedPredictions(bundle)
        # twice as many as batches: that many are under way only where the backend does not answer
        self._late_lookups, self._late_calls = Background(2 * config.max_batches), Background(2 * config.max_batches)
        self._lookups = Lookups(
            bundle.model.views, store, timeout_s, config.last_known_bytes, self._late_lookups, self.precomputed
        )
        self._predictor = predictor
        self._predictor_timeout = config.predictor_timeout_ms / 1000
        self._clock = asyncio.get_running_loop().time
        self._after_lookup, self._after_prediction = Estimate(), Estimate()
        self._cache: PredictionCache | None = None
        self._shared = _share_predictions(bundle, config)
        if config.prediction_cache_bytes or self._shared is not None:
            identity = f"{bundle.digest} {bundle.signature.hash}".encode()
            limits = config.prediction_cache_bytes, config.prediction_cache_ttl_s
            self._cache = PredictionCache(identity, *limits, self._clock, counts, self._shared)

    async def look_up(
        self, request: Columns, as_of: Column, deadline: float
    ) -> tuple[tuple[ViewColumns, ...], Hits | None]:
        """What is known of each view, row by row, and predictions computed ahead; see :meth:`Lookups.look_up`.

        Args:
            request: Columns of the contract.
            as_of: When each row's question is asked: ``datetime64[us]``.
            deadline: When nobody waits for the batch any more, on the event loop's clock.
        """
        within_s = share_of(deadline - self._clock(), self._after_lookup)
        views = await self._lookups.look_up(request, len(as_of), within_s)
        if self.precomputed is None:
            return views, None
        hits = self.precomputed.select(views[-1], as_of)
        misses = len(as_of) - (0 if hits is None else len(hits.rows))
        if misses:
            self._counts.missed(misses, self.precomputed.count_stale(views[-1], as_of))
        return views[:-1], hits

    async def predict(self, tensors: Tensors, deadline: float) -> Tensors:
        """The model's output tensors for its input tensors, as far as they are kept from those.

        Args:
            tensors: Input tensors by name; the first axis is the rows.
            deadline: When nobody waits for the batch any more, on the event loop's clock.

        Raises:
            RequestError: as :meth:`ask_predictor`.
        """
        if self._cache is None:
            return await self.ask_predictor(tensors, deadline)
        # without the deadline: other batches may wait for the same rows, and what comes late is kept
        return await self._cache.infer(tensors, self.ask_predictor)

    async def ask_predictor(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        """The predictor's output tensors for input tensors.

        Args:
            tensors: Input tensors by name; the first axis is the rows.
            deadline: When nobody waits for them any more, on the event loop's clock.

        Raises:
            DeadlineExceeded: ``predictor_timeout``: the predictor did not answer in time; ``deadline_exceeded``:
                nobody waits any more.
            RequestError: what the predictor says against the call.
        """
        now = self._clock()
        share = share_of(deadline - now, self._after_prediction) if deadline < inf else inf
        if share >= self._predictor_timeout:
            return await self._call_predictor(tensors, now + self._predictor_timeout)
        if share <= 0:
            raise _too_late()
        return await self._ask_briefly(self._call_predictor(tensors, now + share), deadline - now)

    def measured(self, after_lookup: float | None, after_prediction: float | None) -> None:
        """A batch is done: what it has taken is kept back from the time that later ones give to others.

        Args:
            after_lookup: Seconds from the end of its lookup to its answer; None if that is not typical of others.
            after_prediction: Seconds from the predictor's answer to its own; None if that is not known.
        """
        if after_lookup is not None:
            self._after_lookup = observe(self._after_lookup, after_lookup)
        if after_prediction is not None:
            self._after_prediction = observe(self._after_prediction, after_prediction)

    async def close(self) -> None:
        """Finish what is under way, then give back connections."""
        for part in (self._late_lookups, self._late_calls, self._predictor, self._lookups, self._shared):
            if part is not None:
                await part.close()

    async def _ask_briefly(self, call: Coroutine[Any, Any, Tensors], seconds: float) -> Tensors:
        """The result of a call that goes on when nobody waits for it any more."""
        if self._late_calls.is_full:
            return await call
        try:
            return await self._late_calls.wait_for(call, seconds)
        except (TimeoutError, DeadlineExceeded):
            # the predictor knows only its part of the request's time, and may say first that it is over
            raise _too_late() from None

    async def _call_predictor(self, tensors: Tensors, deadline: float) -> Tensors:
        try:
            async with asyncio.timeout(self._predictor_timeout):
                return await self._predictor.infer(tensors, deadline)
        except TimeoutError:
            raise DeadlineExceeded("the predictor did not answer in time", code="predictor_timeout") from None


def _share_predictions(bundle: Bundle, config: TransformerConfig) -> SharedPredictions | None:
    if not config.prediction_cache_store:
        return None
    store = open_store(config.prediction_cache_store)
    timeout_s = config.prediction_cache_timeout_ms / 1000
    clock = asyncio.get_running_loop().time
    return SharedPredictions(store, bundle.signature.outputs, timeout_s, config.prediction_cache_ttl_s, clock)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("no answer before the deadline of the request")
