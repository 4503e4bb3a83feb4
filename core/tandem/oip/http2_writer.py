"""What one end of a connection writes: frames that answer what has come together go out together."""

from __future__ import annotations

import asyncio
from typing import Final

_MAX_CORKED: Final = 1000
_LINGER_S: Final = 1.0
"""How long an end that is to close waits for the other end to do so."""


class FrameWriter:
    """The transport of a connection, and what has not been given to it yet.

    Attributes:
        transport: Of the connection, once there is one.
    """

    __slots__ = ("_corked", "_ended", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._corked: list[bytes] | None = None
        self._ended = False

    @property
    def connected(self) -> bool:
        """Whether something can still be sent."""
        return self.transport is not None and not self._ended and not self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send frames."""
        if self._corked is not None and len(self._corked) < _MAX_CORKED:
            self._corked.append(data)
        elif self.transport is not None and not self._ended:
            self._flush()
            self.transport.write(data)

    def cork(self) -> None:
        """Keep what is sent from now on, up to some frames of it, until :meth:`uncork`."""
        self._corked = []

    def uncork(self) -> None:
        """Send what was kept."""
        if self._corked:
            self._flush()
        self._corked = None

    def close(self) -> None:
        """Send what was kept, then close."""
        self._flush()
        if self.transport is not None:
            self.transport.close()

    def end(self) -> None:
        """Send what was kept, and close once the other end has closed, which it has a second for.

        What arrives at a closed socket is answered with a reset, which the other end may take for the end of calls
        whose answers it has not read yet; RFC 9112, section 9.6, says so of HTTP/1. Not over TLS.
        """
        self._flush()
        if self.transport is not None and self.connected:
            self._ended = True
            self.transport.write_eof()
            asyncio.get_running_loop().call_later(_LINGER_S, self.transport.close)

    def _flush(self) -> None:
        if self._corked and self.transport is not None and not self._ended:
            frames, self._corked = b"".join(self._corked), []
            self.transport.write(frames)
