"""What is counted of rows by how they were predicted."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from tandem_transformer.prediction_cache import CacheCounts


class CacheMetrics:
    """Metrics of kept predictions and of predictions computed ahead.

    Args:
        registry: Where they are collected.
        own: Labels ``model`` and ``version``.

    Attributes:
        counts: Rows since they were last counted.
    """

    def __init__(self, registry: CollectorRegistry, own: tuple[str, str]) -> None:
        self.counts = CacheCounts()
        self._own = own
        self._answered = Counter(
            "tandem_prediction_cache",
            "Rows by how they were predicted, where predictions are kept.",
            ("model", "version", "outcome"),
            registry=registry,
        )
        self._missed = Counter(
            "tandem_precomputed_misses",
            "Rows that no prediction computed ahead has answered, where the model takes any.",
            ("model", "version", "reason"),
            registry=registry,
        )

    def flush(self) -> None:
        """Count what has been taken since the last time."""
        for counter, counts in ((self._answered, self.counts.take()), (self._missed, self.counts.take_missed())):
            for name, count in counts.items():
                if count:
                    counter.labels(*self._own, name).inc(count)
