"""Readings of a source of metrics: the values of both arms at one time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_rollout.analysis.counts import NoData, Scrape
from tandem_rollout.analysis.verdict import ProviderError

Buckets = Mapping[float, float]
"""A cumulative histogram, as in Prometheus: counts by upper edge, including the edge ``inf``."""

Histograms = Mapping[str, Mapping[str, Buckets]]
"""Histograms of one arm: by target, then by series."""


@dataclass(frozen=True, slots=True)
class CounterReading:
    """Counters of a metric of type errors, degraded, ratio or assignment.

    Attributes:
        stable: Counters of stable. For assignment only requests are counted.
        canary: Counters of the canary.
        born: Whether a missing series of events means zero events: true if events are a label of the metric of
            requests.
        scraped: Times at which targets were scraped, in seconds since the epoch, if that was before they were read.
        client_share: Share of the canary's failures that came from one client; None if clients are not known.
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
        stable: Histograms of stable.
        canary: Histograms of the canary.
        scraped: Times at which targets were scraped, in seconds since the epoch, if that was before they were read.
    """

    stable: Histograms
    canary: Histograms
    scraped: Mapping[str, float] = field(default_factory=dict, compare=False)


Reading = CounterReading | HistogramReading | NoData | ProviderError

Readings = Mapping[str, Reading]
"""Readings by the name of the metric."""
