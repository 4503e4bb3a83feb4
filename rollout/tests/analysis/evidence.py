"""Pods that count, and the evidence that is gathered from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.gather import gather
from tandem_rollout.analysis.judge import judge
from tandem_rollout.analysis.prepare import prepare
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Reading, Readings
from tandem_rollout.analysis.record import Record
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.analysis.verdict import MetricsDecision
from tandem_rollout.analysis.window import CountWindow, extend_window
from tandem_rollout.api.analysis import Metric

EMPTY = Record(run=1, plan="p")
EDGES = (0.05, 0.1, 0.5, math.inf)


def stored(record: Record) -> Record:
    """A record that went through an object of the cluster."""
    return msgspec.json.decode(msgspec.json.encode(record), type=Record)


def counters(requests: float, events: float | None) -> Counters:
    """One target's, with one series of each; no series of events for None."""
    return Counters({"r": requests}, {} if events is None else {"e": events})


def counted(
    canary: tuple[float, float | None], stable: tuple[float, float | None], *, born: bool = True
) -> CounterReading:
    """Requests and events of one target in each arm."""
    return CounterReading({"s-0": counters(*stable)}, {"c-0": counters(*canary)}, born)


def histogram(rows: Sequence[float], edges: Sequence[float] = EDGES) -> dict[float, float]:
    """Cumulative buckets of rows by bin."""
    return {edge: math.fsum(rows[: at + 1]) for at, edge in enumerate(edges)}


def binned(canary: Sequence[float], stable: Sequence[float], edges: Sequence[float] = EDGES) -> HistogramReading:
    """Rows by bin of one target in each arm."""
    return HistogramReading({"s-0": {"": histogram(stable, edges)}}, {"c-0": {"": histogram(canary, edges)}})


def gathered(metrics: Sequence[Metric], record: Record, before: Readings, after: Readings, **how: Any) -> Record:
    """The record with the tick between two readings; how as :func:`gather` takes it."""
    windows = {
        metric.full_name: extend_window(
            extend_window(CountWindow(), before[metric.full_name], 0.0), after[metric.full_name], 10.0
        )
        for metric in metrics
    }
    return gather(metrics, record, windows, **how)[0]


@dataclass
class Sampling:
    """Metrics that are looked at, tick by tick.

    Attributes:
        metrics: The metrics.
        weight: The canary's percentage.
        restarting: Whether what is gathered is packed and unpacked after each tick.
    """

    metrics: tuple[Metric, ...]
    weight: int = 10
    restarting: bool = False
    record: Record = EMPTY
    windows: dict[str, CountWindow] = field(default_factory=dict)
    now: float = 0.0
    past: list[Readings] = field(default_factory=list)

    def prepare(self, *history: Readings, dispersion: float | None = None) -> None:
        """Freeze what is frozen."""
        self.record = prepare(self.metrics, self.record, history, dispersion_given=dispersion)

    def sees(self, **readings: Reading) -> tuple[dict[str, MetricResult], MetricsDecision]:
        """One sample; names of metrics have underscores for hyphens."""
        return self.take_sample({name.replace("_", "-"): reading for name, reading in readings.items()})

    def take_sample(self, after: Readings, *, baking: bool = False) -> tuple[dict[str, MetricResult], MetricsDecision]:
        """One sample."""
        self.now += 10.0
        self.read(after)
        self.record, self.windows = gather(
            self.metrics, self.record, self.windows, now=self.now, weight=self.weight, baking=baking
        )
        if self.restarting:
            self.record = stored(self.record)
        return self.judged()

    def read(self, after: Readings) -> None:
        """One reading that nobody judges."""
        self.windows = {
            metric.full_name: extend_window(
                self.windows.get(metric.full_name, CountWindow()),
                after.get(metric.full_name, NoData("NothingRead", "nothing was read")),
                self.now,
            )
            for metric in self.metrics
        }

    def judged(self) -> tuple[dict[str, MetricResult], MetricsDecision]:
        """What is known now."""
        lines, decision = judge(self.metrics, self.record)
        return {line.name: line for line in lines}, decision


def take_samples(
    sampling: Sampling, name: str, readings: Sequence[Reading]
) -> tuple[dict[str, MetricResult], MetricsDecision]:
    """Several looks at one metric."""
    judgement = sampling.judged()
    for reading in readings:
        judgement = sampling.take_sample({name: reading})
    return judgement


def rising(count: int, canary: tuple[float, float], stable: tuple[float, float]) -> list[CounterReading]:
    """Counters that rise by so much with each tick, from zero on."""
    return [counted((at * canary[0], at * canary[1]), (at * stable[0], at * stable[1])) for at in range(count + 1)]


def every(metrics: Sequence[Metric], reading: Reading) -> Mapping[str, Reading]:
    """The same reading for all metrics."""
    return {metric.full_name: reading for metric in metrics}
