"""What a worker that computes windows is observed by, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from tandem.features import FeatureView
from tandem_stream.metrics import WorkerMetrics
from tandem_stream.records import Records
from tandem_stream.windows.counting import Counted


class WindowMetrics(WorkerMetrics[Counted]):
    """Metrics of one worker that computes windows.

    Args:
        view: The feature view.
    """

    def __init__(self, view: FeatureView) -> None:
        owner = {"view": view.name, "version": str(view.version)}
        super().__init__(owner, ("store", "schema_registry"), "accepted")
        self._late = Counter(
            "tandem_stream_late", "Events that came too late for a window.", self._labels, registry=self.registry
        ).labels(*self._own)
        self._closed = Counter(
            "tandem_stream_windows_closed", "Windows that were closed.", self._labels, registry=self.registry
        ).labels(*self._own)
        self._newer = Counter(
            "tandem_stream_store_newer",
            "Windows of entities of which the store had a newer row.",
            self._labels,
            registry=self.registry,
        ).labels(*self._own)
        self._open = Gauge(
            "tandem_stream_windows_open", "Windows that are open.", self._labels, registry=self.registry
        ).labels(*self._own)
        self._watermark = Gauge(
            "tandem_stream_watermark_timestamp_seconds",
            "Greatest event time, seconds since 1970.",
            (*self._labels, "partition"),
            registry=self.registry,
        )
        self._add_table_metrics()

    def _add_table_metrics(self) -> None:
        self._table_rows = Counter(
            "tandem_stream_table_rows", "Windows appended to the table.", self._labels, registry=self.registry
        ).labels(*self._own)
        self._table_failures = Counter(
            "tandem_stream_table_failures",
            "How often the table could not be appended to.",
            self._labels,
            registry=self.registry,
        ).labels(*self._own)

    def batch(self, records: Records, outcome: Counted, seconds: float) -> None:
        """A batch was delivered; see :meth:`~tandem_stream.metrics.WorkerMetrics.batch`."""
        super().batch(records, outcome, seconds)
        self._late.inc(len(outcome.late))
        self._closed.inc(sum(map(len, outcome.closed)))
        self._newer.inc(outcome.newer)
        self._open.set(outcome.open_windows)
        # partitions that are gone are others' to report
        self._watermark.clear()
        for partition, mark in outcome.watermarks.items():
            self._watermark.labels(*self._own, str(partition)).set(mark / 1_000_000)

    def appended(self, rows: int) -> None:
        """The table has so many more rows. From any thread."""
        self._table_rows.inc(rows)

    def table_failed(self) -> None:
        """The table could not be appended to. From any thread."""
        self._table_failures.inc()
