"""One endpoint of the predictor, and what its calls say about it: a circuit breaker.

An endpoint that fails once is passed over while another is left, and asked by probes until it answers. If it is the
only one, calls still try it, until it has failed several times in a row. So a dead endpoint costs no call a timeout
that could know of it, and none waits for a probe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from tandem.errors import DeadlineExceeded, RequestError, Unavailable
from tandem.inputs import Tensors
from tandem.predictor_messages import unavailable
from tandem_transformer.breaker import FAILURES, PROBE_S
from tandem_transformer.predictors import PredictorClient
from tandem_transformer.predictors.address import Address

log = logging.getLogger(__name__)

LONGEST_PROBE_S: Final = 1.0
"""Longest time between two probes: each one waits twice as long as the one before."""

_NEARLY_ALL: Final = 0.9

Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""


class Endpoint:
    """One endpoint.

    Args:
        address: Where it is.
        predictor: Calls it.
        timeout_s: Seconds that a call may take. Only a call that has had about as many, and no answer, is a failure:
            what ends earlier was up to whoever made it.
        sleep: Waits between probes.

    Attributes:
        address: As above.
        outstanding: Calls under way.
        turn: Number of its last call among those of all endpoints.
        failures: Failures in a row.
        failed_at: When it failed last, on the event loop's clock.
    """

    def __init__(
        self, address: Address, predictor: PredictorClient, timeout_s: float, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.address = address
        self.outstanding = 0
        self.turn = 0
        self.failures = 0
        self.failed_at = float("-inf")
        self._predictor = predictor
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._clock = asyncio.get_running_loop().time
        self._fault = unavailable("the predictor cannot be reached")
        self._probing: asyncio.Task[None] | None = None
        self._gone = False

    @property
    def is_open(self) -> bool:
        """Whether it is asked by probes only."""
        return self.failures >= FAILURES

    def refusal(self) -> Unavailable:
        """The error of a call that is not made, since the last ones have failed."""
        fault = self._fault
        return Unavailable(str(fault), code=fault.code, retry_after=fault.retry_after)

    async def infer(self, tensors: Tensors, deadline: float) -> Tensors:
        """Output tensors by name; see :meth:`PredictorClient.infer`."""
        self.outstanding += 1
        started = self._clock()
        try:
            outputs = await self._predictor.infer(tensors, deadline)
        except Unavailable as error:
            self._fail(error, tensors)
            raise
        except (DeadlineExceeded, asyncio.CancelledError):
            # an endpoint that hangs is as bad as one that is down
            if self._clock() - started >= _NEARLY_ALL * self._timeout_s:
                self._fail(unavailable("the predictor does not answer in time"), tensors)
            raise
        except RequestError:
            # a refusal is an answer
            self._recover()
            raise
        else:
            if self.failures:
                self._recover()
            return outputs
        finally:
            self.outstanding -= 1
            if self._gone and not self.outstanding:
                await self._predictor.close()

    async def leave(self) -> None:
        """Make no more calls here; the connections are closed as soon as those under way are answered."""
        self._gone = True
        if self._probing is not None:
            self._probing.cancel()
        if not self.outstanding:
            await self._predictor.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._probing is not None:
            self._probing.cancel()
        await self._predictor.close()

    def _fail(self, fault: Unavailable, tensors: Tensors) -> None:
        if not self.failures:
            log.warning("a predictor is passed over: %s", fault, extra=self._logged())
        self.failures += 1
        self.failed_at = self._clock()
        self._fault = fault
        if self._probing is None and not self._gone:
            # of one row: what answers that is up
            row = {name: tensor[:1] for name, tensor in tensors.items()}
            self._probing = asyncio.create_task(self._probe(row))
            self._probing.add_done_callback(self._probed)

    def _recover(self) -> None:
        if self.failures:
            log.warning("a predictor answers again", extra=self._logged())
        self.failures = 0

    async def _probe(self, tensors: Tensors) -> None:
        """Ask until there is an answer, to a call or to a probe."""
        pause = PROBE_S
        while True:
            await self._sleep(pause)
            if not self.failures:
                return
            pause = min(2 * pause, LONGEST_PROBE_S)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._predictor.infer(tensors, self._clock() + self._timeout_s)
            except Unavailable as error:
                self._fail(error, tensors)
            except TimeoutError:
                self._fail(unavailable("the predictor does not answer in time"), tensors)
            except RequestError:
                self._recover()
            else:
                self._recover()

    def _probed(self, probing: asyncio.Task[None]) -> None:
        self._probing = None
        if not probing.cancelled() and (error := probing.exception()) is not None:
            log.error("a probe of a predictor failed", exc_info=error, extra=self._logged())

    def _logged(self) -> dict[str, str]:
        return {"host": self.address.host, "ip": self.address.ip}
