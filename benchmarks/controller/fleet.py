"""The rollouts: most of them idle, some that get one version after another, and what is seen of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.controller.api import NAMESPACES, ROLLOUTS, Api, Plain

NAMESPACES_USED: Final = 20
STEPS: Final = (
    {"weight": 5, "minDuration": "20s"},
    {"weight": 20, "minDuration": "20s"},
    {"weight": 50, "minDuration": "20s"},
)
_ENDED: Final = frozenset({"Promoted", "Aborted"})

Key = tuple[str, str]


@dataclass
class Followed:
    """What is known of a rollout.

    Attributes:
        ready: Whether all its variants serve, by the last word about its present spec.
        run: State, step and weight of its run, and its number; empty before the first.
        asked: When its spec was edited, on the monotonic clock; None once its status is about that.
        generation: Generation that the status is to be about.
        version: Version that its spec asks for.
    """

    ready: bool = False
    run: tuple[Any, ...] = ()
    asked: float | None = None
    generation: int = 1
    version: int = 1

    @property
    def resting(self) -> bool:
        """Whether it is time for another version."""
        return self.ready and self.asked is None and (not self.run or self.run[0] in _ENDED)


@dataclass
class Tally:
    """What has happened in some time.

    Attributes:
        transitions: Changes of state, step or weight of runs.
        ended: Runs that have ended, by how.
        lags: Seconds from edits of specs to statuses about them.
        edits: Edits of specs.
    """

    transitions: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)
    edits: int = 0


class Fleet:
    """All rollouts.

    Args:
        api: The API server.
        idle: How many have nothing to do.
        moving: How many get new versions.
    """

    def __init__(self, api: Api, idle: int, moving: int) -> None:
        self._api = api
        self._idle = {_place("idle", at): _manifest("idle", at) for at in range(idle)}
        self._moving = {_place("moving", at): _manifest("moving", at) for at in range(moving)}
        self.followed = {key: Followed() for key in (*self._idle, *self._moving)}
        self._news = asyncio.Event()
        self.tally = Tally()

    async def create(self) -> None:
        """Make them, and their namespaces."""
        for name in sorted({namespace for namespace, _ in self.followed}):
            await self._api.create(NAMESPACES, {"metadata": {"name": name}})
        manifests = {**self._idle, **self._moving}
        await asyncio.gather(
            *(self._api.create(ROLLOUTS, manifest, namespace) for (namespace, _), manifest in manifests.items())
        )

    async def follow(self) -> None:
        """Watch them, until it is cancelled."""
        async for _, manifest in self._api.watch(ROLLOUTS):
            self._see(manifest)
            self._news.set()

    def _see(self, manifest: Plain) -> None:
        metadata, status = manifest["metadata"], manifest.get("status") or {}
        rollout = self.followed[metadata["namespace"], metadata["name"]]
        observed = status.get("observedGeneration", 0)
        conditions = {entry["type"]: entry["status"] for entry in status.get("conditions") or ()}
        rollout.ready = observed == metadata["generation"] and conditions.get("Ready") == "True"
        if rollout.asked is not None and observed >= rollout.generation:
            self.tally.lags.append(time.monotonic() - rollout.asked)
            rollout.asked = None
        run = status.get("run")
        if run is None:
            return
        progress = (run["state"], run["number"], run.get("step", 0), run.get("weight", 0))
        if progress != rollout.run:
            rollout.run = progress
            self.tally.transitions += 1
            if run["state"] in _ENDED:
                self.tally.ended[run["state"]] = self.tally.ended.get(run["state"], 0) + 1

    async def all_ready(self) -> None:
        """Wait until every rollout serves."""
        while not all(rollout.ready for rollout in self.followed.values()):
            self._news.clear()
            await self._news.wait()

    @property
    def ready(self) -> int:
        """How many serve."""
        return sum(rollout.ready for rollout in self.followed.values())

    async def move(self, spread: float) -> None:
        """Give each of the moving ones a new version, and another whenever it is done with one, until it is cancelled.

        Args:
            spread: Seconds over which the first ones are spread.
        """
        pause = spread / max(len(self._moving), 1)
        async with asyncio.TaskGroup() as tasks:
            for at, key in enumerate(self._moving):
                tasks.create_task(self._move(key, pause * at))

    async def _move(self, key: Key, after: float) -> None:
        await asyncio.sleep(after)
        rollout = self.followed[key]
        while True:
            if rollout.resting:
                rollout.version += 1
                started = time.monotonic()
                edited = await self._api.patch(ROLLOUTS, *key, {"spec": {"bundle": _bundle(key[1], rollout.version)}})
                rollout.generation, rollout.asked = edited["metadata"]["generation"], started
                self.tally.edits += 1
                # the answer may come after the status about it
                if (edited.get("status") or {}).get("observedGeneration", 0) >= rollout.generation:
                    rollout.asked = None
            await asyncio.sleep(1.0)


def _place(kind: str, at: int) -> Key:
    return f"models-{at % NAMESPACES_USED:02d}", f"{kind}-{at:04d}"


def _bundle(name: str, version: int) -> Plain:
    return {"image": f"registry.example.com/models/{name}:v{version}"}


def _manifest(kind: str, at: int) -> Plain:
    """A rollout; every other idle one is a canary that has arrived, the others have no strategy."""
    namespace, name = _place(kind, at)
    spec: Plain = {"bundle": _bundle(name, 1), "store": {"url": "redis://valkey.stores:6379/0"}}
    if kind == "moving" or at % 2:
        spec["strategy"] = {"canary": {"steps": list(STEPS), "bake": "20s"}}
    if kind == "moving":
        spec["analysis"] = {"interval": "10s", "warmup": "5s", "dispersion": 1}
        spec["scaleDownDelay"] = "20s"
    return {
        "apiVersion": "tandem-serving.io/v1alpha1",
        "kind": "InferenceRollout",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
