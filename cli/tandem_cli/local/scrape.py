"""What the transformers of a variant measured, read from their Prometheus metrics. Pure but for :func:`scrape`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from tandem_cli.local.http import get_text

TOTAL = "total"
"""Stands among the stages for the whole request: ``tandem_request_seconds``."""


@dataclass(frozen=True)
class Histogram:
    """Observations counted into buckets.

    Attributes:
        buckets: How many observations are at most so large, by upper edge, ascending; the last edge is infinite.
    """

    buckets: Mapping[float, float] = field(default_factory=dict)

    @property
    def count(self) -> float:
        """How many observations there are."""
        return max(self.buckets.values(), default=0.0)

    def __add__(self, other: Histogram) -> Histogram:
        return self._combined(other, 1.0)

    def __sub__(self, earlier: Histogram) -> Histogram:
        return self._combined(earlier, -1.0)

    def quantile(self, q: float) -> float:
        """Value below which a share ``q`` of the observations lies, as Prometheus' ``histogram_quantile`` estimates it.

        Within a bucket, observations count as evenly spread; beyond the last finite edge, that edge is given.

        Args:
            q: Between 0 and 1.

        Returns:
            NaN where nothing was observed.
        """
        rank = q * self.count
        if not self.count:
            return math.nan
        lower, below = 0.0, 0.0
        for edge, cumulative in sorted(self.buckets.items()):
            if cumulative >= rank and cumulative > below:
                if math.isinf(edge):
                    return lower
                return lower + (edge - lower) * max(0.0, rank - below) / (cumulative - below)
            lower, below = (lower if math.isinf(edge) else edge), cumulative
        return lower

    def _combined(self, other: Histogram, sign: float) -> Histogram:
        edges = sorted({*self.buckets, *other.buckets})
        return Histogram({edge: self.buckets.get(edge, 0.0) + sign * other.buckets.get(edge, 0.0) for edge in edges})


@dataclass(frozen=True)
class Measured:
    """What one variant measured: since its start, or between two scrapes.

    Attributes:
        codes: Answers by HTTP status.
        seconds: Durations by stage, :data:`TOTAL` included.
        degraded: Rows answered without all stored values, by reason.
    """

    codes: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, Histogram] = field(default_factory=dict)
    degraded: Mapping[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> float:
        """Answers of any status."""
        return sum(self.codes.values())

    @property
    def errors(self) -> float:
        """Answers that say that something is wrong on this side: 5xx, and 429."""
        return sum(count for code, count in self.codes.items() if code.startswith("5") or code == "429")

    def __add__(self, other: Measured) -> Measured:
        stages = {*self.seconds, *other.seconds}
        none = Histogram()
        return Measured(
            _sum(self.codes, other.codes, 1.0),
            {stage: self.seconds.get(stage, none) + other.seconds.get(stage, none) for stage in stages},
            _sum(self.degraded, other.degraded, 1.0),
        )

    def __sub__(self, earlier: Measured) -> Measured:
        none = Histogram()
        return Measured(
            _sum(self.codes, earlier.codes, -1.0),
            {stage: seconds - earlier.seconds.get(stage, none) for stage, seconds in self.seconds.items()},
            _sum(self.degraded, earlier.degraded, -1.0),
        )


def parse(text: str) -> Measured:
    """Read one transformer's metrics.

    Args:
        text: In Prometheus' text format.
    """
    codes: defaultdict[str, float] = defaultdict(float)
    degraded: defaultdict[str, float] = defaultdict(float)
    buckets: defaultdict[str, defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            match sample.name:
                case "tandem_requests_total":
                    codes[sample.labels["code"]] += sample.value
                case "tandem_degraded_total":
                    degraded[sample.labels["reason"]] += sample.value
                case "tandem_stage_seconds_bucket" | "tandem_request_seconds_bucket":
                    buckets[sample.labels.get("stage", TOTAL)][float(sample.labels["le"])] += sample.value
    return Measured(codes, {stage: Histogram(counts) for stage, counts in buckets.items()}, degraded)


def scrape(urls: Iterable[str]) -> Measured:
    """What the transformers at the given URLs measured since their start, together.

    Raises:
        OSError: if one cannot be reached.
    """
    return sum((parse(get_text(url)) for url in urls), Measured())


def split(counts: Mapping[str, float]) -> dict[str, float]:
    """Share of each variant, given how much traffic each had; NaN where there was none."""
    total = sum(counts.values())
    return {variant: count / total if total else math.nan for variant, count in counts.items()}


def _sum(left: Mapping[str, float], right: Mapping[str, float], sign: float) -> dict[str, float]:
    return {key: left.get(key, 0.0) + sign * right.get(key, 0.0) for key in [*left, *(right.keys() - left.keys())]}
