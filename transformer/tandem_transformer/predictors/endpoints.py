"""Several endpoints of one predictor: each call goes to the one with the least work, and around one that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tandem.errors import Unavailable
from tandem.pipeline import Tensors
from tandem_transformer.predictors import Predictor

EJECTION_S = 1.0
"""For so long an endpoint that failed is passed over, as long as another is left."""


@dataclass(slots=True, eq=False)
class _Endpoint:
    predictor: Predictor
    outstanding: int = 0
    calls: int = 0
    out_until: float = 0.0


class Endpoints:
    """Balances calls over the endpoints it is given.

    A call whose endpoint cannot be reached is tried once more on another one: inference changes nothing, so that is
    safe.

    Args:
        predictors: One for each endpoint.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        self._endpoints = [_Endpoint(predictor) for predictor in predictors]

    async def infer(self, tensors: Tensors) -> Tensors:
        """Output tensors of the endpoint with the fewest calls outstanding.

        Raises:
            Unavailable: if two endpoints, or the only one, cannot be reached.
        """
        first = self._pick(None)
        try:
            return await _infer(first, tensors)
        except Unavailable:
            second = self._pick(first)
            if second is first:
                raise
            return await _infer(second, tensors)

    async def close(self) -> None:
        """Close every endpoint."""
        for endpoint in self._endpoints:
            await endpoint.predictor.close()

    def _pick(self, failed: _Endpoint | None) -> _Endpoint:
        if len(self._endpoints) == 1:
            return self._endpoints[0]
        now = time.monotonic()
        others = [endpoint for endpoint in self._endpoints if endpoint is not failed]
        healthy = [endpoint for endpoint in others if endpoint.out_until <= now]
        return min(healthy or others, key=lambda endpoint: (endpoint.outstanding, endpoint.calls))


async def _infer(endpoint: _Endpoint, tensors: Tensors) -> Tensors:
    endpoint.outstanding += 1
    endpoint.calls += 1
    try:
        return await endpoint.predictor.infer(tensors)
    except (Unavailable, asyncio.CancelledError):
        # a call is cancelled when its time is up: an endpoint that hangs is as bad as one that is down
        endpoint.out_until = time.monotonic() + EJECTION_S
        raise
    finally:
        endpoint.outstanding -= 1
