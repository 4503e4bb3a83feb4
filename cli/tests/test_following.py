"""What follows an alias for a local stack, with a registry and a stack that only remember."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tandem import BundleError
from tandem_cli.local import LocalVariant
from tandem_cli.local import following as module
from tandem_cli.local.following import AliasFollower, tag_key, version_number
from tandem_cli.local.progress import alias_heading
from tandem_cli.local.status import interrupt, serving_variant
from tandem_offline.registry import AliasState, Reference, RegistryError
from tandem_rollout.api.status import PastRun, RegistryStatus, RolloutStatus, RunStatus, VariantStatus
from tandem_rollout.engine.serialization import from_status

STARTED = "2026-05-01T12:00:00Z"


def digest(number: int) -> str:
    return f"{number}" * 64


def a_run(state: str, reason: str = "MetricsFailed", number: int = 1) -> RunStatus:
    return RunStatus(
        number=number, state=state, stable="1", canary="2", plan="p", started=STARTED, since=STARTED, reason=reason
    )


def ended(state: str, reason: str = "MetricsFailed") -> RolloutStatus:
    past = PastRun(number=1, outcome=state, stable="1", canary="2", started=STARTED, ended=STARTED, reason=reason)
    return RolloutStatus(run=a_run(state, reason), history=[past])


@dataclass
class World:
    """A registry, a stack and its rollout, as the follower uses them."""

    alias: int | None = 1
    tags: dict[int, str | None] = field(default_factory=lambda: dict.fromkeys((1, 2, 3)))
    down: bool = False
    damaged: set[int] = field(default_factory=set)
    foreign: set[int] = field(default_factory=set)
    downloads: list[int] = field(default_factory=list)
    verdicts: list[tuple[int, str]] = field(default_factory=list)
    variants: list[LocalVariant] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=lambda: {"1": 100})
    dead: set[str] = field(default_factory=set)
    status: RolloutStatus = field(default_factory=RolloutStatus)

    def __post_init__(self) -> None:
        registry = RegistryStatus(model="small", alias="champion", version=1, digest=digest(1))
        self.status = msgspec.structs.replace(self.status, registry=registry)
        self.variants = [self.variant(int(name)) for name in self.weights]

    @staticmethod
    def variant(number: int) -> LocalVariant:
        bundle: Any = SimpleNamespace(digest=digest(number))
        return LocalVariant(str(number), bundle, 0)

    # the registry

    def read(self, versions: set[int]) -> AliasState:
        self._answer()
        numbers = {*versions, *([self.alias] if self.alias else [])}
        return AliasState(version=self.alias, tags={name: self.tags[name] for name in numbers if name in self.tags})

    def put_back(self, version: int, *, expected: int, reason: str) -> bool:
        self._answer()
        assert self.alias == expected
        self.alias = version
        return True

    def tag(self, version: int, verdict: str, text: str) -> None:
        self._answer()
        self.verdicts.append((version, verdict))
        self.tags[version] = text

    def resolve(self, reference: Reference) -> Any:
        self._answer()
        number = reference.number or 0
        return SimpleNamespace(
            number=number, digest="" if number in self.foreign else digest(number), reference=str(reference)
        )

    def download(self, version: Any, directory: Path) -> Any:
        self._answer()
        self.downloads.append(version.number)
        if version.number in self.damaged:
            raise BundleError("model.onnx is damaged")
        return self.variant(version.number).bundle

    def _answer(self) -> None:
        if self.down:
            raise RegistryError("registry x: connection refused")

    # the stack and its rollout

    @property
    def pairs(self) -> dict[str, Any]:
        return {variant.name: SimpleNamespace(runs=variant.name not in self.dead) for variant in self.variants}

    def add(self, variant: LocalVariant) -> None:
        assert variant.name not in self.weights
        self.variants.append(variant)
        self.weights[variant.name] = 0
        self.dead.discard(variant.name)

    def remove(self, name: str) -> None:
        assert self.weights.pop(name) == 0
        self.variants = [variant for variant in self.variants if variant.name != name]

    def record(self, registry: RegistryStatus) -> None:
        self.status = msgspec.structs.replace(self.status, registry=registry)

    # the follower

    @property
    def registry(self) -> RegistryStatus:
        assert self.status.registry is not None
        return self.status.registry

    def poll(self) -> RegistryStatus:
        world: Any = self
        AliasFollower(world, world, world, world, directory=Path()).poll()
        return self.registry


@pytest.fixture
def world() -> World:
    return World()


def test_an_alias_that_stays_changes_nothing(world: World) -> None:
    before = world.registry
    assert world.poll() == before
    assert (world.downloads, world.verdicts) == ([], [])


def test_an_alias_that_moves_starts_the_pair_of_that_version_before_it_is_specified(world: World) -> None:
    world.alias = 2
    registry = world.poll()
    assert (registry.version, registry.digest, registry.reason) == (2, digest(2), "")
    assert world.weights == {"1": 100, "2": 0}


@pytest.mark.parametrize(
    ("state", "alias", "weights"), [("Promoted", 2, {"2": 100}), ("Aborted", 1, {"1": 100, "2": 0})]
)
def test_the_end_of_a_run_is_recorded(state: str, alias: int, weights: dict[str, int]) -> None:
    world = World(alias=2, status=ended(state), weights=weights)
    world.record(msgspec.structs.replace(world.registry, version=2, digest=digest(2)))
    registry = world.poll()
    assert (world.alias, world.verdicts) == (alias, [(2, state)])
    assert (registry.version, registry.digest) == (alias, digest(alias))
    assert (registry.closed_run, registry.closed_outcome) == (1, state)


def test_versions_that_are_not_needed_end_when_the_next_one_begins() -> None:
    world = World(alias=3, status=ended("Promoted"), weights={"1": 0, "2": 100})
    world.record(msgspec.structs.replace(world.registry, version=2))
    world.poll()
    assert world.weights == {"2": 100, "3": 0}


def test_the_versions_of_a_run_stay() -> None:
    world = World(alias=3, status=RolloutStatus(run=a_run("Analyzing")), weights={"1": 90, "2": 10})
    world.record(msgspec.structs.replace(world.registry, version=2))
    world.poll()
    assert world.weights == {"1": 90, "2": 10, "3": 0}


def test_a_version_that_is_tried_again_gets_new_processes() -> None:
    world = World(alias=2, status=ended("Aborted"), weights={"1": 100, "2": 0}, dead={"2"})
    world.record(msgspec.structs.replace(world.registry, closed_run=1, closed_outcome="Aborted"))
    registry = world.poll()
    assert (registry.version, registry.command) == (2, "version-2-after-run-1")
    assert world.dead == set()


def test_a_registry_that_is_down_is_said_and_nothing_changes(world: World) -> None:
    world.alias, world.down = 2, True
    registry = world.poll()
    assert (registry.version, registry.reason) == (1, "RegistryUnreachable")
    assert "connection refused" in registry.message
    assert alias_heading(world.status).startswith("models:/small@champion is version 1; RegistryUnreachable: ")
    world.down = False
    assert (world.poll().version, world.registry.reason) == (2, "")
    assert alias_heading(world.status) == "models:/small@champion is version 2"


def test_a_version_that_cannot_be_served_is_said_and_tried_again_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    world.alias, world.damaged = 2, {2}
    as_any: Any = world
    follower = AliasFollower(as_any, as_any, as_any, as_any, directory=Path())
    for _ in range(3):
        follower.poll()
        assert (world.registry.version, world.registry.reason) == (1, "VersionUnusable")
        assert world.registry.message == "version 2 cannot be served: model.onnx is damaged"
    assert world.downloads == [2]
    world.damaged, now = set(), 61.0
    follower.poll()
    assert (world.registry.version, world.registry.reason, world.downloads) == (2, "", [2, 2])


def test_a_version_that_is_no_bundle_is_said(world: World) -> None:
    world.alias, world.foreign = 2, {2}
    assert "models:/small/2 is no bundle" in world.poll().message
    world.alias = 1
    assert (world.poll().version, world.registry.reason) == (1, "")


def test_a_tag_of_another_program_counts_as_none() -> None:
    world = World(alias=2, status=ended("Aborted"), tags={1: None, 2: "nonsense"}, weights={"1": 100, "2": 0})
    world.record(msgspec.structs.replace(world.registry, version=2))
    world.poll()
    assert (world.alias, world.verdicts) == (1, [(2, "Aborted")])


def test_keys_of_tags_have_characters_that_mlflow_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.socket, "gethostname", lambda: "ann's laptop.local")
    assert tag_key("small") == "tandem.rollout.ann-s-laptop.local.small"


def test_variants_that_are_not_of_the_registry_have_no_number() -> None:
    assert [version_number(name) for name in ("3", "v3", "")] == [3, None, None]


@pytest.mark.parametrize(
    ("status", "serving"),
    [
        (RolloutStatus(), ""),
        (RolloutStatus(variants=[VariantStatus(name="1", inference_service="1", phase="Ready", weight=1)]), "1"),
        (RolloutStatus(run=a_run("Analyzing")), "1"),
        (ended("Aborted"), "1"),
        (ended("Promoted"), "2"),
    ],
)
def test_what_serves(status: RolloutStatus, serving: str) -> None:
    assert serving_variant(status) == serving


@pytest.mark.parametrize(
    ("state", "end", "reason"),
    [
        ("Analyzing", "Aborted", "StackStopped"),
        ("Baking", "Aborted", "StackStopped"),
        # decided, though not carried out
        ("Aborting", "Aborted", "MetricsFailed"),
        ("RollingBack", "RolledBack", "MetricsFailed"),
    ],
)
def test_a_run_that_was_interrupted_has_ended(state: str, end: str, reason: str) -> None:
    status = interrupt(RolloutStatus(run=a_run(state)), 1_800_000_000.0)
    run = from_status(status.run)
    assert run is not None and (run.state, run.reason, run.weight) == (end, reason, 0)
    assert [(past.outcome, past.reason) for past in status.history] == [(end, reason)]


@pytest.mark.parametrize("status", [RolloutStatus(), ended("Promoted")])
def test_without_a_run_there_is_nothing_to_interrupt(status: RolloutStatus) -> None:
    assert interrupt(status, 0.0) is status
