"""A circuit breaker: after some failures in a row a backend is asked by probes only, until one succeeds.

So a backend that is down costs no request a timeout after the first ones, and gets no load when it comes back that it
cannot bear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FAILURES: Final = 3
"""So many failures in a row open the circuit: a single slow answer does not."""

PROBE_S: Final = 0.1
"""Least time between two probes."""


class Breaker:
    """Says whether a backend may be asked.

    Args:
        clock: Seconds.

    Attributes:
        is_open: Whether the backend is asked by probes only.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.is_open = False
        self._clock = clock
        self._failures = 0
        self._probed = 0.0

    def succeeded(self) -> None:
        """The backend has answered."""
        self._failures = 0
        self.is_open = False

    def failed(self) -> None:
        """The backend has not answered in time, or with an error."""
        self._failures += 1
        self.is_open = self._failures >= FAILURES
        self._probed = self._clock()

    def takes_probe(self) -> bool:
        """Whether it is time for a probe; the caller sends one then, and reports how it ended."""
        now = self._clock()
        if now - self._probed < PROBE_S:
            return False
        self._probed = now
        return True
