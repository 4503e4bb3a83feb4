"""Moves of runs by the engine, which is called once for rollouts with equal run, evidence and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tandem_rollout.analysis.verdict import GatedVerdict, MetricsDecision, Policy, combine
from tandem_rollout.api.analysis import Metric
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.inputs import RevisionState, RunInputs
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.simulation.evidence import VERDICTS
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, TAKEN_BACK, UNDECIDED

_READY: Final = RevisionState(pods=(1, 1), fit=True)
_MOVES: Final = 10
"""Upper bound of the moves of a run at one time."""
_STABLE: Final = "stable"
_CANARY: Final = "canary"


@dataclass(frozen=True, slots=True)
class RunNode:
    """A run that some rollouts share.

    Attributes:
        run: The run.
        weight: The canary's percentage.
        ended: The outcome; None if the run continues.
        decided: Whether the canary is promoted, including the bake time.
        bakes: Whether the canary bakes.
    """

    run: Run
    weight: float
    ended: int | None
    decided: bool
    bakes: bool


class Moves:
    """The runs of rollouts, each with a number, and the moves between them.

    Args:
        schedule: The schedule.
        metrics: The metrics, in the order of their verdicts.

    Raises:
        ValueError: The schedule is not that of a canary.
    """

    def __init__(self, schedule: Schedule, metrics: Sequence[Metric]) -> None:
        self._schedule = schedule
        self._metrics = tuple(metrics)
        self._policies = [
            Policy(metric.no_data, metric.provider_error, metric.inconclusive, metric.gate) for metric in metrics
        ]
        self._decisions: dict[int, MetricsDecision] = {}
        self._places: list[RunNode] = []
        self._numbers: dict[Run, int] = {}
        self.first = self.settle(self._number(_begin(schedule)), None, 0, 0.0)
        """Number of the first run of all rollouts."""

    def __getitem__(self, number: int) -> RunNode:
        return self._places[number]

    def decision(self, code: int) -> MetricsDecision:
        """The decision of a set of verdicts.

        Args:
            code: The verdicts as one number, as in :meth:`.metrics.Metrics.verdicts`.
        """
        if code not in self._decisions:
            rest, judged = code, {}
            # the lowest digit is that of the last metric
            for metric, policy in zip(reversed(self._metrics), reversed(self._policies), strict=True):
                rest, place = divmod(rest, len(VERDICTS))
                judged[metric.full_name] = GatedVerdict(VERDICTS[place], policy)
            self._decisions[code] = combine(dict(reversed(judged.items())))
        return self._decisions[code]

    def settle(self, number: int, decision: MetricsDecision | None, samples_at_weight: int, now: float) -> int:
        """Number of the run after all its moves at one time.

        Args:
            number: Number of the run.
            decision: The decision of the metrics; None before the first sample.
            samples_at_weight: Number of samples at the present weight.
            now: Seconds since the first weight.
        """
        run = self._places[number].run
        # the engine makes one move at a time, and a controller calls it again at once
        for _ in range(_MOVES):
            snapshot = RunInputs(
                specified=_CANARY,
                plan=run.plan,
                serving=_STABLE,
                stable=_READY,
                canary=_READY,
                decision=decision,
                samples_at_weight=samples_at_weight,
                routed=run.weight,
            )
            after = decide(self._schedule, run, snapshot, now)
            if after is None or after is run or after.ended:
                run = after or run
                break
            samples_at_weight = samples_at_weight if after.weight == run.weight else 0
            run = after
        return self._number(run)

    def _number(self, run: Run) -> int:
        if run not in self._numbers:
            self._numbers[run] = len(self._places)
            self._places.append(
                RunNode(
                    run,
                    float(run.weight),
                    _ended(self._schedule, run),
                    _decided(self._schedule, run),
                    run.state == "Baking",
                )
            )
        return self._numbers[run]


def _begin(schedule: Schedule) -> Run:
    """A run before its first weight."""
    if schedule.observes or not all(step.weight for step in schedule.steps):
        raise ValueError("only canaries can be simulated: all weights of the schedule must be above 0")
    snapshot = RunInputs(specified=_CANARY, plan="", serving=_STABLE, stable=_READY, canary=_READY)
    run = decide(schedule, None, snapshot, 0.0)
    if run is None:
        raise ValueError("the engine did not begin a run")
    return run


def _decided(schedule: Schedule, run: Run) -> bool:
    """Whether the canary is promoted, including the bake time."""
    return run.step >= len(schedule.steps)


def _ended(schedule: Schedule, run: Run) -> int | None:
    """The outcome; None if the run continues."""
    # a run that returns is certain to end so, as pods and route always follow in a simulation
    if run.returns or run.state == "Aborted":
        return TAKEN_BACK if _decided(schedule, run) else ROLLED_BACK
    if run.state == "Promoted":
        return PROMOTED
    return UNDECIDED if run.state in ("Paused", "AwaitingApproval") else None
