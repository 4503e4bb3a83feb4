"""A stream of HTTP/2: one call."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Http2Stream:
    """One call on a connection.

    Attributes:
        number: Of the stream.
        window: Bytes that the other end still takes.
        unsent: What has not been sent for want of window, from ``offset``.
        offset: What of ``unsent`` has been sent.
        trailers: Header block that ends the stream when all is sent; empty where the last data does.
        open: More will be sent than is known yet.
        headers: Received so far.
        content: Received so far.
        ended: The other end has said all.
        waits: How often it has been seen to wait for the other end.
        cost: What reading its headers has cost, in units of :mod:`tandem.oip.budgets`.
    """

    number: int
    window: int
    unsent: bytes = b""
    offset: int = 0
    trailers: bytes = b""
    open: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | bytearray = b""
    ended: bool = False
    waits: int = 0
    cost: int = 0

    @property
    def left(self) -> int:
        """Bytes that have not been sent."""
        return len(self.unsent) - self.offset

    def receive(self, content: bytes) -> None:
        """Add to what was received."""
        if isinstance(self.content, bytes):
            self.content = bytearray(self.content)
        self.content += content
