"""The transformer's Prometheus metrics.

The hot path only appends numbers to lists. A few times a second, and before every scrape, they are counted into the
metrics all at once: with NumPy that costs a hundredth of counting each by itself.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any

import numpy as np
import prometheus_client
from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.multiprocess import MultiProcessCollector

from tandem.bundle import Bundle
from tandem.contract import Column
from tandem.features import ViewColumns
from tandem.oip.extensions import Statistics
from tandem_transformer.batch import STAGES, BatchAnswer, Call
from tandem_transformer.traffic import DIRECT, SURPLUS, TRAFFIC, WEIGHTED, outcome_of
from tandem_transformer.units import Units

# the time of creation doubles the series and tells nothing that a restart does not
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

FLUSH_S = 0.25
"""Metrics lag behind by at most this many seconds in the processes that are not asked themselves."""

_DECADE = (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)
_SECONDS = (0.0005, *(round(each * unit, 6) for unit in (0.001, 0.01, 0.1) for each in _DECADE), 1, 2, 5, 10)
"""Ten to a decade, so that a version that is a quarter slower than another is told from it."""

_SUB_SECOND = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
_STAGE_SECONDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, *_SUB_SECOND, 0.5, 0.75, 1, 2, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_AGES = (1, 10, 60, 300, 900, 3600, 6 * 3600, 86400, 2 * 86400, 7 * 86400, 30 * 86400)


_Kind = tuple[int, int, bool]
"""Status, index of the traffic, and whether the client set the deadline."""

_Batch = tuple[BatchAnswer, list[int], list[int], Sequence[ViewColumns], Column]
"""Answer of a batch, rows and index of the traffic of each of its calls, what was looked up, and time of each row."""


class Histogram(prometheus_client.Histogram):
    """A histogram that takes many observations at once."""

    def observe_many(self, values: ArrayLike) -> None:
        """Count an array of observations; NaN are left out."""
        array = np.asarray(values, dtype=np.float64)
        array = array[~np.isnan(array)]
        if not len(array):
            return
        counts = np.bincount(np.searchsorted(self._upper_bounds, array, side="left"), minlength=len(self._buckets))
        for index in np.flatnonzero(counts):
            self._buckets[index].inc(int(counts[index]))
        self._sum.inc(float(array.sum()))


class Recorder:
    """Takes what the hot path measures.

    Args:
        bundle: The version that is served; gives the labels and the buckets of the prediction.
        model_name: Name under which clients ask for it.
    """

    def __init__(self, bundle: Bundle, model_name: str) -> None:
        registry = CollectorRegistry()
        labels: dict[str, Any] = {"registry": registry, "labelnames": ("model", "version")}
        own = (model_name, bundle.version)
        self._registry = registry
        self._own = own
        self._requests = Counter(
            "tandem_requests",
            "Answers to clients, by HTTP status.",
            ("model", "version", "code", "traffic", "outcome"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "tandem_request_seconds",
            "From a request's arrival to its answer.",
            ("model", "version", "traffic", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._request_seconds.labels(*own, TRAFFIC[WEIGHTED], outcome_of(200))
        self._failed_seconds = Counter(
            "tandem_failed_request_seconds", "Time of requests that were answered with an error.", **labels
        ).labels(*own)
        self._inflight = Gauge(
            "tandem_inflight_requests", "Requests that wait for their answer.", multiprocess_mode="livesum", **labels
        ).labels(*own)
        # every process has the same addresses: a sum would count each of them several times
        self._endpoints = Gauge(
            "tandem_predictor_endpoints",
            "Addresses of the predictor that share the calls.",
            multiprocess_mode="livemax",
            **labels,
        ).labels(*own)
        self._rows_per_batch = _histogram(
            "tandem_rows_per_batch", "Rows that travelled in one batch.", _ROWS, labels, own
        )
        stages = Histogram(
            "tandem_stage_seconds",
            "Time of one batch in each stage.",
            ("model", "version", "stage"),
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self._stages = [stages.labels(*own, stage) for stage in STAGES]
        self._rows = Counter(
            "tandem_rows", "Rows that were answered.", ("model", "version", "traffic"), registry=registry
        )
        self._rows.labels(*own, TRAFFIC[WEIGHTED])
        self._degraded = Counter(
            "tandem_degraded",
            "Rows with stored values that are missing or stale; nulls are counted by themselves.",
            ("model", "version", "reason", "traffic"),
            registry=registry,
        )
        nulls = Counter(
            "tandem_feature_nulls",
            "Features that are stored as null, among the rows that were looked up.",
            ("model", "version", "view", "feature"),
            registry=registry,
        )
        self._nulls = [
            {feature.name: nulls.labels(*own, use.name, feature.name) for feature in use.view.features}
            for use in bundle.manifest.views
        ]
        ages = Histogram(
            "tandem_feature_age_seconds",
            "Age of the stored values that were looked up.",
            ("model", "version", "view"),
            buckets=_AGES,
            registry=registry,
        )
        self._ages = [ages.labels(*own, use.name) for use in bundle.manifest.views]
        prediction = bundle.contract.prediction
        self._prediction = None
        if prediction.buckets:
            self._prediction = Histogram(
                "tandem_prediction",
                f"Predictions, {prediction.unit or 'no unit'}.",
                ("model", "version", "traffic"),
                buckets=tuple(prediction.buckets),
                registry=registry,
            )
            self._prediction.labels(*own, TRAFFIC[WEIGHTED])
        failures = "Failed requests of clients that the gateway knows"
        self._unit_failures = Gauge(
            "tandem_unit_failures", f"{failures}.", multiprocess_mode="livesum", **labels
        ).labels(*own)
        self._most_unit_failures = Gauge(
            "tandem_unit_failures_max",
            f"{failures}: those of the one that has most.",
            multiprocess_mode="livesum",
            **labels,
        ).labels(*own)
        self.units = Units()
        self.inflight = 0
        self._refused: Tally[int] = Tally()
        self._latencies: dict[_Kind, list[float]] = {}
        self._failed = 0.0
        self._last = 0.0
        self._batches: list[_Batch] = []

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
        if latencies:
            self._last = time.time()
        batches, self._batches = self._batches, []
        if batches:
            self._flush_batches(batches)

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
                if "le" not in sample.labels:
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
            input_s=spent("decode", "lookup", "odt", "mdt"),
            infer_s=spent("predict"),
            output_s=spent("post"),
            last=self._last,
        )

    def _together(self) -> CollectorRegistry:
        """The metrics, flushed, in a registry that has those of the other processes too."""
        self.flush()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self._registry
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return together

    def _flush_batches(self, batches: Sequence[_Batch]) -> None:
        self._rows_per_batch.observe_many([sum(sizes) for _, sizes, _, _, _ in batches])
        stages = np.array([answer.stages for answer, _, _, _, _ in batches])
        for histogram, seconds in zip(self._stages, stages.T, strict=True):
            histogram.observe_many(seconds)
        for index, histogram in enumerate(self._ages):
            ages = [(as_of - views[index].event_time) / np.timedelta64(1, "s") for _, _, _, views, as_of in batches]
            histogram.observe_many(np.concatenate(ages))
        for _, _, _, views, _ in batches:
            for counters, view in zip(self._nulls, views, strict=True):
                for feature, mask in view.nulls.items():
                    counters[feature].inc(int(np.count_nonzero(mask)))
        self._flush_rows(batches)

    def _flush_rows(self, batches: Sequence[_Batch]) -> None:
        """Count rows, predictions and degraded rows by how their requests came here."""
        traffic = np.concatenate([np.repeat(kinds, sizes) for _, sizes, kinds, _, _ in batches])
        predictions = np.concatenate([next(iter(answer.columns.values())) for answer, _, _, _, _ in batches])
        for kind in np.unique(traffic).tolist():
            of_kind = traffic == kind
            self._rows.labels(*self._own, TRAFFIC[kind]).inc(int(np.count_nonzero(of_kind)))
            if self._prediction is not None:
                self._prediction.labels(*self._own, TRAFFIC[kind]).observe_many(predictions[of_kind])
        reasons: Tally[tuple[str, int]] = Tally()
        start = 0
        for answer, sizes, _, _, _ in batches:
            for row, views in answer.degraded.items():
                reasons.update((reason, int(traffic[start + row])) for reason in set(views.values()))
            start += sum(sizes)
        for (reason, kind), count in reasons.items():
            # whether values are null is up to the tables, not to the store: it would blur gates on degraded rows
            if reason != "null":
                self._degraded.labels(*self._own, reason, TRAFFIC[kind]).inc(count)


def _histogram(
    name: str, text: str, buckets: Sequence[float], labels: dict[str, Any], own: tuple[str, str]
) -> Histogram:
    return Histogram(name, text, buckets=tuple(buckets), **labels).labels(*own)
