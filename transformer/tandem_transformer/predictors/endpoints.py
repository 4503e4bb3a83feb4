"""The endpoints of one predictor: each call goes to the one with the least work, and around one that fails."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tandem.errors import Internal, Unavailable
from tandem.inputs import Tensors
from tandem_transformer.predictors import PredictorClient
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.resolution import Resolution
from tandem_transformer.predictors.tensors import unavailable

EJECTION_S = 1.0
"""For so long an endpoint that failed is passed over, as long as another is left."""

SUSPICION_S = 10.0
"""For so long after that it gets no second tries: the name system may take as long to forget a pod that is gone."""


@dataclass(slots=True, eq=False)
class _Endpoint:
    address: Address
    predictor: PredictorClient
    outstanding: int = 0
    turn: int = 0
    out_until: float = float("-inf")
    gone: bool = False


class Endpoints:
    """Balances calls over the endpoints that a resolution finds, until it finds others.

    A call whose endpoint cannot be reached, or whose model fails there, is tried once more on another one: inference
    changes nothing, so that is safe. Only an endpoint that cannot be reached is passed over: a model fails where a row
    is bad, on every endpoint.

    Args:
        connect: Makes what calls one endpoint; connections are made when there is something to ask.
        resolution: Finds the endpoints.
        counted: Called with their number whenever they change.
    """

    def __init__(
        self,
        connect: Callable[[Address], PredictorClient],
        resolution: Resolution,
        *,
        counted: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._connect = connect
        self._resolution = resolution
        self._counted = counted
        self._endpoints: list[_Endpoint] = []
        self._turns = itertools.count(1)
        resolution.start(self.use)

    async def use(self, addresses: Sequence[Address]) -> None:
        """Call these endpoints from now on.

        Those that are called already keep their connections; those that are not among them any more are closed as soon
        as the calls that they have are answered.
        """
        previous = {endpoint.address: endpoint for endpoint in self._endpoints}
        self._endpoints = [
            previous.pop(address) if address in previous else _Endpoint(address, self._connect(address))
            for address in dict.fromkeys(addresses)
        ]
        self._counted(len(self._endpoints))
        for endpoint in previous.values():
            endpoint.gone = True
            if not endpoint.outstanding:
                await endpoint.predictor.close()

    async def infer(self, tensors: Tensors) -> Tensors:
        """Output tensors of the endpoint with the fewest calls outstanding.

        Raises:
            Unavailable: if there is no endpoint, or two of them, or the only one, cannot be reached.
            Internal: ``inference_failed`` if the model fails on two of them, or on the only one; ``predictor_refused``.
        """
        if not self._endpoints:
            await self._await_endpoints()
        first = self._pick(None)
        try:
            return await self._infer(first, tensors)
        except (Unavailable, Internal) as error:
            second = self._pick(first)
            # what one refuses every other would refuse too
            if second is first or error.code == "predictor_refused":
                raise
            return await self._infer(second, tensors)

    async def close(self) -> None:
        """Close every endpoint."""
        await self._resolution.close()
        for endpoint in self._endpoints:
            await endpoint.predictor.close()

    async def _await_endpoints(self) -> None:
        await self._resolution.tried()
        if not self._endpoints:
            raise unavailable("the predictor's host is not found")

    def _pick(self, failed: _Endpoint | None) -> _Endpoint:
        # the only one is asked even if it has just failed
        if len(self._endpoints) == 1:
            return self._endpoints[0]
        now = time.monotonic()
        candidates = [endpoint for endpoint in self._endpoints if endpoint is not failed]
        healthy = [endpoint for endpoint in candidates if endpoint.out_until <= now]
        if failed is not None:
            # a first try finds out whether an endpoint is back, a second one is the last that a call has
            healthy = [endpoint for endpoint in healthy if endpoint.out_until + SUSPICION_S <= now] or healthy
        return min(healthy or candidates, key=_load)

    async def _infer(self, endpoint: _Endpoint, tensors: Tensors) -> Tensors:
        endpoint.outstanding += 1
        endpoint.turn = next(self._turns)
        try:
            return await endpoint.predictor.infer(tensors)
        except (Unavailable, asyncio.CancelledError):
            # a call is cancelled when its time is up: an endpoint that hangs is as bad as one that is down
            endpoint.out_until = time.monotonic() + EJECTION_S
            raise
        finally:
            endpoint.outstanding -= 1
            if endpoint.gone and not endpoint.outstanding:
                await endpoint.predictor.close()


def _load(endpoint: _Endpoint) -> tuple[int, int]:
    """Equals take turns. A sum of calls would send a newcomer all of them until it had as many as the others."""
    return endpoint.outstanding, endpoint.turn
