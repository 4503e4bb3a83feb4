"""A connection over HTTP/2 that pauses for what its client costs beyond its allowance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tandem.oip.budgets import Allowance, Overhead, headers_cost
from tandem.oip.http2_connection import Http2Connection


class MeteredConnection(Http2Connection):
    """A connection whose client pays for overhead: while it owes, nothing is read.

    Args:
        overhead: The account that all connections share, from :func:`~tandem.oip.budgets.shared_overhead`.
        settings: Settings of HTTP/2 that are announced to the client.
    """

    def __init__(self, overhead: Allowance, *, settings: Sequence[tuple[int, int]]) -> None:
        super().__init__(settings=settings)
        self._loop = asyncio.get_running_loop()
        self._overhead = Overhead(overhead, self._loop.time)
        self._postponed: Callable[[], None] | None = None
        self._pausing: asyncio.Handle | None = None

    def pause_writing(self) -> None:
        """The client does not read: nor does the server, or its answers would pile up."""
        super().pause_writing()
        if self.sender.transport is not None:
            self.sender.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        # a client that owes is not read before its pause is over
        if self.sender.transport is not None and self.connected and not self.reader.paused:
            self.sender.transport.resume_reading()

    def spend(self, cost: int = 1) -> None:
        """Bear with a client's overhead up to its allowance; beyond that it waits, and so does all that follows."""
        seconds = self._overhead.charge(cost)
        # one pause at a time: of two timers only the last could be stopped
        if seconds and not self.reader.paused:
            self.pause(seconds)

    def postponed(self, size: int, step: Callable[[], None]) -> bool:
        """Long headers are paid for before they are read, or a client would get them read with each new connection."""
        seconds = self._overhead.charge(headers_cost(size))
        if seconds:
            self._postponed = step
            self.pause(seconds)
        return seconds > 0

    def resume(self) -> None:
        """Read the headers that have been paid for."""
        step = self._postponed
        # during the pause frames are only buffered
        if step is not None and not self.reader.paused:
            self._postponed = None
            step()

    def pause(self, seconds: float) -> None:
        """Read nothing for some seconds; 0 for the rest of this turn of the event loop."""
        # what has been read already waits too, not only what is in the socket
        self.reader.paused = True
        if self.sender.transport is not None and self.connected:
            self.sender.transport.pause_reading()
        self._pausing = self._loop.call_later(seconds, self.go_on) if seconds else self._loop.call_soon(self.go_on)

    def go_on(self) -> None:
        """Take the frames that have waited, and others."""
        self.reader.paused = False
        if self.sender.transport is not None and self.connected:
            # a client that does not read its answers stays unread
            if not self.sender.paused:
                self.sender.transport.resume_reading()
            # frames that came before the pause lie in the reader, and nothing else may come to wake it
            self.data_received(b"")

    def stop_pausing(self) -> None:
        """The connection is over: read nothing that was postponed."""
        self._postponed = None
        # a timer would keep the connection in memory until it goes off
        if self._pausing is not None:
            self._pausing.cancel()
