"""What a request over HTTP/1 costs that arrives in many small parts."""

from __future__ import annotations

import time
from typing import Final

from tandem.oip.budgets import FREE_SEGMENTS, PARTS_PER_UNIT, SEGMENT_COST, SHORT_DATA, Allowance, Overhead

_SHORT_READ: Final = SEGMENT_COST * PARTS_PER_UNIT
"""Parts that a read of a few bytes counts as."""


class PartMeter:
    """Counts the parts of the requests of one connection, and charges its client for them.

    Args:
        overhead: The account that all connections share.

    Attributes:
        parts: Parts that have not been charged.
        short_reads: Short reads of the request that is on its way, of which some are free.
    """

    def __init__(self, overhead: Allowance) -> None:
        self.parts = 0
        self._overhead = Overhead(overhead, time.monotonic)
        self.short_reads = 0

    def count_read(self, size: int) -> None:
        """Count a read of some bytes in the middle of a request."""
        if size < SHORT_DATA:
            self.short_reads += 1
            if self.short_reads > FREE_SEGMENTS:
                self.parts += _SHORT_READ

    def charge(self) -> float:
        """Charge for the parts so far; returns the seconds in which nothing may be read."""
        if self.parts < PARTS_PER_UNIT:
            return 0.0
        units, self.parts = self.parts // PARTS_PER_UNIT, 0
        return self._overhead.charge(units)
