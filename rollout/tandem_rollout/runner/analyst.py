"""Takes samples of the metrics of a run, and stores the evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from tandem_rollout.analysis.gather import gather, with_client_shares
from tandem_rollout.analysis.judge import judge, mark_promoted
from tandem_rollout.analysis.prepare import prepare
from tandem_rollout.analysis.record import Note, Record, add_note
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.analysis.verdict import MetricsDecision
from tandem_rollout.analysis.window import ROUTE_DELAY_S
from tandem_rollout.api.analysis import Analysis
from tandem_rollout.api.fields import seconds
from tandem_rollout.engine.run import Run
from tandem_rollout.runner.window_reader import WindowReader
from tandem_rollout.sources import Arms, MetricSource

HISTORY_S: Final = 1800.0
"""Seconds of stable's history that are read before a run."""

_ROUTE_TIMEOUT_S: Final = 60.0
"""Seconds after which a different weight in the route is no longer expected to change."""

_WEIGHT_MEMORY_S: Final = 600.0
"""Seconds for which an earlier weight is remembered."""


class Keeper(Protocol):
    """Storage of records."""

    async def load(self, run: int) -> Record | None:
        """The record of a run; None if there is none that is valid."""
        ...

    async def keep(self, record: Record) -> None:
        """Store a record in place of the previous one of the same run."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judgement of the metrics.

    Attributes:
        results: The result of each metric.
        decision: The decision; None before the first sample.
        samples_at_weight: Number of samples at the present weight.
        measured: Percentage of the requests that the canary had in the last sample; None if it is not known.
    """

    results: tuple[MetricResult, ...] = ()
    decision: MetricsDecision | None = None
    samples_at_weight: int = 0
    measured: float | None = None


class Analyst:
    """Gathers the evidence of one rollout.

    Args:
        source: Source of the counters.
        keeper: Storage of the records.
    """

    def __init__(self, source: MetricSource, keeper: Keeper) -> None:
        self._source = source
        self._keeper = keeper
        self._record: Record | None = None
        self._kept: Record | None = None
        self._windows = WindowReader(source)
        self._weight: int | None = None
        self._changed = -math.inf
        self._earlier: dict[int, float] = {}
        self._due = self._turn = 0.0
        self._tried = -math.inf

    @property
    def due(self) -> float:
        """Time of the next sample, in seconds since the epoch; infinite if there is none."""
        return self._due if self._record is not None else math.inf

    @property
    def record(self) -> Record | None:
        """The record; None before the first sample."""
        return self._record

    async def take_sample(
        self, analysis: Analysis, run: Run, arms: Arms, now: float, *, routed: int | None = None
    ) -> Judgement:
        """Take a sample of the metrics, if one is due, and judge them.

        Args:
            analysis: The analysis of the spec.
            run: The run, before its end.
            arms: Where both arms are counted.
            now: Seconds since the epoch.
            routed: The canary's percentage in the route; None if it is not known.
        """
        record = await self._of(run)
        if run.weight and record.began is None:
            # stored, so that a restart of the process does not begin another warm-up
            record = msgspec.structs.replace(record, began=now)
        # with the shares of the spec, the route does not have the run's weight
        self._follow(run.weight, routed if arms.share is None else None, now)
        metrics = analysis.all_metrics
        interval = seconds(analysis.interval)
        # measurements are only possible before the first sample
        if not record.prepared and not record.sample_count and not self._tried <= now < self._tried + interval:
            # once per interval, as each attempt asks an unreachable source for half an hour of data
            self._tried = now
            history = await self._source.history(metrics, arms, seconds=HISTORY_S, step=max(interval, 5.0))
            record = prepare(metrics, record, history, dispersion_given=analysis.dispersion)
        # before the first weight there is nothing to compare
        if run.state == "Preparing":
            self._due = now + interval
        # the first sample is due with the first weight, and also if the clock was set back
        elif (
            self._windows.last_read is None
            or self._windows.is_moved(arms)
            or not self._due - interval <= now < self._due
        ):
            record = await self._sample(analysis, run, arms, record, now)
            # another sample is due when the route has applied the weight, so that few requests have an uncertain share
            followed = min((until for until in self._earlier.values() if until > now), default=math.inf)
            self._due = min(self._in_turn(interval, now), followed)
        self._record = record
        await self.keep()
        return self.judgement(analysis, run)

    async def read(self, analysis: Analysis, run: Run, arms: Arms, now: float) -> None:
        """Take a sample just before the weight changes.

        Args:
            analysis: The analysis of the spec.
            run: The run, with its present weight.
            arms: Where both arms are counted.
            now: Seconds since the epoch.
        """
        # take_sample may have read the counters in the same pass
        if self._windows.last_read != now:
            self._in_turn(seconds(analysis.interval), now)
            self._record = await self._sample(analysis, run, arms, await self._of(run), now)
            await self.keep()

    async def promote(self, analysis: Analysis, run: Run) -> None:
        """Mark the metrics that pass, as the run is about to be promoted.

        Args:
            analysis: The analysis of the spec.
            run: The run, before it is promoted.
        """
        self._record = mark_promoted(analysis.all_metrics, await self._of(run))

    def judgement(self, analysis: Analysis, run: Run) -> Judgement:
        """Judge the evidence of a run."""
        record = self._record
        if record is None:
            return Judgement()
        lines, decision = judge(analysis.all_metrics, record)
        samples_at_weight = record.samples_at_weight if record.weight == run.weight else 0
        # before the first sample there is no decision
        return Judgement(tuple(lines), decision if record.samples else None, samples_at_weight, _measured(record))

    async def note(self, run: Run, now: float) -> None:
        """Add a note about the state of a run, unless the last note is the same."""
        record = await self._of(run)
        note = Note(now, run.state, run.weight, run.reason, run.message, run.by, run.last_command)
        if not record.notes or not _same_note(record.notes[-1], note):
            self._record = add_note(record, note)
        if run.ended or run.returns:
            self._due = math.inf

    async def keep(self) -> None:
        """Store the record, if it has changed."""
        # records are immutable: the same object is the stored one, and a run at rest writes nothing
        if self._record is not None and self._record is not self._kept:
            await self._keeper.keep(self._record)
            self._kept = self._record

    async def _of(self, run: Run) -> Record:
        """The record of a run, which another process may have begun."""
        # the status stores whole seconds, and a restarted process compares the same number
        empty = Record(run=run.number, plan=run.plan, started=float(int(run.started)))
        if self._record is not None and _same(self._record, empty):
            return self._record
        stored = await self._keeper.load(run.number)
        record = stored if stored is not None and _same(stored, empty) else empty
        self._record = self._kept = record
        self._windows.reset()
        self._due, self._turn, self._tried = 0.0, 0.0, -math.inf
        self._weight, self._earlier = None, {}
        return record

    def _in_turn(self, interval: float, now: float) -> float:
        """Time of the next regular sample, which extra samples do not change."""
        if not self._turn - interval <= now < self._turn:
            self._turn = now + interval
        return self._turn

    def _follow(self, weight: int, routed: int | None, now: float) -> None:
        """Remember the other weights that may have applied to requests, and until when."""
        if weight != self._weight:
            self._changed = now
        weights = (
            # a route that another client holds would leave the share uncertain for ever
            {self._weight} if routed is None or now >= self._changed + _ROUTE_TIMEOUT_S else {self._weight, routed}
        )
        for percentage in weights - {weight, None}:
            if percentage is not None:
                # renewed while the route still has it, as proxies follow the route
                self._earlier[percentage] = now + ROUTE_DELAY_S
                self._due = now + ROUTE_DELAY_S if percentage == self._weight else min(self._due, now + ROUTE_DELAY_S)
        self._earlier = {
            percentage: until
            for percentage, until in self._earlier.items()
            if percentage != weight and until > now - _WEIGHT_MEMORY_S
        }
        self._weight = weight

    async def _sample(self, analysis: Analysis, run: Run, arms: Arms, record: Record, now: float) -> Record:
        first, metrics = self._windows.last_read is None, analysis.all_metrics
        readings = await self._windows.read(metrics, arms, now)
        # what was counted before the first reading is not known
        if first:
            return record
        begins = self._windows.begins
        record, self._windows.windows = gather(
            metrics,
            record,
            self._windows.windows,
            now=now,
            weight=run.weight,
            earlier=self._earlier,
            share=arms.share,
            baking=run.state == "Baking",
            # a sample that only begins in the warm-up contains its slow requests
            cold=run.weight < 100 and begins < (record.began or 0.0) + seconds(analysis.warmup),
        )
        return with_client_shares(record, readings)


def _same(record: Record, other: Record) -> bool:
    """Whether two records belong to the same run. A rollout that is created again also begins with run 1."""
    return (record.run, record.plan, record.started) == (other.run, other.plan, other.started)


def _same_note(note: Note, other: Note) -> bool:
    """Whether two notes are equal except for their times and messages."""

    def codes(note: Note) -> tuple[str, int, str, str, str]:
        return note.state, note.weight, note.reason, note.by, note.command.id if note.command else ""

    return codes(note) == codes(other)


def _measured(record: Record) -> float | None:
    """The canary's percentage of the requests in the last sample, from the first metric with requests."""
    for sample in reversed(record.samples[-1:]):
        for canary, _, stable, _ in sample.counts.values():
            if canary + stable > 0:
                return 100.0 * canary / (canary + stable)
    return None
