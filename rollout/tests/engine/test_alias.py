"""A rollout that follows an alias, on the real engine, with a registry that fails and processes that end anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import RegistryStatus, RolloutStatus
from tandem_rollout.engine.alias import (
    UNJUDGED,
    AliasReading,
    RunEnd,
    follow_alias,
    open_ends,
    versions_to_read,
)
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.desired import derive_desired
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.run import Command, Run, Verb
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.engine.serialization import from_status, to_status
from tandem_rollout.runner.progress import history

from .walk import FAIL, FRESH, INCONCLUSIVE, PASS, START

SCHEDULE = Schedule(steps=(ScheduledStep(weight=10, min_duration=0),), bake=60)
DOWN = Cause("RegistryUnreachable", "connection refused")


class Killed(Exception):
    """The process ended at this point."""


@dataclass
class World:
    """A registry, a rollout on the real engine, and what follows the alias between them."""

    alias: int | None = 1
    tags: dict[int, RunEnd | None] = field(default_factory=lambda: dict.fromkeys(range(1, 5)))
    up: bool = True
    status: RolloutStatus = field(
        default_factory=lambda: RolloutStatus(registry=RegistryStatus(model="m", alias="champion", version=1))
    )
    serving: str = "1"
    plan: str = "p"
    now: float = START
    command: Command | None = None
    commands: int = 0
    limit: int = 10
    put_back: list[tuple[int, int]] = field(default_factory=list)

    @property
    def registry(self) -> RegistryStatus:
        assert self.status.registry is not None
        return self.status.registry

    @property
    def run(self) -> Run | None:
        return from_status(self.status.run)

    def says(self, verb: Verb) -> None:
        self.commands += 1
        self.command = Command(id=f"user-{self.commands}", verb=verb)

    def delete(self, version: int) -> None:
        """As MLflow does it: the alias goes with the version."""
        self.tags.pop(version, None)
        self.alias = None if self.alias == version else self.alias

    def reading(self) -> AliasReading | Cause:
        if not self.up:
            return DOWN
        wanted = versions_to_read(self.status, int) | ({self.alias} if self.alias else set())
        return AliasReading(version=self.alias, ends={name: self.tags[name] for name in wanted if name in self.tags})

    def poll(self, killed_after: int = 99) -> None:
        """Follow the alias until nothing changes; killed after a number of writes to the registry or the status."""
        writes = iter(range(killed_after))
        for _ in range(20):
            step = follow_alias(self.status, self.reading(), int)
            if step.write is None and step.status == self.registry:
                return
            if step.write is not None:
                if step.write.alias is not None:
                    self._spend(writes)
                    assert step.write.alias in self.tags
                    assert self.alias == step.write.end.canary
                    assert step.write.end.rejects_canary
                    self.put_back.append((step.write.end.canary, step.write.alias))
                    self.alias = step.write.alias
                self._spend(writes)
                self.tags[step.write.end.canary] = step.write.end
            self._spend(writes)
            self.status = msgspec.structs.replace(self.status, registry=step.status)
        raise AssertionError(f"it does not come to rest: {self}")

    def move(self, **inputs: object) -> bool:
        """One decision of the engine; whether it changed anything."""
        specified, run = str(self.registry.version), self.run
        command = self.command
        if self.registry.command and (run is None or not run.knows(self.registry.command)):
            command = Command(id=self.registry.command, verb="start", by="m@champion")
        weight = run.weight if run is not None and not run.ended else 0
        base = replace(FRESH, specified=specified, plan=self.plan, serving=self.serving, routed=weight, command=command)
        seen: RunInputs = replace(base, **inputs)  # type: ignore[arg-type]
        after = decide(SCHEDULE, run, seen, self.now)
        if after is None or after == run:
            return False
        weights = derive_desired(SCHEDULE, after, seen.stable, seen.canary).weights
        self.serving = max(weights, key=lambda name: weights[name])
        # the runs that had ended before are recorded with the next one, as the controller and the local stack do it
        past = history(history(self.status.history, run, "", limit=self.limit), after, "", limit=self.limit)
        self.status = msgspec.structs.replace(self.status, run=to_status(after, steps=1), history=past)
        return True

    def moves(self, **inputs: object) -> None:
        for _ in range(60):
            if not self.move(**inputs):
                return
        raise AssertionError(f"it does not come to rest: {self.run}")

    def settle(self, **inputs: object) -> None:
        """Poll and decide until nothing changes; each run ends by what it sees."""
        for _ in range(20):
            before = (self.status, self.alias, dict(self.tags))
            self.poll()
            self.moves(**inputs)
            self.now += 61
            self.moves(**inputs)
            if before == (self.status, self.alias, dict(self.tags)):
                return
        raise AssertionError(f"it does not come to rest: {self}")

    def to_promoted(self) -> World:
        self.alias = 2
        self.poll()
        self.moves(decision=PASS)
        self.now += 61
        self.moves(decision=PASS)
        assert self.run is not None and self.run.state == "Promoted"
        return self

    def to_aborted(self) -> World:
        self.alias = 2
        self.poll()
        self.moves(decision=INCONCLUSIVE)
        self.moves(decision=FAIL)
        assert self.run is not None and self.run.state == "Aborted"
        return self

    def to_rolled_back(self) -> World:
        self.to_promoted().poll()
        self.says("rollback")
        self.moves(decision=PASS)
        assert self.run is not None and self.run.state == "RolledBack"
        return self

    @staticmethod
    def _spend(writes: Iterator[int]) -> None:
        if next(writes, None) is None:
            raise Killed


def outcome(tag: RunEnd | None) -> tuple[str, str] | None:
    return (tag.outcome, tag.reason) if tag is not None else None


def test_an_alias_that_moves_begins_a_run() -> None:
    world = World(alias=2)
    world.poll()
    assert world.registry.version == 2
    world.moves(decision=INCONCLUSIVE)
    assert world.run is not None
    assert (world.run.stable, world.run.canary, world.run.state) == ("1", "2", "Analyzing")
    assert outcome(world.tags[2]) is None


def test_after_a_promotion_the_version_is_tagged_and_the_alias_stays() -> None:
    world = World().to_promoted()
    world.settle(decision=PASS)
    assert (world.alias, world.serving, outcome(world.tags[2])) == (2, "2", ("Promoted", "MetricsPassed"))
    assert world.put_back == []


def test_after_an_abort_the_alias_is_put_back_and_the_version_has_the_reason() -> None:
    world = World().to_aborted()
    world.settle(decision=PASS)
    assert (world.alias, world.serving, outcome(world.tags[2])) == (1, "1", ("Aborted", "MetricsFailed"))
    assert world.put_back == [(2, 1)]
    assert world.run is not None and world.run.number == 1


def test_after_a_rollback_too() -> None:
    world = World().to_rolled_back()
    assert outcome(world.tags[2]) == ("Promoted", "MetricsPassed")
    world.settle(decision=PASS)
    assert (world.alias, world.serving, outcome(world.tags[2])) == (1, "1", ("RolledBack", "RolledBackByUser"))


def test_a_version_that_failed_is_tried_again_when_the_alias_is_moved_there_again() -> None:
    world = World().to_aborted()
    world.settle()
    world.alias = 2
    world.settle(decision=PASS)
    assert world.run is not None and (world.run.number, world.run.started_by) == (2, "m@champion")
    assert (world.alias, world.serving, outcome(world.tags[2])) == (2, "2", ("Promoted", "MetricsPassed"))
    assert world.put_back == [(2, 1)]


@pytest.mark.parametrize(
    ("path", "killed_after", "limit"), list(product(["to_promoted", "to_aborted", "to_rolled_back"], range(6), [0, 10]))
)
def test_killed_anywhere_after_the_end_of_a_run_the_next_process_comes_to_the_same_end(
    path: str, killed_after: int, limit: int
) -> None:
    world, other = (getattr(World(limit=limit), path)() for _ in range(2))
    other.settle(decision=PASS)
    try:
        world.poll(killed_after)
    except Killed:
        world.moves(decision=PASS)
    world.settle(decision=PASS)
    assert (world.alias, world.tags, world.serving) == (other.alias, other.tags, other.serving)
    assert (world.status, world.put_back) == (other.status, other.put_back)


@pytest.mark.parametrize("killed_after", range(4))
def test_killed_between_the_alias_and_the_run(killed_after: int) -> None:
    """Also where the alias names a version that failed before: its start command is given once."""
    world = World().to_aborted()
    world.settle()
    world.alias = 2
    try:
        world.poll(killed_after)
    except Killed:
        world.moves(decision=INCONCLUSIVE)
    world.settle(decision=PASS)
    assert world.run is not None and (world.run.number, world.run.state) == (2, "Promoted")


@pytest.mark.parametrize("path", ["to_promoted", "to_aborted", "to_rolled_back"])
def test_an_alias_that_a_person_has_moved_meanwhile_is_left(path: str) -> None:
    world = getattr(World(), path)()
    world.alias = 3
    world.settle(decision=PASS)
    assert (world.alias, world.serving, world.put_back) == (3, "3", [])
    assert outcome(world.tags[2]) is not None
    assert outcome(world.tags[3]) == ("Promoted", "MetricsPassed")


@pytest.mark.parametrize(("alias", "reason"), [(1, "SpecReverted"), (3, "Superseded")])
def test_an_alias_that_moves_during_a_run_ends_it(alias: int, reason: str) -> None:
    world = World(alias=2)
    world.poll()
    world.moves(decision=INCONCLUSIVE)
    world.alias = alias
    world.settle(decision=PASS)
    assert (world.alias, world.serving, world.put_back) == (alias, str(alias), [])
    assert outcome(world.tags[2]) == ("Aborted", reason)


def test_an_alias_that_returns_to_the_canary_while_the_run_ends_begins_another() -> None:
    world = World(alias=2)
    world.poll()
    world.moves(decision=INCONCLUSIVE)
    world.alias = 3
    world.poll()
    world.move(decision=INCONCLUSIVE)
    world.alias = 2
    world.settle(decision=PASS)
    assert (world.alias, world.serving, world.put_back) == (2, "2", [])
    assert outcome(world.tags[2]) == ("Promoted", "MetricsPassed")


@pytest.mark.parametrize("path", ["to_promoted", "to_aborted", "to_rolled_back"])
def test_while_the_registry_is_down_nothing_moves_and_the_status_says_so(path: str) -> None:
    world = getattr(World(), path)()
    before, world.up = world.registry, False
    for _ in range(3):
        world.poll()
        world.moves(decision=PASS)
    assert msgspec.structs.replace(world.registry, reason="", message="") == before
    assert (world.registry.reason, world.registry.message) == (DOWN.reason, DOWN.message)
    world.up = True
    world.settle(decision=PASS)
    assert world.registry.reason == ""
    assert world.alias == int(world.serving)


@pytest.mark.parametrize(
    ("path", "deleted", "alias", "reason"),
    [
        ("to_promoted", 2, None, "AliasMissing"),
        ("to_aborted", 2, None, "AliasMissing"),
        # there is nothing to put it back to
        ("to_aborted", 1, 2, ""),
        ("to_promoted", 1, 2, ""),
    ],
)
def test_a_version_that_is_deleted_from_the_registry(path: str, deleted: int, alias: int | None, reason: str) -> None:
    world = getattr(World(), path)()
    serving = world.serving
    world.delete(deleted)
    world.settle(decision=PASS)
    assert (world.alias, world.registry.reason, world.put_back) == (alias, reason, [])
    assert world.serving == serving
    assert world.run is not None and world.run.number == 1
    if deleted != 2:
        assert outcome(world.tags[2]) is not None


@pytest.mark.parametrize("alias", [None, 9])
def test_an_alias_without_a_version_changes_nothing(alias: int | None) -> None:
    world = World(alias=alias)
    world.settle(decision=PASS)
    assert world.registry.reason == ("AliasMissing" if alias is None else "VersionMissing")
    assert (world.registry.version, world.serving, world.run) == (1, "1", None)


@pytest.mark.parametrize("reason", sorted(UNJUDGED))
def test_an_abort_for_which_the_canary_has_no_blame_puts_nothing_back(reason: str) -> None:
    world = World(alias=2).to_aborted()
    assert world.status.run is not None
    run = msgspec.structs.replace(world.status.run, reason=reason)
    world.status = msgspec.structs.replace(world.status, run=run, history=[])
    world.settle(decision=PASS)
    assert world.put_back == []
    assert (world.alias, world.serving) == (2, "2")


def test_revisions_that_are_not_of_the_registry_are_left_out() -> None:
    world = World().to_aborted()
    assert list(open_ends(world.status, lambda name: None)) == []
    (end,) = open_ends(world.status, lambda name: 2 if name == "2" else None)
    assert (end.canary, end.stable) == (2, None)
    step = follow_alias(world.status, AliasReading(version=2, ends={2: None}), lambda name: 2 if name == "2" else None)
    assert step.write is not None and step.write.alias is None


def test_the_end_of_a_run_is_read_as_it_was_written() -> None:
    (end,) = open_ends(World().to_aborted().status, int)
    assert msgspec.json.decode(msgspec.json.encode(end), type=RunEnd) == end
    assert end.is_same(msgspec.structs.replace(end, message="other words"))
    assert not end.is_same(msgspec.structs.replace(end, outcome="RolledBack"))
    assert not end.is_same(None)


class Following(RuleBasedStateMachine):
    """Persons, metrics, outages and ends of the process, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(version=st.integers(1, 4), is_deleted=st.sampled_from([False, False, False, True]))
    def a_person_moves_the_alias(self, version: int, is_deleted: bool) -> None:
        if version in self.world.tags:
            self.world.alias = None if is_deleted else version

    @precondition(lambda self: len(self.world.tags) > 2)
    @rule(version=st.integers(1, 4))
    def a_person_deletes_a_version(self, version: int) -> None:
        self.world.delete(version)

    @rule(up=st.booleans())
    def the_registry_comes_and_goes(self, up: bool) -> None:
        self.world.up = up

    @rule(verb=st.sampled_from(["start", "promote", "pause", "resume", "abort", "rollback"]))
    def a_person_sends_a_command(self, verb: Verb) -> None:
        self.world.says(verb)

    @rule(plan=st.sampled_from("pq"))
    def the_plan_changes(self, plan: str) -> None:
        self.world.plan = plan

    @rule(decision=st.sampled_from([PASS, PASS, FAIL, INCONCLUSIVE]), count=st.integers(1, 6))
    def the_run_moves(self, decision: object, count: int) -> None:
        for _ in range(count):
            self.world.move(decision=decision)

    @rule()
    def time_goes_on(self) -> None:
        self.world.now += 61

    @rule(killed_after=st.integers(0, 5))
    def the_alias_is_followed(self, killed_after: int) -> None:
        before, alias, tags = self.world.registry, self.world.alias, dict(self.world.tags)
        try:
            self.world.poll(killed_after)
        except Killed:
            return
        if not self.world.up:
            after = self.world.registry
            assert (after.version, after.closed_run) == (before.version, before.closed_run)
            assert (self.world.alias, self.world.tags) == (alias, tags)

    @invariant()
    def only_a_canary_that_was_rejected_lost_the_alias(self) -> None:
        assert all(canary != stable for canary, stable in self.world.put_back)

    def teardown(self) -> None:
        """Whatever has happened: with the registry up and no person at work, alias, traffic and tags agree."""
        world = self.world
        world.up, world.command = True, None
        if world.run is not None and world.run.state == "Paused":
            world.says("resume")
        world.settle(decision=PASS)
        assert list(open_ends(world.status, int)) == []
        newest: dict[int, str] = {}
        for past in reversed(world.status.history):
            newest[int(past.canary)] = past.outcome
        for version, name in newest.items():
            if version in world.tags:
                tag = world.tags[version]
                assert tag is not None and tag.outcome == name
        if world.alias is None:
            assert world.registry.reason == "AliasMissing"
            return
        assert (world.registry.reason, world.registry.version) == ("", world.alias)
        run = world.run
        if world.alias != int(world.serving):
            # only where stable is no longer in the registry, so that the alias could not be put back
            assert run is not None and run.canary == str(world.alias) and int(run.stable) not in world.tags


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
