"""Looks at the metrics of one rollout's run from time to time, and keeps what it has gathered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import msgspec

from tandem_rollout.analysis.clients import with_client_shares
from tandem_rollout.analysis.gather import QUIET, gather, prepare
from tandem_rollout.analysis.judge import Line, judge
from tandem_rollout.analysis.reading import Reading, Readings
from tandem_rollout.analysis.record import Note, Record, noted
from tandem_rollout.analysis.verdict import Decision
from tandem_rollout.engine.run import Run
from tandem_rollout.fields import seconds
from tandem_rollout.gates import Analysis
from tandem_rollout.sources import Arms, Source

HISTORY_S: Final = 1800.0
"""How far back stable is looked at before a run."""


class Keeper(Protocol):
    """Where records are kept."""

    async def load(self, run: int) -> Record | None:
        """The record of a run; None where there is none that can be read."""
        ...

    async def keep(self, record: Record) -> None:
        """Keep a record in the place of the one of the same run."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the metrics say.

    Attributes:
        lines: One for each metric.
        decision: What follows; None before anything was looked at.
        looks: Ticks counted at the present weight.
        measured: Percentage of the requests that the canary had in the last tick; None where it was not counted.
    """

    lines: tuple[Line, ...] = ()
    decision: Decision | None = None
    looks: int = 0
    measured: float | None = None


class _Split(NamedTuple):
    """How requests are shared out, and where they are counted."""

    weight: int
    stable: str
    stable_clusters: tuple[str, ...]
    canary: str
    canary_clusters: tuple[str, ...]


class _Reading(NamedTuple):
    """Counters as they were at a moment."""

    at: float
    split: _Split
    readings: Readings


class Analyst:
    """Gathers the evidence of one rollout.

    Args:
        source: Where counters come from.
        keeper: Where records are kept.
    """

    def __init__(self, source: Source, keeper: Keeper) -> None:
        self._source = source
        self._keeper = keeper
        self._record: Record | None = None
        self._kept: Record | None = None
        self._before: _Reading | None = None
        self._due = 0.0
        self._tried = -math.inf

    @property
    def due(self) -> float:
        """When to look again, in seconds since the epoch; infinite where nothing is to be looked at."""
        return self._due if self._record is not None else math.inf

    @property
    def record(self) -> Record | None:
        """The evidence so far; None before the first look."""
        return self._record

    async def look(self, analysis: Analysis, run: Run, arms: Arms, now: float) -> Judgement:
        """Look at the metrics, if it is time, and judge.

        Args:
            analysis: What is looked at.
            run: The run, before its end.
            arms: Where both arms are counted.
            now: Seconds since the epoch.
        """
        record = await self._of(run)
        metrics = analysis.all_metrics
        interval = seconds(analysis.interval)
        # once something is counted it is too late: what was not measured then is taken as it is
        if not record.prepared and not record.ticks and not self._tried <= now < self._tried + interval:
            self._tried = now
            history = await self._source.history(metrics, arms, seconds=HISTORY_S, step=max(interval, 5.0))
            record = prepare(metrics, record, history, dispersion_given=analysis.dispersion)
        if run.state == "Preparing":
            self._due = now + interval
        # the first look comes with the first weight, and a clock that was set back is no reason to wait for it
        elif self._before is None or not self._due - interval <= now < self._due:
            self._due = now + interval
            record = await self._tick(analysis, run, arms, record, now)
        self._record = record
        await self.keep()
        return self.judgement(analysis, run)

    def judgement(self, analysis: Analysis, run: Run) -> Judgement:
        """What the evidence so far says of a run."""
        record = self._record
        if record is None:
            return Judgement()
        lines, decision = judge(analysis.all_metrics, record)
        looks = record.looks if record.weight == run.weight else 0
        # before the first tick nothing is missing either
        return Judgement(tuple(lines), decision if record.samples else None, looks, _measured(record))

    async def note(self, run: Run, now: float) -> None:
        """Write down what has become of a run, unless that is the last thing that was written."""
        record = await self._of(run)
        note = Note(now, run.state, run.weight, run.reason, run.by)
        if not record.notes or msgspec.structs.replace(record.notes[-1], at=now) != note:
            self._record = noted(record, note)
        if run.ended or run.returns:
            self._due = math.inf

    async def keep(self) -> None:
        """Keep the evidence, if there is more of it."""
        if self._record is not None and self._record is not self._kept:
            await self._keeper.keep(self._record)
            self._kept = self._record

    async def _of(self, run: Run) -> Record:
        """The record of a run, whoever has begun it."""
        empty = Record(run=run.number, plan=run.plan, started=float(int(run.started)))
        if self._record is not None and _same(self._record, empty):
            return self._record
        found = await self._keeper.load(run.number)
        record = found if found is not None and _same(found, empty) else empty
        self._record = self._kept = record
        self._before, self._due, self._tried = None, 0.0, -math.inf
        return record

    async def _tick(self, analysis: Analysis, run: Run, arms: Arms, record: Record, now: float) -> Record:
        readings = await self._source.read(analysis.all_metrics, arms)
        began = now if record.began is None else min(record.began, now)
        record = msgspec.structs.replace(record, began=began)
        split = _Split(run.weight, arms.stable.service, arms.stable.clusters, arms.canary.service, arms.canary.clusters)
        before, self._before = self._before, _Reading(now, split, readings)
        # a tick across a change of weights would have the shares of neither
        if before is None or before.split != split:
            return record
        if before.at < began + seconds(analysis.warmup) and run.weight < 100:
            return record
        found = gather(
            analysis.all_metrics,
            record,
            before.readings,
            readings,
            now=now,
            weight=run.weight,
            share=arms.share,
            baking=run.state == "Baking",
        )
        found = with_client_shares(found, readings)
        base = {name: _base(found, name, before.readings, each) for name, each in readings.items()}
        self._before = _Reading(now, split, base)
        return found


def _same(record: Record, other: Record) -> bool:
    """Whether two records are of the same run: a rollout that is made anew counts its runs from 1 again."""
    return (record.run, record.plan, record.started) == (other.run, other.plan, other.started)


def _base(record: Record, name: str, before: Readings, after: Reading) -> Reading:
    """What the next tick of a metric begins at: where this one brought nothing yet, at what this one began at."""
    gathered = record.metrics.get(name)
    return before.get(name, after) if gathered is not None and gathered.trouble in QUIET else after


def _measured(record: Record) -> float | None:
    """The canary's part of the last tick's requests, by the first metric that counts some."""
    for sample in reversed(record.samples[-1:]):
        for canary, _, stable, _ in sample.counts.values():
            if canary + stable > 0:
                return 100.0 * canary / (canary + stable)
    return None
