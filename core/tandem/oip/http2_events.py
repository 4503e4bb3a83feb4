"""What happens on a connection, which its two ends take differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from tandem.oip.http2 import ENHANCE_YOUR_CALM, ProtocolError
from tandem.oip.http2_stream import Http2Stream


class ConnectionEvents(ABC):
    """What a server or a client says to what the other end does.

    Attributes:
        streams: Those that are not over, by number.
    """

    def __init__(self) -> None:
        self.streams: dict[int, Http2Stream] = {}

    # of a stream

    def opened(self, number: int, headers: dict[str, str], size: int) -> Http2Stream | None:
        """The stream that headers arrive for, which it has from now on; None if the stream has ended.

        Args:
            number: Of the stream.
            headers: The headers.
            size: Bytes of their block.
        """
        if stream := self.streams.get(number):
            stream.headers |= headers
        return stream

    def refused(self, number: int, size: int) -> None:
        """Headers are longer than is allowed: the stream, if it is one, is not to go on.

        Args:
            number: Of the stream.
            size: Bytes of their block.
        """
        raise ProtocolError("the headers are too long", ENHANCE_YOUR_CALM)

    def grown(self, stream: Http2Stream) -> None:
        """Data has arrived."""

    @abstractmethod
    def finished(self, stream: Http2Stream) -> None:
        """All of a stream has arrived."""

    def progressed(self, stream: Http2Stream) -> None:
        """The other end has made room for some of a stream that waited, or for the rest of it."""

    def widened(self, number: int) -> None:
        """The other end takes more of a stream, or with 0 of all of them."""

    @abstractmethod
    def given_up(self, number: int, code: int) -> None:
        """The other end has reset a stream."""

    def violated(self, stream: Http2Stream, code: int) -> None:
        """The other end breaks the rules of one stream."""
        raise ProtocolError(f"stream {stream.number} breaks the protocol", code)

    def is_idle(self, number: int) -> bool:
        """Whether a stream has not been opened yet."""
        return False

    # of all the connection

    def spend(self, cost: int = 1) -> None:
        """Frames have come that bring no call forward, at a cost in units of :mod:`tandem.oip.budgets`."""

    def postponed(self, size: int, step: Callable[[], None]) -> bool:
        """Whether a header block is not read yet, for what it costs.

        Args:
            size: Its bytes.
            step: Reads it; is called before any further frame is taken.
        """
        return False

    def resume(self) -> None:
        """Bytes have come: do first what was postponed, if it is due.

        Raises:
            ProtocolError: It breaks the protocol; of other errors in what has come likewise.
        """

    def leaving(self, last: int) -> None:
        """The other end takes no streams after ``last``."""

    def pinged_back(self) -> None:
        """The other end has answered a ping."""

    @abstractmethod
    def broken_off(self, error: Exception) -> None:
        """The connection is over, or must be."""

    @abstractmethod
    def refuse(self, error: ProtocolError) -> None:
        """The other end breaks the protocol: the connection is to be closed."""
