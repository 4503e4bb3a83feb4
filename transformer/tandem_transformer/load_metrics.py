"""What is counted of load: what waits, what is refused, and second calls of the predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from tandem_transformer.predictors.retry_budget import RetryCounts

if TYPE_CHECKING:
    from tandem_transformer.admission import Admission
    from tandem_transformer.coalescer import Coalescer


class LoadMetrics:
    """Metrics of load, and what the hot path counts for them.

    Args:
        registry: Where they are collected.
        own: Labels ``model`` and ``version``.

    Attributes:
        retries: Second calls of the predictor.
    """

    def __init__(self, registry: CollectorRegistry, own: tuple[str, str]) -> None:
        self.retries = RetryCounts()
        self._own = own
        self._admission: Admission | None = None
        self._coalescer: Coalescer | None = None
        names = ("model", "version")
        self._second_calls = Counter(
            "tandem_predictor_second_calls",
            "Calls of the predictor that were made twice, or were not since the budget for that was used up.",
            (*names, "kind"),
            registry=registry,
        )
        self._shed = Counter(
            "tandem_shed",
            "Requests that were refused because of load, by reason.",
            (*names, "reason"),
            registry=registry,
        )
        self._add_gauges(registry)

    def _add_gauges(self, registry: CollectorRegistry) -> None:
        # live: what waited in a process that has ended waits no more
        options: dict[str, Any] = {
            "labelnames": ("model", "version"),
            "registry": registry,
            "multiprocess_mode": "livesum",
        }
        self._queued_rows = Gauge("tandem_queued_rows", "Rows that wait for a batch.", **options).labels(*self._own)
        self._limit = Gauge("tandem_queued_rows_limit", "Rows that may wait now.", **options).labels(*self._own)

    def watch(self, admission: Admission, coalescer: Coalescer) -> None:
        """Show what waits and what may wait.

        Args:
            admission: Says what may wait.
            coalescer: What waits.
        """
        self._admission, self._coalescer = admission, coalescer

    def flush(self) -> None:
        """Count what has been taken since the last time."""
        for kind, count in self.retries.take().items():
            if count:
                self._second_calls.labels(*self._own, kind).inc(count)
        if self._admission is None or self._coalescer is None:
            return
        self._queued_rows.set(self._coalescer.queued_rows)
        self._limit.set(self._admission.room)
        for reason, count in self._admission.shed.items():
            self._shed.labels(*self._own, reason).inc(count)
        self._admission.shed.clear()
