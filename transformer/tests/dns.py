"""A name system that tests are in charge of, and a clock that stands still between two look-ups."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from tandem_transformer.predictors.resolution import Resolution


class Names:
    """What one name resolves to; an error where it does not.

    Args:
        ips: Its addresses to begin with.
    """

    def __init__(self, *ips: str) -> None:
        self.ips: Collection[str] = ips
        self.fault: Exception | None = None
        self.asked: list[str] = []
        self.slept: list[float] = []
        self._asleep = asyncio.Semaphore(0)
        self._woken = asyncio.Semaphore(0)

    def resolution(self, host: str, every: float = 2.0) -> Resolution:
        return Resolution((host,), every, look_up=self.look_up, sleep=self.sleep)

    async def look_up(self, name: str) -> Collection[str]:
        self.asked.append(name)
        if self.fault is not None:
            raise self.fault
        return self.ips

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._asleep.release()
        await self._woken.acquire()

    async def looked_up(self) -> None:
        """Until what is known now has been made use of."""
        await self._asleep.acquire()
        self._asleep.release()

    async def change(self, *ips: str, fault: Exception | None = None) -> None:
        """Let the name have other addresses, and time pass until they are in use."""
        await self._asleep.acquire()
        self.ips, self.fault = ips, fault
        self._woken.release()
        await self.looked_up()
