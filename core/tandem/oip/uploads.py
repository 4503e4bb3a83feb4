"""What requests that are still on their way to a process may cost it, over all its connections.

A client that sends a request byte by byte, or never to its end, holds memory and a connection for as long as the server
waits. So a request has a deadline for its arrival, and there is a budget of bytes that are held for such requests, and
one of connections. A request that arrives in one piece, as small ones do, meets none of this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tandem.errors import Overloaded, RequestTooLarge
from tandem.oip.budgets import Allowance, shared_overhead

MAX_HEAD_BYTES: Final = 65_536
"""Longest request line and headers, names and values together."""

_RETRY_AFTER_S: Final = 1.0


@dataclass(slots=True, kw_only=True)
class Uploads:
    """Limits of one process, and what is held now.

    Attributes:
        max_body_bytes: Longest body of a request.
        max_buffered_bytes: Bytes of bodies that may be held at once, of those that came in more than one piece.
        timeout_s: Seconds from the first to the last byte of a request.
        max_connections: Connections at once; of more, the one that was idle for longest is closed.
        held: Bytes that are held now.
        overhead: What bodies in many small parts may cost, all together.
    """

    max_body_bytes: int
    max_buffered_bytes: int = 2**27
    timeout_s: float = 30.0
    max_connections: int = 4096
    held: int = field(default=0, init=False)
    overhead: Allowance = field(default_factory=partial(shared_overhead, time.monotonic), init=False)

    def check_length(self, length: int) -> None:
        """Refuse a body that is, or will be, too long.

        Raises:
            RequestTooLarge: it has more than ``max_body_bytes``.
        """
        if length > self.max_body_bytes:
            raise RequestTooLarge(f"the body is longer than {self.max_body_bytes} bytes")

    def reserve(self, count: int) -> None:
        """Hold more bytes.

        Raises:
            Overloaded: ``too_many_uploads``: the budget is used up.
        """
        if self.held + count > self.max_buffered_bytes:
            raise Overloaded(
                f"{self.held} bytes of other requests are held already, at most {self.max_buffered_bytes} are",
                code="too_many_uploads",
                retry_after=_RETRY_AFTER_S,
            )
        self.held += count

    def release(self, count: int) -> None:
        """Hold that many bytes less."""
        self.held -= count


class Upload:
    """The request that is on its way on one connection: its body so far, and its deadline.

    Args:
        limits: Of the process.

    Attributes:
        body: What has come of it.
        deadline: Calls when the request has not come in time; None where nothing is waited for.
    """

    __slots__ = ("_held", "_limits", "body", "deadline")

    def __init__(self, limits: Uploads) -> None:
        self.body: bytes | bytearray = b""
        self.deadline: asyncio.TimerHandle | None = None
        self._limits = limits
        self._held = 0

    def add(self, part: bytes) -> None:
        """A further part of the body has come."""
        # to be grown in place: bytes would be copied with each part
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += part

    def wait(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        """The rest comes later: see that it comes in time.

        Args:
            loop: Tells the time.
            expire: Is called where it does not.
        """
        if self.deadline is None:
            self.deadline = loop.call_later(self._limits.timeout_s, expire)

    def stop_waiting(self) -> None:
        """The rest has come, or need not come."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def reserve(self) -> None:
        """Count what has come as held.

        Raises:
            RequestTooLarge: It is longer than is allowed.
            Overloaded: ``too_many_uploads``: the budget is used up.
        """
        self._limits.check_length(len(self.body))
        self._limits.reserve(len(self.body) - self._held)
        self._held = len(self.body)

    def take(self) -> tuple[bytes, int]:
        """The whole body, and how many bytes of it are to be released in the limits once it is not needed any more.

        Raises:
            RequestTooLarge: It is longer than is allowed.
        """
        self._limits.check_length(len(self.body))
        body, size = self.body, self._held
        self.body, self._held = b"", 0
        return body if isinstance(body, bytes) else bytes(body), size

    def drop(self) -> None:
        """The body is not needed."""
        self.body = b""
        self._limits.release(self._held)
        self._held = 0

    def abandon(self) -> None:
        """Nothing more will come of the request."""
        self.stop_waiting()
        self.drop()
