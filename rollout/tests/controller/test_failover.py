"""Two controllers in one world, of which one leads: how long nobody acts, and that it makes no difference.

Time is the world's: it passes second by second, and all elections that are due take place before the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tandem_rollout.controller.candidacy import Lease, Timing
from tandem_rollout.controller.election import Elector, LeaseError
from tandem_rollout.controller.interface import WriteError
from tandem_rollout.controller.leases import LiveLeases

from .test_crashes import BUSY, STORIES, bundle, put, steps, weights
from .world import NONE, Controller, World, controller, world

FAILOVER_S = 20.0
"""Within so many seconds after a crash another controller acts."""

AWAY_S = 30.0
"""Within so many seconds after a crash no variant without pods has weight any more."""

START_S = 5.0
"""How long the kubelet takes to start a container again."""


@dataclass
class Ticks:
    """Sleeps of the electors in the world's time."""

    world: World
    sleeping: list[tuple[float, asyncio.Event]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def sleep(self, seconds: float) -> None:
        entry = (self.world.now + seconds, asyncio.Event())
        self.sleeping.append(entry)
        self.news.set()
        try:
            await entry[1].wait()
        finally:
            if entry in self.sleeping:
                self.sleeping.remove(entry)

    def wake(self) -> None:
        for entry in [entry for entry in self.sleeping if entry[0] <= self.world.now]:
            self.sleeping.remove(entry)
            entry[1].set()


class Wire:
    """The way to the Lease, which may be cut."""

    def __init__(self, leases: LiveLeases) -> None:
        self._leases = leases
        self.is_cut = False

    async def read(self) -> Lease | None:
        self._check()
        return await self._leases.read()

    async def write(self, lease: Lease) -> Lease | None:
        self._check()
        return await self._leases.write(lease)

    def _check(self) -> None:
        if self.is_cut:
            raise LeaseError("no route to the API server")


class Replica:
    """A controller that stands for election.

    Attributes:
        controller: What acts while it leads.
        acts: Whether it does.
    """

    def __init__(self, world: World, wire: Wire, name: str) -> None:
        self.wire = wire
        self.samples = Ticks(world)
        self.acts = False
        self.is_running = True
        self.elector = Elector(
            wire, name, clock=lambda: world.now, time_of_day=lambda: world.now, sleep=self.samples.sleep
        )
        self.controller: Controller

    async def term(self) -> None:
        self.controller.start_again()
        self.controller.due.clear()
        self.acts = True
        self.samples.news.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.acts = False

    async def rest(self) -> None:
        """Wait until all that is due now is done: the leader waits for its renewal and its end, others for a look."""
        async with asyncio.timeout(60):
            while len(self.samples.sleeping) != (2 if self.acts else 1):
                self.samples.news.clear()
                await self.samples.news.wait()

    async def end(self, *, killed: bool = False) -> None:
        """End in order, or without another call."""
        self.wire.is_cut = self.wire.is_cut or killed
        self.is_running = False
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def start(self) -> None:
        self.task = asyncio.create_task(self.elector.run(self.term))


@dataclass
class Pair:
    """A world with controllers that stand for election."""

    world: World
    stack: contextlib.AsyncExitStack
    replicas: list[Replica] = field(default_factory=list)
    seen: int = 0

    async def start(self, name: str) -> Replica:
        """Start another controller."""
        client = await self.stack.enter_async_context(self.world.server.client())
        replica = Replica(self.world, Wire(LiveLeases(client, "tandem-system", "tandem-controller")), name)
        leads = controller(self.world, leads=lambda: replica.elector.leads)
        replica.controller = await self.stack.enter_async_context(leads)
        self.replicas.append(replica)
        replica.start()
        await replica.rest()
        return replica

    @property
    def leader(self) -> Replica | None:
        """Who acts; at most one does."""
        acting = [replica for replica in self.replicas if replica.acts]
        assert len(acting) <= 1
        return acting[0] if acting else None

    async def act(self) -> None:
        """Let the leader do what is due now, or what something that has changed makes it do."""
        self.world.turn()
        if self.leader is None:
            return
        due = min(self.leader.controller.due.values(), default=self.world.now)
        if due <= self.world.now or self.changes() != self.seen:
            await self.leader.controller.run()
            self.seen = self.changes()

    def changes(self) -> int:
        """How many changes of objects there were that a controller looks at."""
        return sum(plural not in ("leases", "events") for _, (plural, _, _), _ in self.world.server.history)

    async def until(self, holds: Callable[[], bool], seconds: float = 1000.0) -> float:
        """Let time pass until something holds; returns how long that took."""
        began = self.world.now
        await self.act()
        while not holds():
            assert self.world.now < began + seconds
            self.world.now += 1.0
            for replica in self.replicas:
                replica.samples.wake()
            for replica in self.replicas:
                if replica.is_running:
                    await replica.rest()
            await self.act()
        return self.world.now - began


@asynccontextmanager
async def pair(*names: str) -> AsyncIterator[Pair]:
    """A world with so many controllers."""
    async with world() as here, contextlib.AsyncExitStack() as stack:
        here.rate = BUSY
        both = Pair(here, stack)
        try:
            for name in names:
                await both.start(name)
            yield both
        finally:
            for replica in both.replicas:
                await replica.end(killed=True)


@pytest.mark.parametrize("how", ["killed", "stopped", "cut off"])
async def test_a_leader_that_is_gone_in_mid_promotion_makes_no_difference(how: str) -> None:
    _, expected_steps, end = STORIES["promotion"]
    async with pair("a", "b") as both:
        here, a = both.world, both.replicas[0]
        put(here, **bundle("v1"))
        await both.until(lambda: here.status().ready == "1/1")
        put(here, **bundle("v2"))
        await both.until(lambda: here.weights() == {"athlete:v1": 90, "athlete:v2": 10})
        assert both.leader is a
        if how == "cut off":
            a.wire.is_cut = True
        else:
            await a.end(killed=how == "killed")
        took = await both.until(lambda: both.leader is both.replicas[1])
        assert took <= (1.0 if how == "stopped" else FAILOVER_S)
        await both.until(lambda: here.weights() == end)
        assert steps(here) == expected_steps[: len(steps(here))]
        await both.until(lambda: steps(here) == expected_steps)
        assert {"athlete:v1": 50, "athlete:v2": 50} in [
            {here.image(name): weight for name, weight in route.items()} for route in weights(here)
        ]


async def test_who_is_cut_off_from_the_lease_stops_first_and_writes_nothing_more() -> None:
    async with pair("a", "b") as both:
        here, a = both.world, both.replicas[0]
        put(here, bundle={"image": "athlete:v1"}, analysis=None)
        await both.until(lambda: here.status().ready == "1/1")
        a.wire.is_cut = True
        await both.until(lambda: both.leader is None)
        put(here, bundle={"image": "athlete:v2"}, analysis=None)
        version = here.server.version
        # a pass that a process makes because it was suspended, and has not noticed
        await a.controller.one_pass("models", "time-estimator")
        assert a.controller.failed == ["this controller is no longer the leader"]
        assert here.server.version == version
        with pytest.raises(WriteError, match="no longer the leader"):
            await a.controller.cluster.tell(here.server.all("inferencerollouts")[0], "x", "x", warning=False)
        await both.until(lambda: here.weights() == {"athlete:v2": 100})
        assert both.leader is both.replicas[1]


@pytest.mark.parametrize("replicas", [1, 2])
async def test_weights_leave_a_variant_without_pods_soon_after_a_crash(replicas: int) -> None:
    variants = [
        {"name": name, "bundle": {"image": f"athlete:{name}"}, "weight": weight}
        for name, weight in (("v1", 90), ("v2", 10))
    ]
    async with pair(*"ab"[:replicas]) as both:
        here, a = both.world, both.replicas[0]
        put(here, variants=variants, analysis=None)
        await both.until(lambda: here.weights() == {"athlete:v1": 90, "athlete:v2": 10})
        # just after a renewal: what is left of the lease is as long as it can be
        await both.until(lambda: here.now == a.elector._candidacy.until - Timing().deadline)
        assert both.leader is a
        crashed = here.now
        await a.end(killed=True)
        here.pods["athlete:v2"] = NONE
        if replicas == 1:
            await both.until(lambda: here.now >= crashed + START_S)
            await both.start("a again")
        await both.until(lambda: here.weights() == {"athlete:v1": 90})
        assert here.now - crashed <= AWAY_S
