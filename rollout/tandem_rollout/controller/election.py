"""Leader election: of several controllers, only the holder of a Lease acts.

The rules are those of Kubernetes' own controllers. The holder renews its lease. A candidate takes the lease when it has
not changed for its duration. The API server accepts a write only if the lease has not changed since it was read, so
that only one of two candidates acquires it.

The clocks of two machines are never compared. A candidate measures the time since it first read the present version of
the lease; a leader measures the time since it sent the last successful renewal. Both use monotonic clocks. So a leader
stops before another one begins, unless one clock runs ``lease / deadline`` times as fast as the other.
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
    """Seconds on a monotonic clock that, if the system has one, also counts while the machine is suspended."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class LeaseError(Exception):
    """A call of the API server failed. The message names the call and the cause."""


class Leases(Protocol):
    """Storage of the lease."""

    async def read(self) -> Lease | None:
        """Read the lease; None if it does not exist.

        Raises:
            LeaseError: The API server did not respond.
        """
        ...

    async def write(self, lease: Lease) -> Lease | None:
        """Create a lease that has no version, or replace the lease with this version.

        Returns:
            The lease after the write; None if the lease in storage has another version.

        Raises:
            LeaseError: The write failed, or its response was lost.
        """
        ...


class Elector:
    """Runs the election for one process.

    Args:
        leases: Storage of the lease.
        identity: Unique name of this process.
        timing: Times of the election.
        clock: Seconds on a monotonic clock.
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
        """Whether this process is the leader now. It must be checked before each write."""
        return self._candidacy.leads(self._clock())

    async def run(self, term: Callable[[], Awaitable[None]]) -> None:
        """Take part in the election until cancelled, and then release the lease.

        Args:
            term: The work of the leader. It is cancelled when this process stops being the leader, and called again
                when this process becomes the leader again.

        Raises:
            Exception: An exception of the term.
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
        # a separate task ends the term in time, even while a renewal waits for the API server
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
            if self.leads:  # an expired lease begins another term, even if no other process has taken it
                await self._try()

    async def _expire(self) -> None:
        """Wait until this process is no longer the leader."""
        while (remaining := self._candidacy.until - self._clock()) > 0:
            await self._sleep(remaining)

    async def _try(self) -> None:
        """Read the lease, and acquire or renew it if that is allowed."""
        try:
            async with asyncio.timeout(self._timing.call):
                if not await self._claim():
                    await self._claim()  # the lease was changed by another process: read it again
        except TimeoutError:
            self._complain(f"timed out after {self._timing.call:g} s waiting for the API server")
        except LeaseError as error:
            self._complain(str(error))
        else:
            self._complaint = ""

    async def _claim(self) -> bool:
        """Acquire or renew the lease if that is allowed; returns False after a conflict with another write."""
        candidacy = self._candidacy
        # a leader knows the lease from its own last write, and renews it with one call
        if not (self._is_read and self.leads):
            before = candidacy.holder
            candidacy.observe(await self._leases.read(), self._clock())
            if candidacy.holder not in (before, candidacy.identity, ""):
                logger.info("the leader is %s", candidacy.holder)
        self._is_read = False  # the state is unknown if the response is lost
        # before the call: others count from the time at which the API server stores the lease, which is later
        sent = self._clock()
        claim = candidacy.claim(sent, self._time_of_day())
        if claim is None:
            return True
        # even if the response is lost, this process may be the holder
        self._has_written = True
        lease = await self._leases.write(claim)
        if lease is None:
            return False
        candidacy.confirm(lease, sent, self._clock())
        self._is_read = True
        return True

    async def _release(self) -> None:
        """Release the lease, so that another process can begin at once. Without it the lease expires."""
        self._candidacy.resign(self._time_of_day())
        if not self._has_written:
            return
        try:
            async with asyncio.timeout(self._timing.call):
                for _ in range(2):  # a pending renewal may conflict
                    self._candidacy.observe(await self._leases.read(), self._clock())
                    lease = self._candidacy.resign(self._time_of_day())
                    if lease is None or await self._leases.write(lease):
                        return
        except TimeoutError:
            logger.warning("the lease is not released: timed out after %g s", self._timing.call)
        except LeaseError as error:
            logger.warning("the lease is not released: %s", error)

    def _complain(self, complaint: str) -> None:
        """Log a problem, once while it stays the same."""
        if complaint != self._complaint:
            logger.warning("leader election: %s", complaint)
        self._complaint = complaint
