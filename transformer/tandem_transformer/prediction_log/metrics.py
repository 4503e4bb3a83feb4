"""The prediction log of a process, with its metrics."""

from __future__ import annotations

from collections import Counter as Tally
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from tandem.bundle import Bundle
from tandem_transformer.metrics import Recorder
from tandem_transformer.prediction_log.log import PredictionLog
from tandem_transformer.prediction_log.settings import PredictionLogSettings
from tandem_transformer.prediction_log.writer import Reason

_LABELS: Final = ("model", "version")


class LogMetrics:
    """Counts what has become of records.

    Args:
        registry: Where the metrics are collected.
        own: Labels ``model`` and ``version``.
        prediction_log: The log.
    """

    def __init__(self, registry: CollectorRegistry, own: tuple[str, str], prediction_log: PredictionLog) -> None:
        self._log = prediction_log
        self._written_before = 0
        self._lost_before: Tally[str] = Tally()
        self._written = Counter(
            "tandem_prediction_log_written", "Records in files of the prediction log.", _LABELS, registry=registry
        ).labels(*own)
        lost = Counter(
            "tandem_prediction_log_lost",
            "Records that are not in the prediction log, or not any more, although they should have been.",
            (*_LABELS, "reason"),
            registry=registry,
        )
        # all there from the start: Prometheus sees no increase in a series that begins above 0
        self._lost = {reason: lost.labels(*own, reason) for reason in get_args(Reason)}
        self._queued = Gauge(
            "tandem_prediction_log_queued_bytes",
            "About how many bytes wait to be written to the prediction log.",
            _LABELS,
            multiprocess_mode="livesum",
            registry=registry,
        ).labels(*own)

    def count(self) -> None:
        """Count what has changed since the last time."""
        written, lost = self._log.written, self._log.lost
        self._written.inc(written - self._written_before)
        for reason, count in (lost - self._lost_before).items():
            self._lost[reason].inc(count)
        self._written_before, self._lost_before = written, lost
        self._queued.set(self._log.queued_bytes)


def open_log(
    bundle: Bundle, model_name: str, settings: PredictionLogSettings, recorder: Recorder
) -> PredictionLog | None:
    """The prediction log of a process, whose metrics are counted; None where none is configured.

    Raises:
        DefinitionError: if it is to leave out what does not exist.
        OSError: if its directory cannot be used.
    """
    if not settings.prediction_log:
        return None
    prediction_log = PredictionLog(bundle, model_name, settings)
    recorder.sources.append(LogMetrics(recorder.registry, (model_name, bundle.version), prediction_log).count)
    return prediction_log
