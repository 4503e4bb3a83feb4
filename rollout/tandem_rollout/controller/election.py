"""Leader election: of several controllers, the one that holds a Lease acts.

The rules are those of Kubernetes' own controllers. A holder renews its lease; WHOEVER waits takes the lease when it has
not changed for as long as the holder promised. The API server takes a write only if the lease is still the one that the
writer has read, so that of two who want it one gets it.

Clocks of two machines are never compared. A candidate counts the seconds since it first saw the present version of the
lease, a leader those since it sent the last renewal that succeeded; both on clocks that nobody sets. So a leader stops
before another one begins unless the clock of one runs ``lease / deadline`` times as fast as that of the other.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from tandem_rollout.controller.candidacy import Candidacy, Lease, Timing

logger = logging.getLogger(__name__)


def uptime() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine is suspended where the system has one."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class LeaseError(Exception):
    """The API server has not answered, or refuses a call; the message says which and why."""


class Leases(Protocol):
    """Where the lease is kept."""

    async def read(self) -> Lease | None:
        """The lease; None before it is there.

        Raises:
            LeaseError: if the API server does not answer.
        """
        ...

    async def write(self, lease: Lease) -> Lease | None:
        """Create a lease without a version, or replace the one of that version.

        Returns:
            The lease as it is then; None if it is not the one of that version any more.

        Raises:
            LeaseError: if the API server does not take it, or its answer is lost.
        """
        ...


class Elector:
    """Has one of several processes act.

    Args:
        leases: Where the lease is kept.
        identity: Name of this process, which no other one has.
        timing: How long things take.
        clock: Seconds on a clock that nobody sets.
        time_of_day: Seconds since the epoch.
        sleep: Waits for some seconds of the clock.
    """

    def __init__(
        self,
        leases: Leases,
        identity: str,
        *,
        timing: Timing | None = None,
        clock: Callable[[], float] = uptime,
        time_of_day: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._leases = leases
        self._timing = timing or Timing()
        self._clock = clock
        self._time_of_day = time_of_day
        self._sleep = sleep
        self._candidacy = Candidacy(identity, self._timing)
        self._is_read = False
        self._has_written = False
        self._complaint = ""

    @property
    def leads(self) -> bool:
        """Whether this process is the leader at this moment. To be asked right before each write."""
        return self._candidacy.leads(self._clock())

    async def run(self, term: Callable[[], Awaitable[None]]) -> None:
        """Stand for election until cancelled, and then release the lease.

        Args:
            term: What the leader does. It is cancelled when this process stops to be the leader, and called again when
                it becomes it once more.

        Raises:
            Exception: What the term raises.
        """
        try:
            while True:
                await self._try()
                if self.leads:
                    await self._lead(term)
                else:
                    remaining = self._candidacy.expires - self._clock()
                    await self._sleep(min(self._timing.retry, remaining) if remaining > 0 else self._timing.retry)
        finally:
            await self._release()

    async def _lead(self, term: Callable[[], Awaitable[None]]) -> None:
        logger.info("%s became the leader", self._candidacy.identity)
        acting = asyncio.ensure_future(term())
        tasks = [acting, asyncio.create_task(self._renew()), asyncio.create_task(self._expire())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            logger.info("%s stopped leading", self._candidacy.identity)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _renew(self) -> None:
        """Renew the lease as long as this process is the leader."""
        while self.leads:
            await self._sleep(self._timing.retry if self._complaint else self._timing.renewal)
            if self.leads:  # what has run out is another term, even if nobody has taken it
                await self._try()

    async def _expire(self) -> None:
        """Wait until this process is the leader no more."""
        while (remaining := self._candidacy.until - self._clock()) > 0:
            await self._sleep(remaining)

    async def _try(self) -> None:
        """Look at the lease, and get or renew it if that is allowed."""
        try:
            async with asyncio.timeout(self._timing.call):
                if not await self._claim():
                    await self._claim()  # somebody else has written: look once more
        except TimeoutError:
            self._complain(f"the API server has not answered within {self._timing.call:g} s")
        except LeaseError as error:
            self._complain(str(error))
        else:
            self._complaint = ""

    async def _claim(self) -> bool:
        """Get or renew the lease if that is allowed; returns False where another write came between."""
        candidacy = self._candidacy
        if not (self._is_read and self.leads):
            before = candidacy.holder
            candidacy.observe(await self._leases.read(), self._clock())
            if candidacy.holder not in (before, candidacy.identity, ""):
                logger.info("the leader is %s", candidacy.holder)
        self._is_read = False  # nor does anybody know, if the answer is lost
        sent = self._clock()
        claim = candidacy.claim(sent, self._time_of_day())
        if claim is None:
            return True
        self._has_written = True
        lease = await self._leases.write(claim)
        if lease is None:
            return False
        candidacy.confirm(lease, sent, self._clock())
        self._is_read = True
        return True

    async def _release(self) -> None:
        """Let another process begin at once. What fails here only takes longer."""
        self._candidacy.resign(self._time_of_day())
        if not self._has_written:
            return
        try:
            async with asyncio.timeout(self._timing.call):
                for _ in range(2):  # a renewal that was on its way may come between
                    self._candidacy.observe(await self._leases.read(), self._clock())
                    lease = self._candidacy.resign(self._time_of_day())
                    if lease is None or await self._leases.write(lease):
                        return
        except TimeoutError:
            logger.warning("the lease is not released: no answer within %g s", self._timing.call)
        except LeaseError as error:
            logger.warning("the lease is not released: %s", error)

    def _complain(self, complaint: str) -> None:
        """Log what is wrong, once as long as it stays the same."""
        if complaint != self._complaint:
            logger.warning("leader election: %s", complaint)
        self._complaint = complaint
