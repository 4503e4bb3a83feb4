"""Elections in virtual time: electors with clocks of their own, an API server behind a slow and lossy network."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tandem_rollout.controller.candidacy import Lease
from tandem_rollout.controller.election import Elector, LeaseError

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time until the next timer has passed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and nobody for the time"
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while everybody waits, and then as fast as can be."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    """True time in seconds."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Weather:
    """What happens to one call.

    Attributes:
        there: Seconds until the API server gets it.
        back: Seconds until the answer is back.
        lost: Whether it never comes back.
        refused: Whether the API server answers with an error.
    """

    there: float = 0.01
    back: float = 0.01
    lost: bool = False
    rejected: bool = False


CLEAR = Weather()
FOREVER_S = 1e6


@dataclass
class Server:
    """The API server: one lease, replaced only where its version is the one that the writer knows.

    Attributes:
        lease: The lease; None before it is there.
        writes: Leases that were written, with the time.
    """

    lease: Lease | None = None
    writes: list[tuple[float, Lease]] = field(default_factory=list)

    def write(self, lease: Lease) -> Lease | None:
        if lease.version != (self.lease.version if self.lease else ""):
            return None
        self.lease = replace(lease, version=f"v{len(self.writes)}")
        self.writes.append((now(), self.lease))
        return self.lease


class Network:
    """The way of one candidate to the API server.

    Args:
        server: The API server.
        weather: What happens to the calls, in order; after that nothing does.

    Attributes:
        is_cut: Whether no call leaves any more.
    """

    def __init__(self, server: Server, weather: Iterator[Weather]) -> None:
        self._server = server
        self._weather = weather
        self._under_way: set[asyncio.Task[Any]] = set()
        self.is_cut = False

    async def read(self) -> Lease | None:
        return await self._call(lambda: self._server.lease)

    async def write(self, lease: Lease) -> Lease | None:
        return await self._call(lambda: self._server.write(lease))

    async def _call(self, work: Callable[[], T]) -> T:
        weather = next(self._weather, CLEAR)
        if self.is_cut:
            await asyncio.sleep(FOREVER_S)
        # a call that its sender has given up goes on: it may already be in the API server's hands
        task = asyncio.create_task(self._carry_out(weather, work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        result = await asyncio.shield(task)
        await asyncio.sleep(FOREVER_S if weather.lost else weather.back)
        if weather.rejected:
            raise LeaseError("internal error")
        return result

    async def _carry_out(self, weather: Weather, work: Callable[[], T]) -> T:
        await asyncio.sleep(weather.there)
        return work() if not weather.rejected else None  # type: ignore[return-value]


@dataclass
class Stage:
    """Where an election takes place.

    Attributes:
        server: The API server.
        replicas: The processes that have ever been.
        acting: Names of those that act at the moment.
        history: True times at which somebody began and stopped to act.
        most_leaders: Most processes that took themselves for the leader at one moment.
        most_acting: Most that acted at one moment.
    """

    server: Server = field(default_factory=Server)
    replicas: list[Replica] = field(default_factory=list)
    acting: set[str] = field(default_factory=set)
    history: list[tuple[float, str, str]] = field(default_factory=list)
    most_leaders: int = 0
    most_acting: int = 0

    def look(self) -> None:
        """Count leaders."""
        self.most_leaders = max(self.most_leaders, sum(replica.elector.leads for replica in self.replicas))
        self.most_acting = max(self.most_acting, len(self.acting))

    async def watch(self) -> None:
        """Count leaders from time to time too."""
        while True:
            self.look()
            await asyncio.sleep(1.0)

    def replica(self, name: str, **more: Any) -> Replica:
        """A process that does not stand for election yet."""
        self.replicas.append(Replica(name, self, **more))
        return self.replicas[-1]


@dataclass
class Replica:
    """A process on a machine whose clock is its own.

    Attributes:
        name: Its name.
        stage: Where it stands for election.
        weather: What happens to its calls.
        rate: Seconds of its clock in a true second.
        offset: What its clock shows at the beginning.
        stalls: By how much longer than they should its sleeps last, in order.
    """

    name: str
    stage: Stage
    weather: Sequence[Weather] = ()
    rate: float = 1.0
    offset: float = 0.0
    stalls: Sequence[float] = ()

    def __post_init__(self) -> None:
        self.network = Network(self.stage.server, iter(self.weather))
        self._stalls = iter(self.stalls)
        self._task: asyncio.Task[None] | None = None
        self.elector = Elector(
            self.network,
            self.name,
            clock=lambda: self.offset + self.rate * now(),
            time_of_day=lambda: self.offset + now(),
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.rate + next(self._stalls, 0.0))

    async def _act(self) -> None:
        self.stage.acting.add(self.name)
        self.stage.history.append((now(), self.name, "begins"))
        self.stage.look()
        try:
            await asyncio.Event().wait()
        finally:
            self.stage.acting.discard(self.name)
            self.stage.history.append((now(), self.name, "stops"))

    def start(self) -> None:
        """Stand for election."""
        self._task = asyncio.create_task(self.elector.run(self._act))

    async def stop(self) -> None:
        """End in order."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def kill(self) -> None:
        """End at once, without another call."""
        self.network.is_cut = True
        self.elector._candidacy.resign(0.0)
        await self.stop()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A stage that is watched, and cleared in the end."""
    scene = Stage()
    watching = asyncio.create_task(scene.watch())
    try:
        yield scene
    finally:
        for replica in scene.replicas:
            await replica.kill()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
