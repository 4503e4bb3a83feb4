"""What the transformers of a variant measured, parsed from their Prometheus metrics."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from tandem_cli.local.http import get_text

TOTAL = "total"
"""Name of the whole request among the stages: ``tandem_request_seconds``."""


@dataclass(frozen=True)
class StageHistogram:
    """Observations, counted in buckets.

    Attributes:
        buckets: Number of observations up to an upper edge, by that edge, ascending; the last edge is infinite.
    """

    buckets: Mapping[float, float] = field(default_factory=dict)

    @property
    def count(self) -> float:
        """Number of observations."""
        return max(self.buckets.values(), default=0.0)

    def __add__(self, summand: StageHistogram) -> StageHistogram:
        return self._combined(summand, 1.0)

    def __sub__(self, earlier: StageHistogram) -> StageHistogram:
        return self._combined(earlier, -1.0)

    def quantile(self, q: float) -> float:
        """The q-quantile, estimated like ``histogram_quantile`` of Prometheus.

        Observations are assumed to be evenly spread within a bucket; the result is at most the last finite edge.

        Args:
            q: Between 0 and 1.

        Returns:
            The quantile; NaN without observations.
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

    def _combined(self, operand: StageHistogram, sign: float) -> StageHistogram:
        edges = sorted({*self.buckets, *operand.buckets})
        return StageHistogram(
            {edge: self.buckets.get(edge, 0.0) + sign * operand.buckets.get(edge, 0.0) for edge in edges}
        )


@dataclass(frozen=True)
class PairMetrics:
    """What one variant measured: since its start, or between two scrapes.

    Attributes:
        codes: Responses by HTTP status.
        seconds: Durations by stage, :data:`TOTAL` included.
        degraded: Rows predicted without all stored values, by reason.
    """

    codes: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, StageHistogram] = field(default_factory=dict)
    degraded: Mapping[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> float:
        """Number of responses."""
        return sum(self.codes.values())

    @property
    def errors(self) -> float:
        """Number of responses with a status that the server is to blame for: 5xx and 429."""
        return sum(count for code, count in self.codes.items() if code.startswith("5") or code == "429")

    def __add__(self, summand: PairMetrics) -> PairMetrics:
        stages = {*self.seconds, *summand.seconds}
        none = StageHistogram()
        return PairMetrics(
            _sum(self.codes, summand.codes, 1.0),
            {stage: self.seconds.get(stage, none) + summand.seconds.get(stage, none) for stage in stages},
            _sum(self.degraded, summand.degraded, 1.0),
        )

    def __sub__(self, earlier: PairMetrics) -> PairMetrics:
        none = StageHistogram()
        return PairMetrics(
            _sum(self.codes, earlier.codes, -1.0),
            {stage: seconds - earlier.seconds.get(stage, none) for stage, seconds in self.seconds.items()},
            _sum(self.degraded, earlier.degraded, -1.0),
        )


def parse(text: str) -> PairMetrics:
    """Parse the metrics of one transformer.

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
    return PairMetrics(codes, {stage: StageHistogram(counts) for stage, counts in buckets.items()}, degraded)


def read_metrics(urls: Iterable[str]) -> PairMetrics:
    """What some transformers measured since their start, summed.

    Raises:
        OSError: if a transformer cannot be reached.
    """
    return sum((parse(get_text(url)) for url in urls), PairMetrics())


def split(counts: Mapping[str, float]) -> dict[str, float]:
    """Share of each variant in a sum of counts; NaN if the sum is 0."""
    total = sum(counts.values())
    return {variant: count / total if total else math.nan for variant, count in counts.items()}


def _sum(left: Mapping[str, float], right: Mapping[str, float], sign: float) -> dict[str, float]:
    return {key: left.get(key, 0.0) + sign * right.get(key, 0.0) for key in [*left, *(right.keys() - left.keys())]}
