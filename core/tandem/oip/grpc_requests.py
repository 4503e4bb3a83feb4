"""Requests of a call that streams, while they wait to be answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class Requests(asyncio.Queue[bytes | None]):
    """Requests of a stream that wait to be answered, None after the last.

    Attributes:
        size: Their bytes.
    """

    size = 0

    def add(self, message: bytes) -> None:
        """One more."""
        self.size += len(message)
        self.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.get()) is not None:
            self.size -= len(message)
            yield message
