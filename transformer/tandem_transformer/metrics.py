"""The transformer's Prometheus metrics.

The hot path only appends numbers to lists. A few times a second, and before every scrape, they are counted into the
metrics all at once: with NumPy that costs a hundredth of counting each by itself.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.multiprocess import MultiProcessCollector

from tandem.bulk_histogram import BulkHistogram
from tandem.bundle import Bundle
from tandem.dtypes import Column
from tandem.oip.extensions import Statistics
from tandem.packed_rows import ViewColumns
from tandem.telemetry import DECODE, LOOKUP, MODEL_DEPENDENT, ON_DEMAND, POST, PREDICT
from tandem_transformer.batch import BatchAnswer, Call
from tandem_transformer.batch_metrics import Batch, BatchMetrics
from tandem_transformer.cache_metrics import CacheMetrics
from tandem_transformer.load_metrics import LoadMetrics
from tandem_transformer.traffic import DIRECT, SURPLUS, TRAFFIC, WEIGHTED, outcome_of
from tandem_transformer.units import Units

FLUSH_S = 0.25
"""Metrics lag behind by at most this many seconds in the processes that are not asked themselves."""

_DECADE = (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)
_SECONDS = (0.0005, *(round(each * unit, 6) for unit in (0.001, 0.01, 0.1) for each in _DECADE), 1, 2, 5, 10)
"""Ten to a decade, so that a version that is a quarter slower than another can be distinguished from it."""

_Kind = tuple[int, int, bool]
"""Status, index of the traffic, and whether the client set the deadline."""


class Recorder:
    """Takes what the hot path measures.

    Args:
        bundle: The version that is served; gives the labels and the buckets of the prediction.
        model_name: Name under which clients ask for it.

    Attributes:
        registry: Where the metrics of this process are collected.
        sources: Functions that count what they know of whenever metrics are flushed.
    """

    def __init__(self, bundle: Bundle, model_name: str) -> None:
        registry = self.registry = CollectorRegistry()
        own = self._own = (model_name, bundle.version)
        self._requests = Counter(
            "tandem_requests",
            "Answers to clients, by HTTP status.",
            ("model", "version", "code", "traffic", "outcome"),
            registry=registry,
        )
        self._request_seconds = BulkHistogram(
            "tandem_request_seconds",
            "From a request's arrival to its answer.",
            ("model", "version", "traffic", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        # there from the start: Prometheus sees no increase in a series that begins above 0
        self._request_seconds.labels(*own, TRAFFIC[WEIGHTED], outcome_of(200))
        self._add_totals()
        self._batch_metrics = BatchMetrics(registry, bundle, own)
        self.units = Units()
        self.inflight = 0
        self._refused: Tally[int] = Tally()
        self._latencies: dict[_Kind, list[float]] = {}
        self._failed = self._last = 0.0
        self._batches: list[Batch] = []
        self.sources: list[Callable[[], None]] = []
        self._cache = CacheMetrics(registry, own)
        self.cache_counts = self._cache.counts
        self.load = LoadMetrics(registry, own)

    def _add_totals(self) -> None:
        """What has no labels but model and version."""
        labels: dict[str, Any] = {"registry": self.registry, "labelnames": ("model", "version")}
        # live: a process that has ended waits for nothing
        sums = {**labels, "multiprocess_mode": "livesum"}
        self._failed_seconds = Counter(
            "tandem_failed_request_seconds", "Time of requests that were answered with an error.", **labels
        ).labels(*self._own)
        self._inflight = Gauge("tandem_inflight_requests", "Requests that wait for their answer.", **sums).labels(
            *self._own
        )
        # every process has the same addresses: a sum would count each of them several times
        self._endpoints = Gauge(
            "tandem_predictor_endpoints",
            "Addresses of the predictor that share the calls.",
            multiprocess_mode="livemax",
            **labels,
        ).labels(*self._own)
        failures = "Failed requests of clients that the gateway knows"
        self._unit_failures = Gauge("tandem_unit_failures", f"{failures}.", **sums).labels(*self._own)
        self._most_unit_failures = Gauge(
            "tandem_unit_failures_max", f"{failures}: those of the one that has most.", **sums
        ).labels(*self._own)

    def refused(self, status: int) -> None:
        """A request has been refused before it was there as a whole: no evidence, since that was up to its client."""
        self._refused[status] += 1

    def traffic(self, traffic: int, unit: bytes | None) -> int:
        """Index of the traffic that a request counts as, as far as that is known when it arrives."""
        is_surplus = traffic == WEIGHTED and unit is not None and self.units.is_surplus(unit)
        return SURPLUS if is_surplus else traffic

    def answered(
        self,
        status: int,
        seconds: float,
        traffic: int = DIRECT,
        *,
        unit: bytes | None = None,
        own_deadline: bool = False,
    ) -> None:
        """An answer has gone out.

        Args:
            status: HTTP status; 499 for a client that went away.
            seconds: Time that it took.
            traffic: Index in :data:`~tandem_transformer.traffic.TRAFFIC`.
            unit: The client, where it is known.
            own_deadline: Whether the client set a shorter deadline than the server has.
        """
        if unit is not None and traffic in (WEIGHTED, SURPLUS):
            failed = outcome_of(status, own_deadline=own_deadline) == "failed"
            traffic = WEIGHTED if self.units.count(unit, failed=failed) else SURPLUS
        kind = status, traffic, own_deadline
        latencies = self._latencies.get(kind)
        # no setdefault, which would make a list for each answer
        if latencies is None:
            latencies = self._latencies[kind] = []
        latencies.append(seconds)
        if status >= 400:
            self._failed += seconds

    def endpoints(self, count: int) -> None:
        """The predictor has so many addresses from now on."""
        self._endpoints.set(count)

    def batch(self, answer: BatchAnswer, calls: Sequence[Call], views: Sequence[ViewColumns], as_of: Column) -> None:
        """A batch has been answered.

        Args:
            answer: Its answer.
            calls: Its calls, in the order of their rows.
            views: What was looked up for them.
            as_of: The time that each row is about.
        """
        sizes = [call.size for call in calls]
        self._batches.append((answer, sizes, [call.traffic for call in calls], views, as_of))

    def flush(self) -> None:
        """Count what has been taken since the last time."""
        self._inflight.set(self.inflight)
        self._unit_failures.set(self.units.failures)
        self._most_unit_failures.set(self.units.most_failures)
        latencies, self._latencies = self._latencies, {}
        for (status, traffic, own_deadline), seconds in latencies.items():
            about = TRAFFIC[traffic], outcome_of(status, own_deadline=own_deadline)
            self._requests.labels(*self._own, str(status), *about).inc(len(seconds))
            self._request_seconds.labels(*self._own, *about).observe_many(seconds)
        refused, self._refused = self._refused, Tally()
        for status, count in refused.items():
            self._requests.labels(*self._own, str(status), TRAFFIC[DIRECT], outcome_of(status)).inc(count)
        failed, self._failed = self._failed, 0.0
        self._failed_seconds.inc(failed)
        self._cache.flush()
        for count_source in self.sources:
            count_source()
        self.load.flush()
        if latencies:
            self._last = time.time()
        batches, self._batches = self._batches, []
        if batches:
            self._batch_metrics.count(batches)

    def keep_flushing(self) -> None:
        """Flush now and every :data:`FLUSH_S` from now on, as long as the event loop runs."""
        self.flush()
        asyncio.get_running_loop().call_later(FLUSH_S, self.keep_flushing)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format, those of the other processes included."""
        return prometheus_client.generate_latest(self._together())

    def statistics(self) -> Statistics:
        """What has been done so far, the other processes included, as the metrics have it."""
        sums: dict[str, float] = {}
        for metric in self._together().collect():
            for sample in metric.samples:
                # sums and counts only, not the buckets of histograms
                if "le" not in sample.labels:
                    # codes have three digits, so they compare as text
                    failed = sample.labels.get("code", "200") >= "400"
                    key = f"{sample.name} {'failed' if failed else sample.labels.get('stage', '')}".rstrip()
                    sums[key] = sums.get(key, 0.0) + sample.value
        failed_s = sums.get("tandem_failed_request_seconds_total", 0.0)

        def spent(*stages: str) -> float:
            return sum(sums.get(f"tandem_stage_seconds_sum {stage}", 0.0) for stage in stages)

        return Statistics(
            rows=int(sums.get("tandem_rows_per_batch_sum", 0)),
            executions=int(sums.get("tandem_rows_per_batch_count", 0)),
            answered=int(sums.get("tandem_requests_total", 0)),
            answered_s=sums.get("tandem_request_seconds_sum", 0.0) - failed_s,
            refused=int(sums.get("tandem_requests_total failed", 0)),
            refused_s=failed_s,
            input_s=spent(DECODE, LOOKUP, ON_DEMAND, MODEL_DEPENDENT),
            infer_s=spent(PREDICT),
            output_s=spent(POST),
            last=self._last,
        )

    def _together(self) -> CollectorRegistry:
        """The metrics, flushed, in a registry that has those of the other processes too."""
        self.flush()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self.registry
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return together
