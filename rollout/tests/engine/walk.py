"""A run that is walked through what is inputs, with a world that follows at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from rollout.tests.nonsense import nonsense

from tandem_rollout.analysis.verdict import MetricsDecision, Verdict
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.desired import derive_desired
from tandem_rollout.engine.inputs import RevisionState, RunInputs
from tandem_rollout.engine.run import Command, Run, Verb
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.engine.serialization import from_status, to_status

START = 1_700_000_000.0
MAX_MOVES = 60

THREE = Schedule(
    steps=(
        ScheduledStep(weight=10, min_duration=60),
        ScheduledStep(weight=25, min_duration=60, gate=True),
        ScheduledStep(weight=50, min_duration=60),
    ),
    bake=300,
    progress_deadline=600,
    timeout=3600,
)
"""Three steps with a gate at the second one."""

HELD = Schedule(
    steps=(ScheduledStep(weight=10, min_duration=60), ScheduledStep(weight=50, min_duration=60)), bake=300, holdback=5
)
"""Two steps, and a twentieth that is held back while it bakes."""

ONE = Schedule(steps=(ScheduledStep(weight=20, min_duration=60),))
PREVIEW = Schedule(steps=(ScheduledStep(weight=0, min_duration=60),))
"""Blue/green with analysis."""

WATCHED = Schedule(steps=(), timeout=1000)
"""An A/B test."""


def says(verdict: Verdict) -> MetricsDecision:
    """A decision by errors."""
    return MetricsDecision(verdict, ("errors",))


PASS, FAIL, INCONCLUSIVE, NO_DATA, PROVIDER_ERROR = map(says, Verdict)


FRESH = RunInputs(
    specified="b",
    plan="p",
    serving="a",
    stable=RevisionState(pods=(4, 2), fit=True),
    canary=RevisionState(pods=(4, 2), fit=True),
    decision=INCONCLUSIVE,
    samples_at_weight=1,
    routed=0,
)


def last(run: Run) -> str:
    """Identity of the last command; empty where there was none."""
    return run.last_command.id if run.last_command is not None else ""


def rejection(run: Run) -> tuple[str, str] | None:
    """Why the last command was rejected: reason and message; None where it was not."""
    answer = run.last_command
    return (answer.reason, answer.message) if answer is not None and answer.result == "Rejected" else None


def garbled(run: Run | None) -> Run | None:
    """The same run in other words."""
    if run is None:
        return None
    answer = run.last_command
    if answer is not None:
        answer = msgspec.structs.replace(answer, message=nonsense(answer.message))
    return replace(run, message=nonsense(run.message), last_command=answer)


@dataclass
class Walk:
    """A run and what it sees. The route follows unless it is stuck; pods come when the test says so."""

    schedule: Schedule = THREE
    inputs: RunInputs = field(default_factory=lambda: FRESH)
    now: float = START
    run: Run | None = None
    stuck: bool = False
    crashing: bool = False
    history: list[tuple[str, int]] = field(default_factory=list)
    commands: int = 0

    def at(self, state: str, weight: int) -> None:
        """Where it must stand now."""
        assert (self.here.state, self.here.weight) == (state, weight), self.here

    @property
    def here(self) -> Run:
        """The run."""
        assert self.run is not None
        return self.run

    def move(self) -> bool:
        """One decision; whether it changed anything."""
        after = decide(self.schedule, self.run, self.inputs, self.now)
        if after == self.run:
            return False
        assert after is not None
        if self.run is None or (after.state, after.weight) != (self.run.state, self.run.weight):
            self.history.append((after.state, after.weight))
        if self.crashing:
            after = from_status(to_status(after, steps=len(self.schedule.steps)))
            assert after is not None
        self.run = after
        weights = derive_desired(self.schedule, after, self.inputs.stable, self.inputs.canary).weights
        serving = self.inputs.serving
        if weights:
            serving = max(weights, key=lambda name: weights[name])
        if not self.stuck:
            self.inputs = replace(self.inputs, routed=after.weight, edited=False, serving=serving)
        return True

    def settle(self) -> Run:
        """Decide until nothing changes any more."""
        for _ in range(MAX_MOVES):
            if not self.move():
                return self.here
        raise AssertionError(f"it does not come to rest: {self.history[-8:]}")

    def sees(self, **changes: Any) -> Run:
        """Other things are inputs."""
        self.inputs = replace(self.inputs, **changes)
        return self.settle()

    def wait(self, seconds: float) -> Run:
        """Time goes on."""
        self.now += seconds
        return self.settle()

    def says(self, verb: Verb, *, by: str = "ann", comment: str = "") -> Run:
        """A person asks for something."""
        self.commands += 1
        return self.sees(command=Command(id=str(self.commands), verb=verb, by=by, comment=comment))

    def to(self, state: str) -> Walk:
        """Walk a good canary until it comes to a state."""
        if self.run is None:
            self.sees(canary=replace(self.inputs.canary, fit=False))
        steps = {
            "Preparing": [],
            "Analyzing": [("fit", 0)],
            "AwaitingApproval": [("fit", 0), ("", 60), ("", 60)],
            "Scaling": [("fit", 0), ("short", 60)],
            "Paused": [("fit", 0), ("pause", 0)],
            "Baking": [("fit", 0), ("promote", 0)],
            "Promoted": [("fit", 0), ("promote", 0), ("", 300)],
            "Aborting": [("fit", 0), ("fewer", 0), ("abort", 0)],
            "Aborted": [("fit", 0), ("abort", 0)],
            "RollingBack": [("fit", 0), ("promote", 0), ("", 300), ("fewer", 0), ("rollback", 0)],
            "RolledBack": [("fit", 0), ("promote", 0), ("", 300), ("rollback", 0)],
            "Observing": [],
            "Completed": [("", 1000)],
        }
        for event, seconds in steps[state]:
            self.now += seconds
            if event == "fit":
                self.sees(canary=replace(self.inputs.canary, fit=True))
            elif event == "short":
                self.sees(
                    canary=replace(self.inputs.canary, pods=(1, 1)), stable=replace(self.inputs.stable, pods=(8, 8))
                )
            elif event == "fewer":
                self.sees(stable=replace(self.inputs.stable, pods=(1, 1)))
            elif event:
                self.says(msgspec.convert(event, Verb))
            else:
                self.settle()
        assert self.here.state == state, self.here
        return self
