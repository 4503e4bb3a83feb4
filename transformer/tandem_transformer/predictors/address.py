"""Where one endpoint of the predictor is: the name it goes by, and the address that connections are made to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

CONNECT_S = 1.0
"""How long a connection may take to be made, where nothing else is said."""

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """One endpoint.

    Attributes:
        host: ``name:port`` as it was given: what requests and certificates speak of.
        ip: What the name resolved to; empty to leave that to each new connection.
    """

    host: str
    ip: str = ""

    @property
    def name(self) -> str:
        """The host without its port; an IPv6 address without its brackets."""
        return self.host.rpartition(":")[0].strip("[]")

    async def connect(self, protocol: Callable[[], _Protocol], tls: ssl.SSLContext | None, within: float) -> _Protocol:
        """Open a connection; over TLS the other end must prove to be the name, whatever its address.

        Args:
            protocol: Makes what speaks on the connection.
            tls: How to verify the other end; None for a connection in the clear.
            within: Seconds that it may take. The address of a pod that is gone often answers nothing at all.

        Raises:
            OSError: if it cannot be made.
        """
        loop = asyncio.get_running_loop()
        port = int(self.host.rpartition(":")[2])
        name = self.name if tls else None
        try:
            async with asyncio.timeout(within):
                transport, connection = await loop.create_connection(
                    protocol, self.ip or self.name, port, ssl=tls, server_hostname=name
                )
        except TimeoutError:
            raise TimeoutError(f"no connection to {self.host} within {within:g} s") from None
        if transport.is_closing():
            # as a server that is just ending does; what is written to it would never be answered
            raise ConnectionError(f"{self.host} closed the connection at once")
        return connection
