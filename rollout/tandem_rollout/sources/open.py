"""The source that an analysis names."""

from __future__ import annotations

from tandem_rollout.gates import Analysis
from tandem_rollout.sources import Source
from tandem_rollout.sources.prometheus import PrometheusSource
from tandem_rollout.sources.scrape import ScrapeSource


def open_source(analysis: Analysis, platform_prometheus: str = "") -> Source:
    """Open the source of an analysis; whoever opens it closes it.

    Args:
        analysis: The analysis.
        platform_prometheus: Address of Prometheus where the analysis has none.
    """
    if analysis.source == "pods":
        return ScrapeSource()
    return PrometheusSource(analysis.prometheus or platform_prometheus)
