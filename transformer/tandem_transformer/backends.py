"""What a batch asks of others: the online store and the predictor, each within its time.

Clients' own deadlines end the waiting for a batch, never its work: who gives up a look-up or a call of the predictor
half-way has to close the connection, and to suspect the predictor, which others share.
"""

from __future__ import annotations

import asyncio

from tandem.bundle import Bundle
from tandem.dtypes import Column, Columns
from tandem.errors import DeadlineExceeded
from tandem.inputs import Tensors
from tandem.packed_rows import ViewColumns
from tandem.precomputed import Hits, PrecomputedPredictions
from tandem.stores import OnlineStore
from tandem_transformer.config import TransformerConfig
from tandem_transformer.lookups import Lookups
from tandem_transformer.prediction_cache import CacheCounts, PredictionCache
from tandem_transformer.predictors import PredictorClient


class Backends:
    """The online store and the predictor of one bundle.

    Args:
        bundle: The version that is served.
        store: Where features are looked up.
        predictor: What turns vectors into predictions.
        config: Time limits, and what may be kept.
        counts: Counters of the prediction cache.

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
        self.store = store
        self.precomputed = None if bundle.model.precomputed is None else PrecomputedPredictions(bundle)
        self._lookups = Lookups(bundle.model.views, store, timeout_s, config.last_known_bytes, self.precomputed)
        self._predictor = predictor
        self._predictor_timeout = config.predictor_timeout_ms / 1000
        self._cache: PredictionCache | None = None
        if config.prediction_cache_bytes:
            identity = f"{bundle.digest} {bundle.signature.hash}".encode()
            limits = config.prediction_cache_bytes, config.prediction_cache_ttl_s
            self._cache = PredictionCache(identity, *limits, asyncio.get_running_loop().time, counts)

    async def look_up(self, request: Columns, as_of: Column) -> tuple[tuple[ViewColumns, ...], Hits | None]:
        """What is known of each view, row by row, and predictions computed ahead; see :meth:`Lookups.look_up`.

        Args:
            request: Columns of the contract.
            as_of: When each row's question is asked: ``datetime64[us]``.
        """
        views = await self._lookups.look_up(request, len(as_of))
        if self.precomputed is None:
            return views, None
        return views[:-1], self.precomputed.select(views[-1], as_of)

    async def predict(self, tensors: Tensors) -> Tensors:
        """The model's output tensors for its input tensors, as far as they are kept from those.

        Raises:
            RequestError: as :meth:`ask_predictor`.
        """
        if self._cache is None:
            return await self.ask_predictor(tensors)
        return await self._cache.infer(tensors, self.ask_predictor)

    async def ask_predictor(self, tensors: Tensors) -> Tensors:
        """The predictor's output tensors for input tensors.

        Raises:
            DeadlineExceeded: ``predictor_timeout``: the predictor did not answer in time.
            RequestError: what the predictor says against the call.
        """
        try:
            async with asyncio.timeout(self._predictor_timeout):
                return await self._predictor.infer(tensors)
        except TimeoutError:
            raise DeadlineExceeded("the predictor did not answer in time", code="predictor_timeout") from None

    async def close(self) -> None:
        """Give back connections."""
        await self._predictor.close()
        await self._lookups.close()
