"""A rollout with a run and its evidence, made by the real arithmetic; and a target that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tandem_cli.rollout.context import CommandContext
from tandem_cli.rollout.targets.selection import Targets, TargetSelection
from tandem_cli.rollout.targets.target import Manifest, NoRolloutError
from tandem_cli.rollout.training_predictions import TrainingPredictions
from tandem_rollout.analysis.counts import Counters
from tandem_rollout.analysis.gather import gather
from tandem_rollout.analysis.latency import Limit
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Reading
from tandem_rollout.analysis.record import MetricEvidence, Note, Record, add_note
from tandem_rollout.analysis.window import CountWindow, extend_window
from tandem_rollout.api.manifest import parse
from tandem_rollout.engine.run import Command
from tandem_rollout.engine.schedule import plan_hash

NOW = 1_800_000_000.0
STABLE, CANARY = "est-main-1111", "est-main-2222"

ANALYSIS: dict[str, Any] = {
    "metrics": [
        {"type": "errors"},
        {"type": "latency"},
        {"type": "drift"},
        {"type": "degraded", "gate": False},
    ]
}


def spec(**more: Any) -> dict[str, Any]:
    """A canary of two steps."""
    return {
        "bundle": {"image": "registry.example.com/est:v2"},
        "strategy": {"canary": {"steps": [{"weight": 10, "minDuration": "1m"}, {"weight": 50, "minDuration": "5m"}]}},
        "analysis": ANALYSIS,
        **more,
    }


def manifest(*, run: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **more: Any) -> Manifest:
    """A rollout in the middle of its first run."""
    variants = [
        {
            "name": "main",
            "inferenceService": CANARY,
            "phase": "Ready",
            "reason": "Verified",
            "version": "v2",
            "weight": 10,
        },
        {
            "name": "main",
            "inferenceService": STABLE,
            "phase": "Ready",
            "reason": "Verified",
            "version": "v1",
            "weight": 90,
        },
    ]
    resource: Manifest = {
        "apiVersion": "tandem-serving.io/v1alpha1",
        "kind": "InferenceRollout",
        "metadata": {"name": "est", "namespace": "models", "generation": 3},
        "spec": spec(),
        "status": {"observedGeneration": 3, "weights": "90/10", "variants": variants, **(status or {})},
    } | more
    if run is not None:
        resource["status"]["run"] = running(resource, **run)
    return resource


def running(resource: Manifest, **more: Any) -> dict[str, Any]:
    return {
        "number": 1,
        "state": "Analyzing",
        "stable": STABLE,
        "canary": CANARY,
        "plan": plan_hash(parse(resource).spec, CANARY),
        "started": "2027-01-15T07:50:00Z",
        "since": "2027-01-15T07:58:00Z",
        "step": 0,
        "steps": 2,
        "weight": 10,
        "measured": 9.8,
        "deadline": "2027-01-15T08:51:00Z",
        "minPods": [2, 2],
        "reason": "StepStarted",
        "message": "",
        "by": "",
        "verdict": "inconclusive",
        **more,
    }


# evidence

Share = Callable[[int], float]


def record(
    resource: Manifest,
    *,
    ticks: int = 40,
    bad: float = 1.0,
    weight: int = 10,
    requests: int = 2000,
    number: int = 1,
    every: float = 10.0,
) -> Record:
    """Evidence of so many ticks.

    Args:
        resource: The rollout.
        ticks: Ticks that are counted.
        bad: How many times stable's rate of errors the canary's is.
        weight: The canary's percentage.
        requests: Of both arms in a tick.
        number: Number of the run.
        every: Seconds between ticks.
    """
    rollout = parse(resource)
    assert rollout.spec.analysis is not None
    metrics = rollout.spec.analysis.all_metrics
    limited = {
        metric.full_name: MetricEvidence(limit=Limit(0.25, 0.315, 0.05, 1e5) if metric.type == "latency" else None)
        for metric in metrics
    }
    evidence = Record(run=number, plan=plan_hash(rollout.spec, CANARY), prepared=True, metrics=limited)
    began = NOW - every * ticks
    evidence = add_note(evidence, Note(began, "Preparing", 0))
    evidence = add_note(evidence, Note(began, "Analyzing", weight))
    canary, stable = requests * weight // 100, requests * (100 - weight) // 100
    windows: dict[str, CountWindow] = {}
    for tick in range(ticks + 1):
        now = began + tick * every
        readings = _readings(metrics, tick, canary, stable, bad)
        windows = {
            name: extend_window(windows.get(name, CountWindow()), reading, now) for name, reading in readings.items()
        }
        if tick:
            evidence, windows = gather(metrics, evidence, windows, now=now, weight=weight)
    return evidence


def _readings(metrics: Iterable[Any], tick: int, canary: int, stable: int, bad: float) -> dict[str, Reading]:
    def counted(total: int, rate: float) -> dict[str, Counters]:
        requests = total * tick
        return {"pod": Counters({"": float(requests)}, {"": float(int(requests * rate))})}

    def binned(total: int) -> dict[str, dict[str, dict[float, float]]]:
        requests = float(total * tick)
        fast, soon = requests * 0.5, requests * 0.95
        return {"pod": {"": {0.1: fast, 0.25: soon, 0.315: soon, float("inf"): requests}}}

    readings: dict[str, Reading] = {}
    for metric in metrics:
        if metric.type in ("latency", "drift"):
            readings[metric.full_name] = HistogramReading(binned(stable), binned(canary))
        else:
            readings[metric.full_name] = CounterReading(counted(stable, 0.005), counted(canary, 0.005 * bad))
    return readings


# targets


@dataclass
class FakeTarget:
    """A target in memory. What it is asked is answered by ``hears``."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    records: dict[tuple[str, int], Record] = field(default_factory=dict)
    hears: Callable[[Manifest, Command], None] = lambda resource, command: None
    asked: list[Command] = field(default_factory=list)
    bundles: list[str] = field(default_factory=list)
    trained: dict[str, TrainingPredictions] = field(default_factory=dict)
    images: bool = True
    by: str = "ann"
    up: bool = True
    wanted: str = CANARY
    revisions: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return "a fake"

    @property
    def options(self) -> str:
        return "-n models"

    @property
    def takes_images(self) -> bool:
        return self.images

    def names(self) -> list[str]:
        return sorted(self.manifests)

    def alive(self, name: str) -> bool:
        return self.up

    def revision(self, manifest: Manifest, bundle: str = "") -> str:
        return self.revisions.get(bundle, bundle) if bundle else self.wanted

    def get(self, name: str) -> Manifest:
        if name not in self.manifests:
            raise NoRolloutError(f"there is no {name}", advice="look elsewhere")
        return msgspec.json.decode(msgspec.json.encode(self.manifests[name]))

    def record(self, name: str, run: int) -> Record | None:
        return self.records.get((name, run))

    def predictions(self, name: str) -> dict[str, TrainingPredictions]:
        return self.trained

    def user(self) -> str:
        return self.by

    def send(self, name: str, command: Command) -> None:
        self.asked.append(command)
        self.hears(self.manifests[name], command)

    def set_bundle(self, name: str, bundle: str, command: Command) -> None:
        self.bundles.append(bundle)
        self.send(name, command)


class Only(Targets):
    """There is one target, whatever the command line says."""

    def __init__(self, target: FakeTarget) -> None:
        super().__init__()
        self._target = target

    def choose(self, where: TargetSelection, name: str = "") -> FakeTarget:
        return self._target


class Clock:
    """A clock that only sleeping moves; what is due at a time happens then."""

    def __init__(self) -> None:
        self.now = NOW
        self.due: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, action))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for event in [entry for entry in self.due if entry[0] <= self.now]:
            self.due.remove(event)
            event[1]()

    def setting(self, target: FakeTarget) -> CommandContext:
        return CommandContext(
            targets=Only(target), now=lambda: self.now, sleep=self.sleep, create_id=lambda: f"id-{len(target.asked)}"
        )
