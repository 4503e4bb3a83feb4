"""What a batch asks of others: the online store and the predictor, each within its time.

Clients' own deadlines end the waiting for a batch, never its work: who gives up a look-up or a call of the predictor
half-way has to close the connection, and to suspect the predictor, which others share.
"""

from __future__ import annotations

import asyncio

import numpy as np

from tandem.bundle import Bundle
from tandem.dtypes import Columns
from tandem.errors import DeadlineExceeded, StoreError, Unavailable
from tandem.lookup import LookupPlan
from tandem.packed_rows import ViewColumns
from tandem.stores import OnlineStore
from tandem_transformer.config import TransformerConfig
from tandem_transformer.predictors import PredictorClient


class Backends:
    """The online store and the predictor of one bundle.

    Args:
        bundle: The version that is served.
        store: Where features are looked up.
        predictor: What turns vectors into predictions.
        config: Time limits.
    """

    def __init__(
        self, bundle: Bundle, store: OnlineStore, predictor: PredictorClient, config: TransformerConfig
    ) -> None:
        self._store = store
        self._predictor = predictor
        self._plan = LookupPlan(bundle.model.views)
        self._store_timeout = config.store_timeout_ms / 1000
        self._predictor_timeout = config.predictor_timeout_ms / 1000

    async def look_up(self, request: Columns, rows: int) -> tuple[ViewColumns, ...]:
        """What the store has of each view, row by row.

        Args:
            request: Columns of the contract.
            rows: How many rows they have.

        Raises:
            Unavailable: ``store_unavailable``: the store is down, or did not answer in time.
        """
        if not self._plan.uses:
            return ()
        keys = self._plan.keys(request)
        try:
            async with asyncio.timeout(self._store_timeout):
                values = await self._store.get(keys)
        except TimeoutError:
            raise Unavailable(
                "the feature store did not answer in time", code="store_unavailable", retry_after=1
            ) from None
        except StoreError as error:
            raise Unavailable(str(error), code="store_unavailable", retry_after=1) from error
        return self._plan.unpack(values, rows)

    async def predict(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The model's output tensors for its input tensors.

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
        await self._store.close()
