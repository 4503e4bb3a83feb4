"""A source that is not read."""

from __future__ import annotations

from collections.abc import Sequence

from tandem_rollout.analysis.reading import Readings
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.gates import Metric
from tandem_rollout.sources import Arms


class Refused:
    """Stands for a source that must not be read: no metric can be, and each says why.

    Args:
        error: Why.
    """

    def __init__(self, error: ProviderError) -> None:
        self._error = error

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        """The error, for each metric."""
        return {metric.called: self._error for metric in metrics}

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        """The same."""
        return [await self.read(metrics, arms)]

    async def close(self) -> None:
        """Nothing is open."""
