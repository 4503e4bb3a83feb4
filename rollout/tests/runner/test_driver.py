"""One move of a run: what is written and made, in which order, and what a crash between any two of them leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from tandem_rollout.analysis.counts import Counters
from tandem_rollout.analysis.judge import judge
from tandem_rollout.analysis.reading import CounterReading, Readings
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.api.status import RunStatus
from tandem_rollout.engine.desired import Desired
from tandem_rollout.engine.inputs import RevisionState, RunInputs
from tandem_rollout.engine.run import RETURNS, Command, Run, Verb
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.engine.serialization import from_status, to_status
from tandem_rollout.runner.analyst import Analyst, Judgement
from tandem_rollout.runner.driver import advance
from tandem_rollout.sources import ArmLocation, Arms

START = 1_700_000_000.0
SCHEDULE = Schedule(
    steps=(ScheduledStep(weight=10, min_duration=20), ScheduledStep(weight=50, min_duration=20)), bake=30
)
ANALYSIS = Analysis(metrics=[Metric(type="errors")], interval="10s", warmup="0s")
READY = RevisionState(pods=(2, 2), fit=True)


class Killed(Exception):
    """The process is no more."""


@dataclass
class World:
    """A cluster in memory: the status, the evidence and the route outlive whoever moves the run.

    Attributes:
        rate: The canary's rate of errors.
        deaths: Calls, counted from 0, at which whoever makes them dies; and whether the call still takes effect.
        calls: What was called.
    """

    rate: float = 0.001
    deaths: dict[int, bool] = field(default_factory=dict)
    now: float = START
    specified: str = "b"
    serving: str = "a"
    stable: RevisionState = READY
    canary: RevisionState = READY
    command: Command | None = None
    deleted: bool = False
    routed: dict[str, int] = field(default_factory=lambda: {"a": 100})
    status: bytes = b""
    records: dict[int, bytes] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    served: float = 0.0
    bad: float = 0.0
    stable_served: float = 0.0

    @property
    def run(self) -> Run | None:
        """What is written down."""
        return from_status(msgspec.json.decode(self.status, type=RunStatus)) if self.status else None

    def passes(self, seconds: float) -> None:
        """Time passes, and 1000 requests a second."""
        share = self.routed.get("b", 0) / 100
        self.now += seconds
        self.served += 1000 * seconds * share
        self.bad += 1000 * seconds * share * self.rate
        self.stable_served += 1000 * seconds * (1 - share)

    def _call(self, name: str, effect: Callable[[], None]) -> None:
        at = len(self.calls)
        self.calls.append(name)
        if at not in self.deaths:
            effect()
            return
        if self.deaths[at]:
            effect()
        raise Killed

    # backend

    def inputs(self, run: Run | None) -> RunInputs:
        serving = max(self.routed, key=lambda name: self.routed[name])
        canary = run.canary if run and not run.ended else self.specified
        return RunInputs(
            specified=self.specified,
            plan=f"plan of {self.specified}",
            serving=serving,
            stable=self.stable,
            canary=self.canary,
            routed=self.routed.get(canary, 0),
            command=self.command,
            deleted=self.deleted,
        )

    async def arms(self, run: Run) -> Arms:
        return Arms(namespace="models", stable=ArmLocation(service=run.stable), canary=ArmLocation(service=run.canary))

    async def write(self, run: Run, judgement: Judgement) -> None:
        def effect() -> None:
            self.status = msgspec.json.encode(to_status(run, steps=len(SCHEDULE.steps)))
            self.states.append(f"{run.canary} {run.state} {run.weight}")

        self._call("write", effect)

    async def make(self, run: Run, desired: Desired) -> None:
        assert self.run == run, "it is made before it is written down"
        if desired.weights == self.routed:
            return

        def effect() -> None:
            self.routed = dict(desired.weights)

        self._call("make", effect)

    # keeper

    async def load(self, run: int) -> Record | None:
        data = self.records.get(run)
        return msgspec.json.decode(data, type=Record) if data else None

    async def keep(self, record: Record) -> None:
        def effect() -> None:
            self.records[record.run] = msgspec.json.encode(record)

        self._call("keep", effect)

    # source

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        stable = Counters({"all": self.stable_served}, {"bad": self.stable_served * 0.001})
        canary = Counters({"all": self.served}, {"bad": self.bad})
        return {"errors": CounterReading({"a-0": stable}, {"b-0": canary})}

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        return [await self.read(metrics, arms)]

    async def close(self) -> None:
        pass


Story = Callable[[World, int], None]


def nothing(world: World, at: int) -> None:
    """Nobody does anything."""


def supersession(world: World, at: int) -> None:
    """Another version is specified in the middle."""
    if at == 15:
        world.specified = "c"


def deletion(world: World, at: int) -> None:
    if at == 15:
        world.deleted = True


def orders(*commands: tuple[int, Verb]) -> Story:
    """A person says this and that."""

    def story(world: World, at: int) -> None:
        for when, verb in commands:
            if at == when:
                world.command = Command(id=str(when), verb=verb, by="ann")

    return story


def death(world: World, at: int) -> None:
    """The canary's pods die."""
    if at == 15:
        world.canary = replace(READY, pods=(0, 1))


async def live(world: World, story: Story, seconds: int = 220) -> None:
    """Move a run every second; whoever is killed is followed by another one who knows nothing."""
    analyst = Analyst(world, world)
    for at in range(seconds):
        story(world, at)
        for _ in range(4):
            run = world.run
            try:
                after, _ = await advance(world, analyst, SCHEDULE, ANALYSIS, run, world.now)
            except Killed:
                analyst = Analyst(world, world)
                continue
            if after == run:
                break
        world.passes(1.0)


def notes(world: World) -> list[str]:
    """States of the last run, as its evidence has them."""
    record = msgspec.json.decode(world.records[max(world.records)], type=Record)
    return [f"{note.state} {note.weight}" for note in record.notes]


STORIES: dict[str, tuple[Story, float, list[str]]] = {
    "promotion": (
        nothing,
        0.001,
        ["Preparing 0", "Analyzing 10", "Scaling 10", "Analyzing 50", "Scaling 50", "Baking 100", "Promoted 100"],
    ),
    "failure": (nothing, 0.05, ["Preparing 0", "Analyzing 10", "Aborting 10", "Aborting 0", "Aborted 0"]),
    "death": (death, 0.001, ["Preparing 0", "Analyzing 10", "Aborting 10", "Aborting 0", "Aborted 0"]),
    "deletion": (deletion, 0.001, ["Preparing 0", "Analyzing 10", "Aborting 0", "Aborted 0"]),
    "abort": (orders((15, "abort")), 0.001, ["Preparing 0", "Analyzing 10", "Aborting 10", "Aborting 0", "Aborted 0"]),
    "pause": (
        orders((15, "pause"), (40, "resume"), (200, "rollback")),
        0.001,
        [
            "Preparing 0",
            "Analyzing 10",
            "Paused 10",
            "Analyzing 10",
            "Scaling 10",
            "Analyzing 50",
            "Scaling 50",
            "Baking 100",
            "Promoted 100",
            "RollingBack 100",
            "RollingBack 0",
            "RolledBack 0",
        ],
    ),
}


@pytest.mark.parametrize("name", STORIES)
async def test_a_run_goes_its_way_and_its_notes_tell_it(name: str) -> None:
    story, rate, states = STORIES[name]
    world = World(rate=rate)
    await live(world, story)
    log = [line.partition(" ")[2] for line in world.states]
    assert [state for at, state in enumerate(log) if at == 0 or log[at - 1] != state] in (states, _short(states))
    assert notes(world) == log


def _short(states: list[str]) -> list[str]:
    """Where the weight goes in the same move in which the way back begins, nobody sees the state before."""
    return [
        state for at, state in enumerate(states) if not (state.startswith(tuple(RETURNS)) and not state.endswith(" 0"))
    ]


@pytest.mark.parametrize("name", [*STORIES, "supersession"])
@pytest.mark.parametrize("takes_effect", [False, True])
async def test_whoever_is_killed_anywhere_the_end_is_the_same_and_nothing_happens_twice(
    name: str, takes_effect: bool
) -> None:
    story, rate, _ = STORIES.get(name, (supersession, 0.001, []))
    whole = World(rate=rate)
    await live(whole, story)
    assert len(whole.calls) > 8
    for at in range(len(whole.calls)):
        world = World(rate=rate, deaths={at: takes_effect})
        await live(world, story)
        assert world.states == whole.states, at
        assert world.routed == whole.routed, at
        assert world.run is not None
        assert whole.run is not None
        assert (world.run.state, world.run.reason, world.run.by) == (whole.run.state, whole.run.reason, whole.run.by)


@pytest.mark.parametrize("every", [2, 3, 5])
async def test_whoever_is_killed_again_and_again_comes_to_the_same_end(every: int) -> None:
    story, rate, states = STORIES["promotion"]
    world = World(rate=rate, deaths=dict.fromkeys(range(0, 400, every), False))
    await live(world, story, 400)
    assert [line.partition(" ")[2] for line in world.states] == states


async def test_what_a_crash_has_left_unsaid_is_said_by_the_next_one() -> None:
    """The status is written before the evidence; until the run has ended whoever follows makes up for it."""
    story, rate, states = STORIES["promotion"]
    whole = World(rate=rate)
    await live(whole, story)
    for at, call in enumerate(whole.calls):
        if call == "write" and at < len(whole.calls) - 3:
            world = World(rate=rate, deaths={at: True})
            await live(world, story)
            assert notes(world) == states, at


async def test_a_status_that_is_not_taken_leaves_no_note() -> None:
    world = World()
    analyst = Analyst(world, world)
    world.deaths = {0: False}
    with pytest.raises(Killed):
        await advance(world, analyst, SCHEDULE, ANALYSIS, None, world.now)
    world.specified = "c"
    await advance(world, analyst, SCHEDULE, ANALYSIS, None, world.now)
    assert world.run is not None
    assert world.run.canary == "c"
    assert notes(world) == ["Preparing 0"]


async def test_a_canary_without_pods_goes_before_anybody_is_asked() -> None:
    class Mute(World):
        async def read(self, metrics: Any, arms: Any) -> Readings:
            raise AssertionError("asked")

    world = Mute()
    world.status = msgspec.json.encode(
        to_status(
            Run(
                number=1,
                stable="a",
                canary="b",
                plan="plan of b",
                state="Analyzing",
                started=START,
                since=START,
                weight=10,
            ),
            steps=2,
        )
    )
    world.routed = {"a": 90, "b": 10}
    world.canary = replace(READY, pods=(0, 0))
    analyst = Analyst(world, world)
    for _ in range(3):
        await advance(world, analyst, SCHEDULE, ANALYSIS, world.run, world.now)
    assert world.run is not None
    assert world.run.state == "Aborted"
    assert world.routed == {"a": 100}


async def test_a_run_at_rest_writes_nothing() -> None:
    world = World()
    await live(world, nothing)
    calls = len(world.calls)
    await live(world, nothing, 100)
    assert len(world.calls) == calls


async def test_without_a_run_nothing_is_made() -> None:
    world = World(specified="a")
    after, judgement = await advance(world, Analyst(world, world), SCHEDULE, ANALYSIS, None, world.now)
    assert after is None
    assert judgement == Judgement()
    assert world.calls == []


@pytest.mark.parametrize(
    ("events", "outcome", "verdict"), [(0, "Promoted", "pass"), (8, "Promoted", "pass"), (400, "Aborted", "fail")]
)
async def test_a_promoted_run_has_passed_whatever_else_comes_unless_it_fails(
    events: int, outcome: str, verdict: str
) -> None:
    """A few late errors take back no pass that the run was promoted on; many abort it."""

    def burst(world: World, at: int) -> None:
        run = world.run
        if run is not None and run.step == len(SCHEDULE.steps) and world.now == run.since + 5:
            world.bad += events

    class Waits(World):
        """The canary gets its pods for all requests late, so that ticks come between promotion and the last weight."""

        def inputs(self, run: Run | None) -> RunInputs:
            inputs = super().inputs(run)
            waits = run is not None and run.step == len(SCHEDULE.steps) and self.now < run.since + 15
            return replace(inputs, canary=replace(READY, pods=(1, 1))) if waits else inputs

    world = Waits()
    await live(world, burst, 220)
    assert world.run is not None
    record = msgspec.json.decode(world.records[1], type=Record)
    lines, _ = judge(ANALYSIS.all_metrics, record)
    errors = next(line for line in lines if line.name == "errors")
    assert (world.run.state, errors.verdict.value) == (outcome, verdict)
