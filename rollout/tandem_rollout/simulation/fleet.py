"""Many rollouts at once, each moved by the engine that moves real ones.

What a rollout does next is a function of its run, what is seen and the time; so rollouts that agree in these are asked
about once. Looks come as an analyst's do: the first with the first weight, then one each interval, and one when the
route has followed a change of weight. What comes until then is counted with the bounds of the canary's share, and what
a look does not see belongs to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.sequential import Floats
from tandem_rollout.analysis.verdict import Decision, Judged, Policy, combine
from tandem_rollout.analysis.window import FOLLOWS_S
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.seen import Arm, Seen
from tandem_rollout.gates import Metric
from tandem_rollout.simulation.evidence import VERDICTS, Bools, Drifts, Ratios, Timed
from tandem_rollout.simulation.outage import ABSENT, SEEN, Codes
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, TAKEN_BACK, UNDECIDED, Outcomes, blank
from tandem_rollout.simulation.traffic import Counts, Traffic

_WHOLE: Final = 100.0
_READY: Final = Arm(pods=(1, 1), fit=True)
_BY_ROLLOUT: Final = (
    "_index", "_at", "_weight", "_running", "_undecided", "_bakes", "_looks", "_read", "_changed",
    "_low", "_high", "_since", "_requests", "_samples"
)  # fmt: skip
_MOVES: Final = 10
"""More moves than a run can make at one time."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A run that some rollouts have, and what simulation needs of it."""

    run: Run
    weight: float
    ended: int | None
    decided: bool
    bakes: bool


class Fleet:
    """Rollouts under the engine.

    Args:
        metrics: What is looked at; metrics of type assignment are left out.
        schedule: What is planned.
        traffic: What happens, as far as it says which metric counts what.
        rollouts: How many.
        warmup: Seconds after the first look in which nothing is counted.
        phi: Dispersion by metric and rollout; 1 where there is none.
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
        self._metrics = tuple(metric for metric in metrics if metric.type != "assignment")
        self._schedule = schedule
        self._warmup = warmup
        gates = max(sum(metric.gate for metric in self._metrics), 1)
        self._ratios: dict[str, tuple[str, Ratios]] = {}
        self._timed: dict[str, Timed] = {}
        self._drifts: dict[str, Drifts] = {}
        for metric in self._metrics:
            if metric.type == "drift":
                if traffic.bins is None:
                    raise ValueError(f"the traffic has no predictions for the metric {metric.called}")
                bins = len(traffic.bins.stable)
                each = (phi or {}).get(metric.called)
                self._drifts[metric.called] = Drifts(metric, rollouts, gates=gates, bins=bins, phi=each)
            elif metric.type == "latency" and traffic.times is not None:
                each = (phi or {}).get(metric.called)
                self._timed[metric.called] = Timed(metric, rollouts, gates=gates, times=traffic.times, phi=each)
            else:
                each = (phi or {}).get(metric.called)
                evidence = Ratios(metric, rollouts, gates=gates, phi=each)
                self._ratios[metric.called] = traffic.key(metric), evidence
        self._policies = [
            Policy(each.no_data, each.provider_error, each.inconclusive, each.gate) for each in self._metrics
        ]
        self._decisions: dict[int, Decision] = {}
        self._places: list[_Place] = []
        self._known: dict[Run, int] = {}
        first = self._settle(self._place(_begun(schedule)), None, 0, 0.0)
        place = self._places[first]
        self._index = np.arange(rollouts)
        self._at = np.full(rollouts, first)
        self._weight = np.full(rollouts, place.weight)
        self._running = np.full(rollouts, place.ended is None)
        self._undecided = np.full(rollouts, not place.decided)
        self._bakes = np.full(rollouts, place.bakes)
        self._looks = np.zeros(rollouts, np.int64)
        self._read = np.ones(rollouts, np.bool_)
        self._low, self._high, self._since = np.zeros(rollouts), np.zeros(rollouts), np.zeros(rollouts)
        self._pending: Counts | None = None
        self._looked, self._changed = 0.0, np.ones(rollouts, np.bool_)
        self._requests, self._samples = np.zeros(rollouts), np.zeros(rollouts)
        self.outcomes: Outcomes = blank(rollouts)
        """How they have ended so far."""

    @property
    def shares(self) -> Floats:
        """The canary's share of the requests, by rollout."""
        return self._weight / _WHOLE

    @property
    def running(self) -> Bools:
        """Which rollouts have not ended."""
        return self._running

    def look(self, now: float, counts: Counts, trouble: Codes | None = None) -> None:
        """One tick more, and what follows. The first look, at 0, comes before any tick and has no counts to speak of.

        Args:
            now: Seconds since the first weight.
            counts: What the tick brought.
            trouble: What was the matter with metrics at this look.
        """
        trouble = np.zeros(len(self._at), np.int8) if trouble is None else trouble
        if not now:
            self._read = trouble == SEEN
            return
        undecided = self._running & self._undecided
        self._requests += np.where(undecided, counts.canary, 0.0)
        if counts.early is not None:
            # one looks when the route has followed, too
            self._take(self._looked + FOLLOWS_S, counts.early, trouble, self._changed)
        counted = self._take(now, counts.later, trouble, np.ones(len(self._at), np.bool_))
        self._looked, self._changed = now, np.zeros(len(self._at), np.bool_)
        self._move(now, undecided, counted)

    def _take(self, now: float, counts: Counts, trouble: Codes, looked: Bools) -> Bools:
        """Take evidence from some counts; where something was counted."""
        share = self._weight / _WHOLE
        self._low, self._high = np.minimum(self._low, share), np.maximum(self._high, share)
        # what was counted before the first reading is not known, and that reading says nothing yet
        total = (counts if self._pending is None else self._pending.plus(counts)).where(self._read)
        looked = looked & self._running
        begins = looked & (trouble == SEEN) & ~self._read
        trouble = np.where(begins, ABSENT, trouble).astype(np.int8)
        self._read |= begins
        crossed = self._low < self._high
        counted = self._gather(looked, trouble, total, share >= 1.0)
        self._samples += np.where(self._undecided & counted, total.canary, 0.0)
        self._looks += counted & ~crossed
        some = crossed | (share >= 1.0) | ((total.canary > 0.0) & (total.stable > 0.0))
        taken = begins | looked & (trouble == SEEN) & some
        self._pending = total.where(~taken)
        self._low, self._high = np.where(taken, share, self._low), np.where(taken, share, self._high)
        self._since = np.where(taken, now, self._since)
        return counted

    def keep(self, kept: Bools) -> None:
        """Go on with these rollouts only."""
        for name in _BY_ROLLOUT:
            setattr(self, name, getattr(self, name)[kept])
        self._pending = self._pending and self._pending.keep(kept)
        for _, ratios in self._ratios.values():
            ratios.keep(kept)
        for timed in self._timed.values():
            timed.keep(kept)
        for drifts in self._drifts.values():
            drifts.keep(kept)

    def give_up(self, now: float) -> None:
        """The simulation ends; what has not been decided stays so."""
        for row in map(int, np.flatnonzero(self._running)):
            if self._undecided[row]:
                self._spent(row, now)
            else:
                self.outcomes.ended[self._index[row]] = PROMOTED

    def _gather(self, looked: Bools, trouble: Codes, counts: Counts, alone: Bools) -> Bools:
        """Evidence of all metrics; where any counted something."""
        counted = np.zeros(len(looked), np.bool_)
        bounds, cold = (self._low, self._high), self._since < self._warmup
        told = (self._low < self._high) & (trouble == SEEN)
        for key, ratios in self._ratios.values():
            ours, theirs = counts.events[key]
            counted |= ratios.add(
                looked & ~alone,
                trouble,
                counts.canary,
                ours,
                counts.stable,
                theirs,
                baking=self._bakes,
                bounds=bounds,
                cold=cold,
            )
            if alone.any():
                counted |= ratios.add_alone(looked & alone, trouble, counts.canary, ours)
        for timed in self._timed.values():
            if counts.times is not None:
                counted |= timed.add_times(
                    looked & ~alone, trouble, *counts.times, baking=self._bakes, bounds=bounds, cold=cold
                )
        for drifts in self._drifts.values():
            if counts.rows is not None:
                counted |= drifts.add(looked & ~told, trouble, *counts.rows)
        return counted

    def _move(self, now: float, undecided: Bools, counted: Bools) -> None:
        """What the engine makes of it, rollout by rollout; those that agree in everything at once."""
        rows = np.flatnonzero(self._running)
        codes, code = np.unique(self._verdicts()[rows], return_inverse=True)
        span = int(self._looks.max(initial=0)) + 1
        keys = (self._at[rows] * span + self._looks[rows]) * len(codes) + code.reshape(-1)
        groups, members = np.unique(keys, return_inverse=True)
        after = np.empty(len(groups), np.int64)
        for group, key in enumerate(groups.tolist()):
            key, which = divmod(key, len(codes))
            at, looks = divmod(key, span)
            after[group] = self._settle(at, self._decision(int(codes[which])), looks, now)
        found = after[members.reshape(-1)]
        moved = found != self._at[rows]
        for row, at in zip(rows[moved].tolist(), found[moved].tolist(), strict=True):
            self._note(row, self._places[at], now, undecided[row], counted[row])
        self._at[rows] = found

    def _note(self, row: int, place: _Place, now: float, undecided: bool, counted: bool) -> None:
        """Write down where a rollout has come to, and what its decision took."""
        index = self._index[row]
        if place.weight != self._weight[row]:
            self._changed[row] = True
            self._weight[row] = place.weight
            self._looks[row] = 0
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

    def _verdicts(self) -> npt.NDArray[np.int64]:
        """Verdicts of all metrics as one number."""
        total = np.zeros(len(self._at), np.int64)
        for metric in self._metrics:
            name = metric.called
            evidence = self._drifts.get(name) or self._timed.get(name) or self._ratios[name][1]
            total = total * len(VERDICTS) + evidence.codes()
        return total

    def _decision(self, code: int) -> Decision:
        """The decision of verdicts, by the policies."""
        if code not in self._decisions:
            left, judged = code, {}
            for metric, policy in zip(reversed(self._metrics), reversed(self._policies), strict=True):
                left, place = divmod(left, len(VERDICTS))
                judged[metric.called] = Judged(VERDICTS[place], policy)
            self._decisions[code] = combine(dict(reversed(judged.items())))
        return self._decisions[code]

    def _settle(self, at: int, decision: Decision | None, looks: int, now: float) -> int:
        """All moves that a run makes now."""
        run = self._places[at].run
        for _ in range(_MOVES):
            seen = Seen(
                wanted=_CANARY,
                plan=run.plan,
                serving=_STABLE,
                stable=_READY,
                canary=_READY,
                decision=decision,
                looks=looks,
                routed=run.weight,
            )
            after = decide(self._schedule, run, seen, now)
            if after is None or after is run or after.ended:
                run = after or run
                break
            looks = looks if after.weight == run.weight else 0
            run = after
        return self._place(run)

    def _place(self, run: Run) -> int:
        if run not in self._known:
            self._known[run] = len(self._places)
            self._places.append(
                _Place(
                    run,
                    float(run.weight),
                    _ended(self._schedule, run),
                    _decided(self._schedule, run),
                    run.state == "Baking",
                )
            )
        return self._known[run]


_STABLE: Final = "stable"
_CANARY: Final = "canary"


def _begun(schedule: Schedule) -> Run:
    """A run before its first weight."""
    if schedule.observes or not all(step.weight for step in schedule.steps):
        raise ValueError("only canaries are simulated: a schedule of weights above 0")
    seen = Seen(wanted=_CANARY, plan="", serving=_STABLE, stable=_READY, canary=_READY)
    run = decide(schedule, None, seen, 0.0)
    if run is None:
        raise ValueError("the engine begins no run")
    return run


def _decided(schedule: Schedule, run: Run) -> bool:
    """Whether it is promoted, be it that it bakes yet."""
    return run.step >= len(schedule.steps)


def _ended(schedule: Schedule, run: Run) -> int | None:
    """How it ended; None where it goes on by itself."""
    if run.returns or run.state == "Aborted":
        return TAKEN_BACK if _decided(schedule, run) else ROLLED_BACK
    if run.state == "Promoted":
        return PROMOTED
    return UNDECIDED if run.state in ("Paused", "Gated") else None
