"""The source that an analysis names, or one that stands for a source that must not be read."""

from __future__ import annotations

from collections.abc import Sequence

from tandem_rollout.analysis.reading import Readings
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.sources import Arms, MetricSource
from tandem_rollout.sources.prometheus import PrometheusSource
from tandem_rollout.sources.scrape import ScrapeSource


def open_source(analysis: Analysis, platform_prometheus: str = "") -> MetricSource:
    """Open the source of an analysis; WHOEVER opens it closes it.

    Args:
        analysis: The analysis.
        platform_prometheus: Address of Prometheus where the analysis has none.
    """
    if analysis.source == "pods":
        return ScrapeSource()
    return PrometheusSource(analysis.prometheus or platform_prometheus)


class RejectedSource:
    """Stands for a source that must not be read: no metric can be, and each says why.

    Args:
        error: Why.
    """

    def __init__(self, error: ProviderError) -> None:
        self._error = error

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        """The error, for each metric."""
        return {metric.full_name: self._error for metric in metrics}

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        """The same."""
        return [await self.read(metrics, arms)]

    async def close(self) -> None:
        """Nothing is open."""
