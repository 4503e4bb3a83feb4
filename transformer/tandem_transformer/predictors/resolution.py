"""Which addresses the predictor's host names have, asked again and again: behind one name pods come and go."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence

from tandem_transformer.predictors.address import Address

log = logging.getLogger(__name__)

RETRY_S = 2.0
"""So often a name is looked up that is to be found only once, until it is."""

LookUp = Callable[[str], Awaitable[Collection[str]]]
"""From a name to its addresses; an ``OSError`` or none at all mean that it is not found."""

Use = Callable[[Sequence[Address]], Awaitable[None]]
"""Called with all addresses whenever they change."""


class Resolution:
    """Follows the addresses of host names. Those of a name that is not found stay as they were last.

    Args:
        hosts: ``name:port`` each.
        every: Seconds from one look-up of a name to the next; 0 to find it once.
        look_up: Finds the addresses of a name.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        every: float,
        *,
        look_up: LookUp | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._every = every
        self._look_up = look_up or addresses_of
        self._sleep = sleep
        self._found: dict[str, tuple[Address, ...]] = dict.fromkeys(hosts, ())
        self._untried = len(self._found)
        self._tried = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, use: Use) -> None:
        """Look the names up from now on, each by itself: one that takes long does not hold up the others."""
        self._tasks = [asyncio.create_task(self._follow(host, use)) for host in self._found]

    async def tried(self) -> None:
        """Wait until an address has been found, or every name has been looked up without a result."""
        await self._tried.wait()

    async def close(self) -> None:
        """Look nothing up any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, host: str, use: Use) -> None:
        once = not self._every or _is_ip(Address(host).name)
        missing = False
        while True:
            addresses = await self._find(host, missing)
            missing = not addresses
            if addresses and addresses != self._found[host]:
                self._found[host] = addresses
                await use([address for group in self._found.values() for address in group])
            self._count_try()
            if once and addresses:
                return
            await self._sleep(self._every or RETRY_S)

    async def _find(self, host: str, missing: bool) -> tuple[Address, ...]:
        """The addresses of a name in a fixed order, none if it is not found; only a change of that is logged."""
        try:
            ips, error = await self._look_up(Address(host).name), "it has no address"
        # a name with an empty or too long part cannot be encoded to be asked for
        except (OSError, UnicodeError) as failed:
            ips, error = (), str(failed)
        if not ips and not missing:
            extra = {"host": host, "addresses_kept": len(self._found[host]), "error": error}
            log.warning("the predictor's host is not found", extra=extra)
        elif ips and missing:
            log.info("the predictor's host is found again", extra={"host": host, "addresses": len(ips)})
        # another order of the same addresses is no change
        return tuple(sorted({Address(host, ip) for ip in ips}))

    def _count_try(self) -> None:
        self._untried -= 1
        if self._untried <= 0 or any(self._found.values()):
            self._tried.set()


async def addresses_of(name: str) -> Collection[str]:
    """All IPv4 and IPv6 addresses that the system finds for a name.

    Those of this host are one, whichever of them its server listens on: for them the name itself stands.

    Raises:
        OSError: if it finds none.
    """
    entries = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    ips = {str(sockaddr[0]) for _, _, _, _, sockaddr in entries}
    return [name] if all(ipaddress.ip_address(ip).is_loopback for ip in ips) else ips


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
