"""The endpoints of one predictor: each call goes to the one with the least work, and around one that fails."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from tandem.errors import Internal, RequestError, Unavailable
from tandem.inputs import Tensors
from tandem.predictor_messages import unavailable
from tandem_transformer.background import Background, first_success
from tandem_transformer.predictors import PredictorClient
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.endpoint import Endpoint, Sleep
from tandem_transformer.predictors.resolution import Resolution
from tandem_transformer.predictors.retry_budget import RetryBudget, RetryCounts

SUSPICION_S = 10.0
"""For so long an endpoint that failed gets no second tries: the name system may take as long to forget a pod that is
gone."""

_MOST_HEDGED = 64
"""With so many calls under way that may be made twice, none is: the predictor does not answer."""


@dataclass(frozen=True, slots=True)
class Trying:
    """How often and for how long an endpoint is tried.

    Attributes:
        timeout_s: Seconds that a call may take.
        hedge_after_s: Seconds without an answer after which a call is made on a second endpoint too; 0 for never.
        sleep: Waits between probes.
    """

    timeout_s: float = 1.0
    hedge_after_s: float = 0.0
    sleep: Sleep = asyncio.sleep


class Endpoints:
    """Balances calls over the endpoints that a resolution finds, until it finds others.

    A call whose endpoint cannot be reached, or whose model fails there, is tried once more on another one: inference
    changes nothing, so that is safe. All second calls together have a budget. Only an endpoint that cannot be reached
    is passed over: a model fails where a row is bad, on every endpoint.

    Args:
        connect: Makes what calls one endpoint; connections are made when there is something to ask.
        resolution: Finds the endpoints.
        trying: How often and for how long.
        counted: Called with their number whenever they change.
        retries: Counts second calls.
    """

    def __init__(
        self,
        connect: Callable[[Address], PredictorClient],
        resolution: Resolution,
        *,
        trying: Trying | None = None,
        counted: Callable[[int], object] = lambda _: None,
        retries: RetryCounts | None = None,
    ) -> None:
        self._connect = connect
        self._resolution = resolution
        self._trying = trying or Trying()
        self._counted = counted
        self._retries = retries or RetryCounts()
        self._budget = RetryBudget()
        self._clock = asyncio.get_running_loop().time
        self._endpoints: list[Endpoint] = []
        self._turns = itertools.count(1)
        self._hedged = Background(_MOST_HEDGED)
        resolution.start(self.use)

    async def use(self, addresses: Sequence[Address]) -> None:
        """Call these endpoints from now on.

        Those that are called already keep their connections; those that are not among them any more are closed as soon
        as the calls that they have are answered.
        """
        previous = {endpoint.address: endpoint for endpoint in self._endpoints}
        self._endpoints = [
            previous.pop(address) if address in previous else self._open(address)
            for address in dict.fromkeys(addresses)
        ]
        self._counted(len(self._endpoints))
        for endpoint in previous.values():
            await endpoint.leave()

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        """Output tensors of the endpoint with the fewest calls outstanding.

        Raises:
            Unavailable: if there is no endpoint, or two of them, or the only one, cannot be reached.
            Internal: ``inference_failed`` if the model fails on two of them, or on the only one; ``predictor_refused``.
        """
        if not self._endpoints:
            await self._await_endpoints()
        first = self._pick_first()
        if self._trying.hedge_after_s and not self._hedged.is_full:
            return await self._hedge(first, tensors, deadline)
        try:
            return await self._call(first, tensors, deadline)
        except (Unavailable, Internal) as error:
            second = self._pick_second(first, error)
            if second is None:
                raise
            return await self._call(second, tensors, deadline)

    async def close(self) -> None:
        """Close every endpoint."""
        await self._resolution.close()
        await self._hedged.close()
        for endpoint in self._endpoints:
            await endpoint.close()

    async def _await_endpoints(self) -> None:
        await self._resolution.tried()
        if not self._endpoints:
            raise unavailable("the predictor's host is not found")

    def _pick_first(self) -> Endpoint:
        """Where a call is made; it fills the budget for second ones."""
        self._budget.deposit()
        first = self._pick(None)
        if first.is_open:
            raise first.refusal()
        return first

    def _open(self, address: Address) -> Endpoint:
        return Endpoint(address, self._connect(address), self._trying.timeout_s, self._trying.sleep)

    def _pick(self, failed: Endpoint | None) -> Endpoint:
        # the only one is asked even if it has just failed
        if len(self._endpoints) == 1:
            return self._endpoints[0]
        candidates = [endpoint for endpoint in self._endpoints if endpoint is not failed]
        healthy = [endpoint for endpoint in candidates if not endpoint.failures]
        if failed is not None:
            # of some pods that end at once, one may have answered its last probe
            before = self._clock() - SUSPICION_S
            healthy = [endpoint for endpoint in healthy if endpoint.failed_at <= before] or healthy
        return min(healthy or candidates, key=_load)

    def _pick_second(self, first: Endpoint, error: RequestError | None) -> Endpoint | None:
        """Where a call is made a second time, after an error of the first one or without its answer; None for nowhere.

        It is taken from the budget.
        """
        # what one refuses every other would refuse too
        if error is not None and error.code == "predictor_refused":
            return None
        second = self._pick(first)
        if second is first or second.is_open or (error is None and second.failures):
            return None
        if not self._budget.withdraw():
            self._retries.denied += 1
            return None
        if error is None:
            self._retries.hedges += 1
        else:
            self._retries.retries += 1
        return second

    def _call(self, endpoint: Endpoint, tensors: Tensors, deadline: float) -> Coroutine[Any, Any, Tensors]:
        endpoint.turn = next(self._turns)
        return endpoint.infer(tensors, deadline)

    async def _hedge(self, first: Endpoint, tensors: Tensors, deadline: float) -> Tensors:
        """The answer of the first endpoint, or of a second one that is called where the first one takes long."""
        call = self._start(first, tensors, deadline)
        await asyncio.wait([call], timeout=self._trying.hedge_after_s)
        error = call.exception() if call.done() else None
        if call.done() and not isinstance(error, Unavailable | Internal):
            return call.result()
        second = self._pick_second(first, error if isinstance(error, RequestError) else None)
        if second is None:
            return await asyncio.shield(call)
        return await first_success(call, self._start(second, tensors, deadline))

    def _start(self, endpoint: Endpoint, tensors: Tensors, deadline: float) -> asyncio.Task[Tensors]:
        """A call that goes on where another one is faster: to end it would close its connection."""
        return self._hedged.start(self._call_within(endpoint, tensors, deadline))

    async def _call_within(self, endpoint: Endpoint, tensors: Tensors, deadline: float) -> Tensors:
        try:
            async with asyncio.timeout(self._trying.timeout_s):
                return await self._call(endpoint, tensors, deadline)
        except TimeoutError:
            raise unavailable("the predictor does not answer in time") from None


def _load(endpoint: Endpoint) -> tuple[bool, int, int]:
    """Equals take turns. A sum of calls would send a newcomer all of them until it had as many as the others."""
    return endpoint.is_open, endpoint.outstanding, endpoint.turn
