"""Opens the source of an analysis."""

from __future__ import annotations

from collections.abc import Sequence

from tandem_rollout.analysis.reading import Readings
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.sources import Arms, MetricSource
from tandem_rollout.sources.prometheus import PrometheusSource
from tandem_rollout.sources.scrape import ScrapeSource


def open_source(analysis: Analysis, platform_prometheus: str = "") -> MetricSource:
    """Open the source of an analysis. The caller must close it.

    Args:
        analysis: The analysis.
        platform_prometheus: Address of Prometheus if the analysis has none.
    """
    if analysis.source == "pods":
        return ScrapeSource()
    return PrometheusSource(analysis.prometheus or platform_prometheus)


class RejectedSource:
    """A source that is not allowed. Each reading is the same error.

    Args:
        error: The error.
    """

    def __init__(self, error: ProviderError) -> None:
        self._error = error

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        """The error, for each metric."""
        return {metric.full_name: self._error for metric in metrics}

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        """The error, for each metric."""
        return [await self.read(metrics, arms)]

    async def close(self) -> None:
        """Do nothing."""
