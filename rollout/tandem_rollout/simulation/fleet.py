"""Many rollouts at once, decided by the engine of real ones.

The next state of a rollout is a function of its run, its evidence and the time, so that equal rollouts are decided only
once. Samples are taken as by an analyst: the first with the first weight, then one per interval, and one when the route
has applied a change of the weight. Until then requests are judged with bounds of the canary's share. Requests that a
sample does not count are part of the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from tandem_rollout.analysis.priors import Floats
from tandem_rollout.analysis.window import ROUTE_DELAY_S
from tandem_rollout.api.analysis import Metric
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.simulation.evidence import Bools
from tandem_rollout.simulation.metrics import SimulatedMetrics
from tandem_rollout.simulation.moves import Moves, RunNode
from tandem_rollout.simulation.outage import ABSENT, SEEN, Codes
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, TAKEN_BACK, Outcomes, blank
from tandem_rollout.simulation.stream import Counts
from tandem_rollout.simulation.traffic import Traffic

_WHOLE: Final = 100.0
_BY_ROLLOUT: Final = (
    "_index", "_at", "_weight", "_running", "_undecided", "_bakes", "_samples_at_weight", "_read", "_changed",
    "_low", "_high", "_since", "_requests", "_samples"
)  # fmt: skip


class Fleet:
    """Rollouts that the engine decides.

    Args:
        metrics: The metrics. Those of type assignment are ignored.
        schedule: The schedule.
        traffic: The traffic, which defines the counts of each metric.
        rollouts: Number of rollouts.
        warmup: Seconds after the first sample in which latency is not judged.
        phi: Dispersion by metric and rollout; by default 1.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        schedule: Schedule,
        traffic: Traffic,
        rollouts: int,
        *,
        warmup: float = 0.0,
        phi: Mapping[str, Floats] | None = None,
    ) -> None:
        judged = tuple(metric for metric in metrics if metric.type != "assignment")
        self._warmup = warmup
        self._metrics = SimulatedMetrics(judged, traffic, rollouts, phi)
        self._moves = Moves(schedule, judged)
        place = self._moves[self._moves.first]
        self._index = np.arange(rollouts)
        self._at = np.full(rollouts, self._moves.first)
        self._weight = np.full(rollouts, place.weight)
        self._running = np.full(rollouts, place.ended is None)
        self._undecided = np.full(rollouts, not place.decided)
        self._bakes = np.full(rollouts, place.bakes)
        self._samples_at_weight = np.zeros(rollouts, np.int64)
        self._read = np.ones(rollouts, np.bool_)
        self._low, self._high, self._since = np.zeros(rollouts), np.zeros(rollouts), np.zeros(rollouts)
        self._pending: Counts | None = None
        self._sampled, self._changed = 0.0, np.ones(rollouts, np.bool_)
        self._requests, self._samples = np.zeros(rollouts), np.zeros(rollouts)
        self.outcomes: Outcomes = blank(rollouts)
        """The outcomes of the rollouts that have ended."""

    @property
    def shares(self) -> Floats:
        """The canary's share of the requests, by rollout."""
        return self._weight / _WHOLE

    @property
    def running(self) -> Bools:
        """Rollouts that have not ended."""
        return self._running

    def take_sample(self, now: float, counts: Counts, trouble: Codes | None = None) -> None:
        """Take a sample, and decide. The first sample, at 0, only starts the counters.

        Args:
            now: Seconds since the first weight.
            counts: The counts of the sample.
            trouble: Codes of missing data.
        """
        trouble = np.zeros(len(self._at), np.int8) if trouble is None else trouble
        if not now:
            self._read = trouble == SEEN
            return
        undecided = self._running & self._undecided
        self._requests += np.where(undecided, counts.canary, 0.0)
        if counts.early is not None:
            # another sample is taken when the route has applied the weight
            self._take(self._sampled + ROUTE_DELAY_S, counts.early, trouble, self._changed)
        counted = self._take(now, counts.later, trouble, np.ones(len(self._at), np.bool_))
        self._sampled, self._changed = now, np.zeros(len(self._at), np.bool_)
        self._move(now, undecided, counted)

    def _take(self, now: float, counts: Counts, trouble: Codes, sampled: Bools) -> Bools:
        """Add the evidence of some counts; returns the rollouts with counts."""
        share = self._weight / _WHOLE
        self._low, self._high = np.minimum(self._low, share), np.maximum(self._high, share)
        # the first reading has no counts, as those before it are not known
        total = (counts if self._pending is None else self._pending.plus(counts)).where(self._read)
        sampled = sampled & self._running
        begins = sampled & (trouble == SEEN) & ~self._read
        trouble = np.where(begins, ABSENT, trouble).astype(np.int8)
        self._read |= begins
        crossed = self._low < self._high
        counted = self._metrics.add(
            sampled,
            trouble,
            total,
            alone=share >= 1.0,
            bounds=(self._low, self._high),
            baking=self._bakes,
            # a sample that only begins in the warm-up contains its slow requests
            cold=self._since < self._warmup,
        )
        self._samples += np.where(self._undecided & counted, total.canary, 0.0)
        # a sample across a change has requests of two weights, as in gather
        self._samples_at_weight += counted & ~crossed
        # counts that were not judged stay for the next sample, as in an open window
        complete = crossed | (share >= 1.0) | ((total.canary > 0.0) & (total.stable > 0.0))
        closed = begins | sampled & (trouble == SEEN) & complete
        self._pending = total.where(~closed)
        self._low, self._high = np.where(closed, share, self._low), np.where(closed, share, self._high)
        self._since = np.where(closed, now, self._since)
        return counted

    def keep(self, kept: Bools) -> None:
        """Keep only some rollouts."""
        for name in _BY_ROLLOUT:
            setattr(self, name, getattr(self, name)[kept])
        self._pending = self._pending and self._pending.keep(kept)
        self._metrics.keep(kept)

    def give_up(self, now: float) -> None:
        """End the simulation. Undecided rollouts stay undecided."""
        for row in map(int, np.flatnonzero(self._running)):
            if self._undecided[row]:
                self._spent(row, now)
            else:
                # it bakes: the decision was for the canary
                self.outcomes.ended[self._index[row]] = PROMOTED

    def _move(self, now: float, undecided: Bools, counted: Bools) -> None:
        """Decide the next state of all rollouts; equal rollouts are decided at once."""
        rows = np.flatnonzero(self._running)
        codes, code = np.unique(self._metrics.verdicts()[rows], return_inverse=True)
        span = int(self._samples_at_weight.max(initial=0)) + 1
        # one integer for each combination, which np.unique groups faster than rows of three
        keys = (self._at[rows] * span + self._samples_at_weight[rows]) * len(codes) + code.reshape(-1)
        groups, members = np.unique(keys, return_inverse=True)
        after = np.empty(len(groups), np.int64)
        for group, key in enumerate(groups.tolist()):
            key, place = divmod(key, len(codes))
            at, samples_at_weight = divmod(key, span)
            after[group] = self._moves.settle(at, self._moves.decision(int(codes[place])), samples_at_weight, now)
        numbers = after[members.reshape(-1)]
        moved = numbers != self._at[rows]
        for row, at in zip(rows[moved].tolist(), numbers[moved].tolist(), strict=True):
            self._note(row, self._moves[at], now, undecided[row], counted[row])
        self._at[rows] = numbers

    def _note(self, row: int, place: RunNode, now: float, undecided: bool, counted: bool) -> None:
        """Record the new state of a rollout, and the cost of its decision."""
        index = self._index[row]
        if place.weight != self._weight[row]:
            self._changed[row] = True
            self._weight[row] = place.weight
            self._samples_at_weight[row] = 0
        self._bakes[row] = place.bakes
        if place.ended is not None:
            self._running[row] = False
            self.outcomes.ended[index] = place.ended
            self.outcomes.unseen[index] = place.ended in (ROLLED_BACK, TAKEN_BACK) and not counted
        if undecided and (place.decided or place.ended is not None):
            self._undecided[row] = False
            self._spent(row, now)

    def _spent(self, row: int, now: float) -> None:
        index = self._index[row]
        self.outcomes.seconds[index] = now
        self.outcomes.requests[index] = self._requests[row]
        self.outcomes.samples[index] = self._samples[row]
