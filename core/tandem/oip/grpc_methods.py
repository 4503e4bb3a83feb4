"""What a gRPC server is asked: methods, and what a call of one has besides its message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

_CLOCKS_DIFFER_S: Final = 0.01


@dataclass(slots=True)
class CallContext:
    """What a call has besides its message.

    Attributes:
        headers: By lower-case name.
        deadline: When the client gives up, on the event loop's clock; None for never.
    """

    headers: Mapping[str, str]
    deadline: float | None = None

    def header(self, name: str) -> bytes | None:
        """The value of a header; None without it."""
        value = self.headers.get(name)
        return None if value is None else value.encode("latin-1")

    @property
    def remaining(self) -> float | None:
        """Seconds that are left, None for no limit."""
        return None if self.deadline is None else self.deadline - asyncio.get_running_loop().time()

    @property
    def expired(self) -> bool:
        """Whether its time is over. The client may notice that earlier by its own clock."""
        remaining = self.remaining
        return remaining is not None and remaining < _CLOCKS_DIFFER_S


Handler = Callable[[bytes, CallContext], Awaitable[bytes]]
"""From a serialised request to a serialised response; a refusal is a :class:`~tandem.errors.RequestError`."""

StreamHandler = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]
"""From serialised requests as they come to serialised responses; refuses as a :data:`Handler` does."""

AUXILIARY_BYTES: Final = 2**16
"""Longest request of a method that infers nothing."""


@dataclass(frozen=True, slots=True)
class Method:
    """A unary method.

    Attributes:
        handler: What answers.
        max_bytes: Longest request, after decompression.
    """

    handler: Handler
    max_bytes: int = AUXILIARY_BYTES
