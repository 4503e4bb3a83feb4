"""What a batch asks of others: the online store and the predictor, each within its time.

Clients' own deadlines end the waiting for a batch, never its work: who gives up a look-up or a call of the predictor
half-way has to close the connection, and to suspect the predictor, which others share.
"""

from __future__ import annotations

import asyncio

import numpy as np

from tandem.bundle import Bundle
from tandem.dtypes import Columns
from tandem.errors import DeadlineExceeded
from tandem.packed_rows import ViewColumns
from tandem.stores import OnlineStore
from tandem_transformer.config import TransformerConfig
from tandem_transformer.lookups import Lookups
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
        timeout_s = config.store_timeout_ms / 1000
        self._lookups = Lookups(bundle.model.views, store, timeout_s, config.last_known_bytes)
        self._predictor = predictor
        self._predictor_timeout = config.predictor_timeout_ms / 1000

    async def look_up(self, request: Columns, rows: int) -> tuple[ViewColumns, ...]:
        """What is known of each view, row by row; see :meth:`Lookups.look_up`."""
        return await self._lookups.look_up(request, rows)

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
        await self._lookups.close()
