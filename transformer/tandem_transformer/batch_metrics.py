"""What batches are counted by: rows, stages, predictions, and what was looked up."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from tandem.bulk_histogram import BulkHistogram
from tandem.bundle import Bundle
from tandem.dtypes import Column
from tandem.inputs import Degradation, Source
from tandem.packed_rows import ViewColumns
from tandem.telemetry import STAGES
from tandem_transformer.batch import BatchAnswer
from tandem_transformer.traffic import TRAFFIC, WEIGHTED

_SUB_SECOND = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
_STAGE_SECONDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, *_SUB_SECOND, 0.5, 0.75, 1, 2, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_SOURCES: tuple[Source, ...] = ("last_known", "default", "simpler_model")
"""The further on, the less an answer has of the stored values."""

_AGES = (1, 10, 60, 300, 900, 3600, 6 * 3600, 86400, 2 * 86400, 7 * 86400, 30 * 86400)

Batch = tuple[BatchAnswer, list[int], list[int], Sequence[ViewColumns], Column]
"""Answer of a batch, rows and index of the traffic of each of its calls, what was looked up, and time of each row."""


class BatchMetrics:
    """Metrics of batches.

    Args:
        registry: Where they are collected.
        bundle: The version that is served; gives the views and the buckets of the prediction.
        own: Labels ``model`` and ``version``.
    """

    def __init__(self, registry: CollectorRegistry, bundle: Bundle, own: tuple[str, str]) -> None:
        self._registry = registry
        self._own = own
        self._rows_per_batch = BulkHistogram(
            "tandem_rows_per_batch",
            "Rows that travelled in one batch.",
            ("model", "version"),
            buckets=_ROWS,
            registry=registry,
        ).labels(*own)
        stages = BulkHistogram(
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
        # there from the start: Prometheus sees no increase in a series that begins above 0
        self._rows.labels(*own, TRAFFIC[WEIGHTED])
        self._degraded = Counter(
            "tandem_degraded",
            "Rows with stored values that are missing, stale or not to be had; nulls are counted by themselves.",
            ("model", "version", "reason", "source", "traffic"),
            registry=registry,
        )
        self._add_views(bundle)
        self._prediction = self._predictions(bundle)
        self._declared = bundle.contract.prediction

    def _add_views(self, bundle: Bundle) -> None:
        """What is looked up, by view."""
        views = bundle.manifest.views
        nulls = Counter(
            "tandem_feature_nulls",
            "Features that are stored as null, among the rows that were looked up.",
            ("model", "version", "view", "feature"),
            registry=self._registry,
        )
        self._nulls = [
            {feature.name: nulls.labels(*self._own, use.name, feature.name) for feature in use.view.features}
            for use in views
        ]
        ages = _age_histogram(
            "tandem_feature_age_seconds", "Age of the stored values that were looked up.", self._registry
        )
        self._ages = [ages.labels(*self._own, use.name) for use in views]
        last_known = _age_histogram(
            "tandem_last_known_age_seconds",
            "Time since the store was asked for the last known rows that stood in for its answer.",
            self._registry,
        )
        self._last_known = {use.name: last_known.labels(*self._own, use.name) for use in views}

    def _predictions(self, bundle: Bundle) -> BulkHistogram | None:
        """The predictions; None where the contract has no buckets for them."""
        prediction = bundle.contract.prediction
        if not prediction.buckets:
            return None
        histogram = BulkHistogram(
            "tandem_prediction",
            f"Predictions, {prediction.unit or 'no unit'}.",
            ("model", "version", "traffic"),
            buckets=tuple(prediction.buckets),
            registry=self._registry,
        )
        histogram.labels(*self._own, TRAFFIC[WEIGHTED])
        return histogram

    def count(self, batches: Sequence[Batch]) -> None:
        """Count batches that have been answered; at least one."""
        self._rows_per_batch.observe_many([sum(sizes) for _, sizes, _, _, _ in batches])
        stages = np.array([answer.stages for answer, _, _, _, _ in batches])
        for histogram, seconds in zip(self._stages, stages.T, strict=True):
            histogram.observe_many(seconds)
        for index, histogram in enumerate(self._ages):
            # an entity without a row has NaT, which becomes NaN and is not counted
            ages = [(as_of - views[index].event_time) / np.timedelta64(1, "s") for _, _, _, views, as_of in batches]
            histogram.observe_many(np.concatenate(ages))
        for _, _, _, views, _ in batches:
            for counters, view in zip(self._nulls, views, strict=True):
                for feature, mask in view.nulls.items():
                    counters[feature].inc(int(np.count_nonzero(mask)))
        self._count_rows(batches)

    def _count_rows(self, batches: Sequence[Batch]) -> None:
        """Count rows, predictions and degraded rows by how their requests came here."""
        traffic = np.concatenate([np.repeat(kinds, sizes) for _, sizes, kinds, _, _ in batches])
        predictions = np.concatenate([next(iter(answer.columns.values())) for answer, _, _, _, _ in batches])
        for kind in np.unique(traffic).tolist():
            of_kind = traffic == kind
            self._rows.labels(*self._own, TRAFFIC[kind]).inc(int(np.count_nonzero(of_kind)))
            if self._prediction is not None:
                values = self._declared.histogram_values(predictions[of_kind])
                self._prediction.labels(*self._own, TRAFFIC[kind]).observe_many(values)
        self._count_degraded(batches, traffic)

    def _count_degraded(self, batches: Sequence[Batch], traffic: Column) -> None:
        """Count degraded rows by reason, source and how their requests came here; and the ages of last known rows."""
        kinds: Tally[tuple[str, str, int]] = Tally()
        ages: dict[str, list[float]] = {}
        start = 0
        for answer, sizes, _, _, _ in batches:
            for row, views in answer.degraded.items():
                kinds.update((*why, int(traffic[start + row])) for why in _sources(views.values()).items())
                for view, degradation in views.items():
                    if degradation.age_s is not None:
                        ages.setdefault(view, []).append(degradation.age_s)
            start += sum(sizes)
        for (reason, source, kind), count in kinds.items():
            # whether values are null is up to the tables, not to the store: it would blur gates on degraded rows
            if reason != "null":
                self._degraded.labels(*self._own, reason, source, TRAFFIC[kind]).inc(count)
        for view, seconds in ages.items():
            self._last_known[view].observe_many(seconds)


def _sources(degradations: Iterable[Degradation]) -> dict[str, str]:
    """For each reason the source that is the furthest on: a row counts once for a reason, in however many views."""
    ordered = sorted(degradations, key=lambda degradation: _SOURCES.index(degradation.source))
    return {degradation.reason: degradation.source for degradation in ordered}


def _age_histogram(name: str, text: str, registry: CollectorRegistry) -> BulkHistogram:
    return BulkHistogram(name, text, ("model", "version", "view"), buckets=_AGES, registry=registry)
