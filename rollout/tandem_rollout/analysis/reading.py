"""What a source of metrics has read at one moment, of both arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_rollout.analysis.counts import NoData, Scrape
from tandem_rollout.analysis.verdict import ProviderError

Buckets = Mapping[float, float]
"""A cumulative histogram, as in Prometheus: counts by upper edge, the edge ``inf`` among them."""

Histograms = Mapping[str, Mapping[str, Buckets]]
"""Histograms of one arm: by target, then by series."""


@dataclass(frozen=True, slots=True)
class CounterReading:
    """Counters of a metric of type errors, degraded, ratio or assignment.

    Attributes:
        stable: Of stable; for assignment only requests count.
        canary: Of the canary.
        born: Whether no series of events means no events: true where events are a label of the requests' own metric.
        scraped: When targets were scraped, in seconds since the epoch, where that was before they were read.
        client_share: Part of the canary's failures that came from one client; None where clients are not known.
    """

    stable: Scrape
    canary: Scrape
    born: bool = True
    scraped: Mapping[str, float] = field(default_factory=dict, compare=False)
    client_share: float | None = None


@dataclass(frozen=True, slots=True)
class HistogramReading:
    """Histograms of a metric of type latency or drift.

    Attributes:
        stable: Of stable.
        canary: Of the canary.
        scraped: When targets were scraped, in seconds since the epoch, where that was before they were read.
    """

    stable: Histograms
    canary: Histograms
    scraped: Mapping[str, float] = field(default_factory=dict, compare=False)


Reading = CounterReading | HistogramReading | NoData | ProviderError

Readings = Mapping[str, Reading]
"""By name of the metric."""
