"""What a worker is observed by, as Prometheus reads it."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Mapping

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from tandem.bulk_histogram import BulkHistogram
from tandem.bundle import Bundle
from tandem_stream.records import Records
from tandem_stream.scoring import Scored

_ROWS = (1, 4, 16, 64, 256, 512, 1024, 2048, 4096, 16384)
_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_LABELS = ("model", "version")

BACKENDS = ("store", "predictor", "schema_registry")
"""What a worker may have to wait for."""


class Metrics:
    """Metrics of one worker.

    Args:
        bundle: The version that it predicts with.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.registry = CollectorRegistry()
        self._own = (bundle.name, bundle.version)
        self._add_counters()
        self._add_histograms(bundle)
        self._lag = Gauge(
            "tandem_stream_lag_records",
            "Records that are still to be read.",
            (*_LABELS, "partition"),
            registry=self.registry,
        )
        self._partitions = Gauge(
            "tandem_stream_partitions", "Partitions that this worker has.", _LABELS, registry=self.registry
        ).labels(*self._own)
        self._paused = Gauge(
            "tandem_stream_paused", "Whether a backend is waited for.", (*_LABELS, "backend"), registry=self.registry
        )
        self.paused(None)

    def _add_counters(self) -> None:
        registry = self.registry
        self._rows = Counter(
            "tandem_stream_rows", "Records, by what became of them.", (*_LABELS, "outcome"), registry=registry
        )
        # there from the start: Prometheus sees no increase in a series that begins above 0
        for outcome in ("predicted", "rejected"):
            self._rows.labels(*self._own, outcome)
        self._rejected = Counter(
            "tandem_stream_rejected", "Records in the dead-letter topic.", (*_LABELS, "code"), registry=registry
        )
        self._degraded = Counter(
            "tandem_degraded", "Stored values that were not used.", (*_LABELS, "reason", "source"), registry=registry
        )
        self._sessions = Counter(
            "tandem_stream_sessions", "How often clients of Kafka were opened.", _LABELS, registry=registry
        ).labels(*self._own)

    def _add_histograms(self, bundle: Bundle) -> None:
        registry = self.registry
        self._batch_rows = BulkHistogram(
            "tandem_rows_per_batch", "Records of one batch.", _LABELS, buckets=_ROWS, registry=registry
        ).labels(*self._own)
        self._stages = BulkHistogram(
            "tandem_stage_seconds",
            "Time of one batch in each stage.",
            (*_LABELS, "stage"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch = BulkHistogram(
            "tandem_stream_batch_seconds",
            "Time of one batch, from its last record to its delivery.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        ).labels(*self._own)
        self._delay = BulkHistogram(
            "tandem_stream_delay_seconds",
            "Time from a record's own to the delivery of its prediction.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        ).labels(*self._own)
        prediction = bundle.contract.prediction
        self._prediction: BulkHistogram | None = None
        if prediction.buckets:
            text = f"Predictions, {prediction.unit or 'no unit'}."
            self._prediction = BulkHistogram(
                "tandem_prediction", text, _LABELS, buckets=prediction.buckets, registry=registry
            ).labels(*self._own)

    def opened(self) -> None:
        """Clients were opened."""
        self._sessions.inc()

    def batch(self, records: Records, scored: Scored, seconds: float) -> None:
        """A batch was delivered.

        Args:
            records: The batch.
            scored: What became of it.
            seconds: How long it took.
        """
        self._batch_rows.observe(len(records))
        self._batch.observe(seconds)
        delays = time.time() - records.timestamps / 1000
        self._delay.observe_many(np.where(records.timestamps < 0, np.nan, delays))
        for stage, duration in scored.stages.items():
            self._stages.labels(*self._own, stage).observe(duration)
        self._rows.labels(*self._own, "predicted").inc(len(scored.values))
        self._rows.labels(*self._own, "rejected").inc(len(scored.rejected))
        for code, count in Tally(error.code for error in scored.rejected.values()).items():
            self._rejected.labels(*self._own, code).inc(count)
        for why, count in Tally((degradation.reason, degradation.source) for degradation in scored.degraded).items():
            self._degraded.labels(*self._own, *why).inc(count)
        if self._prediction is not None and scored.predictions:
            self._prediction.observe_many(np.concatenate(scored.predictions))

    def lag(self, partitions: int, lag: Mapping[int, int]) -> None:
        """What this worker has to read; partitions of other workers are theirs to report.

        Args:
            partitions: How many partitions it has.
            lag: Records that are still to be read, by partition, as far as that is known.
        """
        self._partitions.set(partitions)
        self._lag.clear()
        for partition, count in lag.items():
            self._lag.labels(*self._own, str(partition)).set(count)

    def paused(self, backend: str | None) -> None:
        """Which of :data:`BACKENDS` is waited for; None for none."""
        for name in BACKENDS:
            self._paused.labels(*self._own, name).set(name == backend)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
