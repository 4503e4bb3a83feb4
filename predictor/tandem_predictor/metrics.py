"""Prometheus metrics of the predictor.

``.labels()`` takes a lock and a dictionary look-up, so it is called once for each model and code, not for each
request.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from tandem.oip.extensions import Statistics

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class PredictorMetrics:
    """All metrics, in a registry of their own.

    Attributes:
        registry: Where they are collected.
        inflight: Requests that have arrived and are not answered yet.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.inflight = Gauge(
            "tandem_predictor_inflight_requests", "Requests that are not answered yet", registry=self.registry
        )
        self._requests = Counter(
            "tandem_predictor_requests", "Requests answered", ["model", "code"], registry=self.registry
        )
        self._request_seconds = Histogram(
            "tandem_predictor_request_seconds",
            "From the request's arrival to its answer",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._failed_seconds = Counter(
            "tandem_predictor_failed_request_seconds",
            "Time of requests that were answered with an error",
            ["model"],
            registry=self.registry,
        )
        self._queue_seconds = Counter(
            "tandem_predictor_queue_seconds",
            "Time for which requests waited for a run",
            ["model"],
            registry=self.registry,
        )
        self._inference_seconds = Histogram(
            "tandem_predictor_inference_seconds",
            "One run of the session",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._rows = Histogram(
            "tandem_predictor_rows_per_batch", "Rows of one run", ["model"], buckets=_ROWS, registry=self.registry
        )
        self._queue_rows = Gauge(
            "tandem_predictor_queue_rows", "Rows that wait for a run", ["model"], registry=self.registry
        )
        self._dropped = Counter(
            "tandem_predictor_dropped",
            "Requests that were not run, since nobody waited for them any more",
            ["model", "reason"],
            registry=self.registry,
        )
        self._models: dict[str, ModelMetrics] = {}

    def of(self, model: str) -> ModelMetrics:
        """The metrics of one model; the empty name stands for models that there are not."""
        metrics = self._models.get(model)
        if metrics is None:
            metrics = self._models[model] = ModelMetrics(
                model,
                self._requests,
                self._request_seconds.labels(model),
                self._failed_seconds.labels(model),
                self._inference_seconds.labels(model),
                self._rows.labels(model),
                self._queue_rows.labels(model),
                self._queue_seconds.labels(model),
                self._dropped,
            )
        return metrics

    def statistics(self, model: str) -> Statistics:
        """What a model has done, as its metrics have it."""
        sums: dict[str, float] = {}
        for metric in self.registry.collect():
            for sample in metric.samples:
                # sums and counts only, not the buckets of histograms
                if sample.labels.get("model") == model and "le" not in sample.labels:
                    ok = sample.labels.get("code", "ok") == "ok"
                    name = sample.name.removeprefix("tandem_predictor_") + ("" if ok else "!")
                    sums[name] = sums.get(name, 0.0) + sample.value
        failed = sums.get("failed_request_seconds_total", 0.0)
        return Statistics(
            rows=int(sums.get("rows_per_batch_sum", 0)),
            executions=int(sums.get("inference_seconds_count", 0)),
            answered=int(sums.get("requests_total", 0)),
            answered_s=sums.get("request_seconds_sum", 0.0) - failed,
            refused=int(sums.get("requests_total!", 0)),
            refused_s=failed,
            queue_s=sums.get("queue_seconds_total", 0.0),
            infer_s=sums.get("inference_seconds_sum", 0.0),
            last=self._models[model].last if model in self._models else 0.0,
        )


class ModelMetrics:
    """Metrics of one model.

    Attributes:
        inference_seconds: Duration of session runs.
        rows: Rows of session runs.
        queue_rows: Rows that wait.
        queue_seconds: Time for which requests waited.
        last: When the last request was answered, in seconds since the epoch; 0 for never.
    """

    def __init__(
        self,
        model: str,
        requests: Counter,
        request_seconds: Histogram,
        failed_seconds: Counter,
        inference_seconds: Histogram,
        rows: Histogram,
        queue_rows: Gauge,
        queue_seconds: Counter,
        dropped: Counter,
    ) -> None:
        self._model = model
        self._requests = requests
        self._codes: dict[str, Counter] = {}
        self._request_seconds = request_seconds
        self._failed_seconds = failed_seconds
        self.queue_seconds = queue_seconds
        self._dropped = dropped
        self.last = 0.0
        self.inference_seconds = inference_seconds
        self.rows = rows
        self.queue_rows = queue_rows

    def refused(self, code: str) -> None:
        """Count a request that is refused before it is there as a whole; how long that took was up to its client."""
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = self._requests.labels(self._model, code)
        counter.inc()

    def drop(self, reason: str) -> None:
        """Count a request that is not run: ``reason`` is one of :mod:`tandem_predictor.callers`."""
        self._dropped.labels(self._model, reason).inc()

    def answered(self, code: str, seconds: float) -> None:
        """Count a request: ``code`` is ``ok`` or the error's code."""
        self.refused(code)
        self._request_seconds.observe(seconds)
        if code == "ok":
            self.last = time.time()
        else:
            self._failed_seconds.inc(seconds)
