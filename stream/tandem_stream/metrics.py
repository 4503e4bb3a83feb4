"""What a worker is observed by, as Prometheus reads it."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from tandem.bulk_histogram import BulkHistogram
from tandem.bundle import Bundle
from tandem_stream.outcomes import Outcome
from tandem_stream.records import Records
from tandem_stream.scoring import Scored

_ROWS = (1, 4, 16, 64, 256, 512, 1024, 2048, 4096, 16384)
_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2.5, 5, 10, 60)

R = TypeVar("R", bound=Outcome)


class WorkerMetrics(Generic[R]):
    """Metrics that all workers have.

    Args:
        owner: Labels of all of them, with their values: what the worker computes, and which version of it.
        backends: What the worker may have to wait for; the codes of outages begin with these names.
        accepted: Outcome of a record that is not rejected, as the label has it.

    Attributes:
        registry: All metrics.
        backends: As given.
    """

    def __init__(self, owner: Mapping[str, str], backends: Sequence[str], accepted: str) -> None:
        self.registry = CollectorRegistry()
        self.backends = tuple(backends)
        self._labels = tuple(owner)
        self._own = tuple(owner.values())
        self._accepted = accepted
        self._add_counters()
        self._add_gauges()
        self._add_histograms()

    def _add_counters(self) -> None:
        registry = self.registry
        self._rows = Counter(
            "tandem_stream_rows", "Records, by what became of them.", (*self._labels, "outcome"), registry=registry
        )
        # there from the start: Prometheus sees no increase in a series that begins above 0
        for outcome in (self._accepted, "rejected"):
            self._rows.labels(*self._own, outcome)
        self._rejected = Counter(
            "tandem_stream_rejected", "Records in the dead-letter topic.", (*self._labels, "code"), registry=registry
        )
        self._sessions = Counter(
            "tandem_stream_sessions", "How often clients of Kafka were opened.", self._labels, registry=registry
        ).labels(*self._own)

    def _add_gauges(self) -> None:
        registry = self.registry
        self._lag = Gauge(
            "tandem_stream_lag_records",
            "Records that are still to be read.",
            (*self._labels, "partition"),
            registry=registry,
        )
        self._partitions = Gauge(
            "tandem_stream_partitions", "Partitions that this worker has.", self._labels, registry=registry
        ).labels(*self._own)
        self._paused = Gauge(
            "tandem_stream_paused", "Whether a backend is waited for.", (*self._labels, "backend"), registry=registry
        )
        self.paused(None)

    def _add_histograms(self) -> None:
        registry = self.registry
        self._batch_rows = BulkHistogram(
            "tandem_rows_per_batch", "Records of one batch.", self._labels, buckets=_ROWS, registry=registry
        ).labels(*self._own)
        self._stages = BulkHistogram(
            "tandem_stage_seconds",
            "Time of one batch in each stage.",
            (*self._labels, "stage"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch = BulkHistogram(
            "tandem_stream_batch_seconds",
            "Time of one batch, from its last record to its delivery.",
            self._labels,
            buckets=_SECONDS,
            registry=registry,
        ).labels(*self._own)
        self._delay = BulkHistogram(
            "tandem_stream_delay_seconds",
            "Time from a record's own to the delivery of what is made of it.",
            self._labels,
            buckets=_SECONDS,
            registry=registry,
        ).labels(*self._own)

    def opened(self) -> None:
        """Clients were opened."""
        self._sessions.inc()

    def batch(self, records: Records, outcome: R, seconds: float) -> None:
        """A batch was delivered.

        Args:
            records: The batch.
            outcome: What became of it.
            seconds: How long it took.
        """
        self._batch_rows.observe(len(records))
        self._batch.observe(seconds)
        delays = time.time() - records.timestamps / 1000
        self._delay.observe_many(np.where(records.timestamps < 0, np.nan, delays))
        for stage, duration in outcome.stages.items():
            self._stages.labels(*self._own, stage).observe(duration)
        self._rows.labels(*self._own, self._accepted).inc(len(records) - len(outcome.rejected))
        self._rows.labels(*self._own, "rejected").inc(len(outcome.rejected))
        for code, count in Tally(error.code for error in outcome.rejected.values()).items():
            self._rejected.labels(*self._own, code).inc(count)

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

    def paused(self, code: str | None) -> None:
        """What is waited for.

        Args:
            code: Code of the outage, which begins with the backend: ``store_unavailable``, ``predictor_timeout``. None
                if nothing is waited for.
        """
        for name in self.backends:
            self._paused.labels(*self._own, name).set(code is not None and code.startswith(name))

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class Metrics(WorkerMetrics[Scored]):
    """Metrics of one worker that predicts.

    Args:
        bundle: The version that it predicts with.
    """

    def __init__(self, bundle: Bundle) -> None:
        owner = {"model": bundle.name, "version": bundle.version}
        super().__init__(owner, ("store", "predictor", "schema_registry"), "predicted")
        self._degraded = Counter(
            "tandem_degraded",
            "Stored values that were not used.",
            (*self._labels, "reason", "source"),
            registry=self.registry,
        )
        prediction = bundle.contract.prediction
        self._prediction: BulkHistogram | None = None
        if prediction.buckets:
            text = f"Predictions, {prediction.unit or 'no unit'}."
            self._prediction = BulkHistogram(
                "tandem_prediction", text, self._labels, buckets=prediction.buckets, registry=self.registry
            ).labels(*self._own)

    def batch(self, records: Records, outcome: Scored, seconds: float) -> None:
        """A batch was delivered; see :meth:`WorkerMetrics.batch`."""
        super().batch(records, outcome, seconds)
        for why, count in Tally((degradation.reason, degradation.source) for degradation in outcome.degraded).items():
            self._degraded.labels(*self._own, *why).inc(count)
        if self._prediction is not None and outcome.predictions:
            self._prediction.observe_many(np.concatenate(outcome.predictions))
