"""How many requests may be in flight."""

from __future__ import annotations

from typing import Final

from tandem.errors import Overloaded
from tandem_predictor.metrics import PredictorMetrics

_RETRY_AFTER_S: Final = 1.0


class Admission:
    """Counts requests in flight, over REST and gRPC together.

    Args:
        limit: Most of them; 0 for no limit.
        metrics: Shows the count.
    """

    def __init__(self, limit: int, metrics: PredictorMetrics) -> None:
        self._limit = limit
        self.inflight = 0
        metrics.inflight.set_function(lambda: self.inflight)

    def __enter__(self) -> None:
        """Admit one.

        Raises:
            Overloaded: There are too many.
        """
        if self._limit and self.inflight >= self._limit:
            raise Overloaded(f"{self.inflight} requests are in flight already", retry_after=_RETRY_AFTER_S)
        self.inflight += 1

    def __exit__(self, *_: object) -> None:
        """One is answered."""
        self.inflight -= 1
