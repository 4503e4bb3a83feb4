"""The local stack: started as a whole, watched as a whole, stopped as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tandem import Bundle
from tandem_cli.local import pair as pairs
from tandem_cli.local import processes, valkey
from tandem_cli.local.directory import Directory
from tandem_cli.local.envoy import Envoy, Upstream, check_weights
from tandem_cli.local.pair import Pair
from tandem_cli.local.processes import LOOPBACK, Child, ChildDied, StackError
from tandem_cli.local.scrape import split

START_SECONDS = 90.0
TRIES = 3
"""How often the stack is started anew when another process takes one of its ports."""


@dataclass(frozen=True)
class Variant:
    """One version with a share of the traffic.

    Attributes:
        name: Name of the variant, as in the header ``x-model-variant``.
        bundle: The version that it serves.
        weight: Its part of the traffic, relative to the sum of all weights.
    """

    name: str
    bundle: Bundle
    weight: int


@dataclass
class _Running:
    """What runs, and where its files are."""

    directory: Directory
    valkey: Child
    store_url: str
    pairs: dict[str, Pair] = field(default_factory=dict)
    envoy: Envoy | None = None

    @property
    def children(self) -> list[Child]:
        own = [self.envoy.child] if self.envoy else []
        return [*own, *(child for pair in self.pairs.values() for child in pair.children), self.valkey]


class LocalStack:
    """Valkey, one pair per variant, and Envoy, all on the loopback interface; a context manager.

    Start it from the main thread: its processes end with the thread that started them, however that ends.

    Args:
        variants: Versions of one model; their weights are the first split.
        protocol: How transformer and predictor talk: ``v2`` or ``grpc-v2``.
        processes: Number of transformers per variant.
        port: Port to listen on; 0 for any free one.
        fill: Called with the store's URL while the pairs start, to write the features.

    Raises:
        StackError: if the variants are no versions of one model, or their weights make no sense.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        *,
        protocol: str = "v2",
        processes: int = 1,
        port: int = 0,
        fill: Callable[[str], None] | None = None,
    ) -> None:
        names = [variant.name for variant in variants]
        if len(set(names)) != len(names) or len({variant.bundle.name for variant in variants}) != 1:
            raise StackError("a stack needs one or more variants of one model, each with a name of its own")
        check_weights({variant.name: variant.weight for variant in variants}, names)
        self.variants = tuple(variants)
        self._weights = {variant.name: variant.weight for variant in variants}
        self._protocol, self._processes, self._port = protocol, processes, port
        self._fill = fill
        self._running: _Running | None = None
        self._spare: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.variants[0].bundle.name

    @property
    def url(self) -> str:
        """Where clients send requests: HTTP/1.1, HTTP/2 and gRPC alike."""
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        """Host and port of :attr:`url`."""
        return f"{LOOPBACK}:{self._envoy.port()}"

    @property
    def admin_socket(self) -> Path:
        """Unix socket of Envoy's admin interface, this user's only."""
        return self._envoy.admin_socket

    @property
    def store_url(self) -> str:
        """The online store."""
        return self._up.store_url

    @property
    def pairs(self) -> dict[str, Pair]:
        """The processes of each variant."""
        return dict(self._up.pairs)

    @property
    def metrics_urls(self) -> dict[str, tuple[str, ...]]:
        """Where the metrics of each variant's transformers are scraped, by variant."""
        return {
            name: tuple(f"http://{LOOPBACK}:{port}/metrics" for port in pair.http_ports)
            for name, pair in self._up.pairs.items()
        }

    @property
    def weights(self) -> dict[str, int]:
        """The present weights, by variant."""
        return dict(self._weights)

    @property
    def children(self) -> list[Child]:
        """All processes; empty where the stack does not run."""
        return self._running.children if self._running else []

    def start(self) -> None:
        """Start everything and wait until all of it is ready.

        Raises:
            ChildDied: if a process ends instead.
            StackError: if the stack does not get ready in time.
            TandemError: of ``fill``.
        """
        for tries_left in reversed(range(TRIES)):
            try:
                self._start()
                return
            except BaseException as error:
                self.stop()
                if not (isinstance(error, ChildDied) and error.port_was_taken and tries_left and not self._port):
                    raise

    def stop(self) -> None:
        """Stop everything, the front first, and remove its files; nothing happens where nothing runs."""
        running, self._running = self._running, None
        if running is None:
            return
        if running.envoy is not None:
            processes.stop([running.envoy.child])
        processes.stop([child for pair in running.pairs.values() for child in pair.transformers])
        processes.stop([pair.predictor for pair in running.pairs.values()])
        processes.stop([running.valkey])
        running.directory.remove()

    def spare(self, variants: Iterable[str]) -> None:
        """Say without which variants the stack goes on: those that a rollout can take the traffic from.

        Args:
            variants: Their names; the others are needed.
        """
        self._spare = frozenset(variants)

    def check(self) -> dict[str, ChildDied]:
        """Make sure that every process runs that is needed.

        Returns:
            By variant, what has ended of those that are spared.

        Raises:
            ChildDied: naming a needed one that does not, with the end of its log.
        """
        if self._running is None:
            return {}
        died: dict[str, ChildDied] = {}
        pairs = self._running.pairs
        spared = {child.name: name for name in self._spare & pairs.keys() for child in pairs[name].children}
        for child in self.children:
            try:
                child.check()
            except ChildDied as error:
                if child.name not in spared:
                    raise
                died.setdefault(spared[child.name], error)
        return died

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """Change the shares of the traffic; they are in force when this returns.

        Args:
            weights: By variant; variants left out get none.

        Raises:
            StackError: if they make no sense, or do not come into force.
        """
        self._envoy.set_weights(weights)
        self._weights = {variant.name: weights.get(variant.name, 0) for variant in self.variants}

    def answered(self) -> dict[str, dict[str, int]]:
        """Answers that came from each variant since the start, as Envoy counts them: by variant, then ``2xx`` etc."""
        return self._envoy.answered()

    def measured_split(self) -> dict[str, float]:
        """Share of each variant in all answers since the start, pinned requests included; NaN before the first."""
        return split({variant: sum(classes.values()) for variant, classes in self.answered().items()})

    def _start(self) -> None:
        place = Directory()
        try:
            running = self._running = _Running(place, valkey.start(place.path), valkey.url(place.path))
        except BaseException:
            place.remove()
            raise
        directory = place.path
        for variant in self.variants:
            running.pairs[variant.name] = pairs.start(
                variant.name,
                variant.bundle,
                store_url=running.store_url,
                directory=directory,
                protocol=self._protocol,
                processes_per_variant=self._processes,
            )
        running.envoy = Envoy(
            [Upstream(name, pair.http_ports, pair.grpc_ports) for name, pair in running.pairs.items()],
            model=self.model,
            versions={variant.name: variant.bundle.version for variant in self.variants},
            weights=self._weights,
            port=self._port,
            directory=directory,
        )
        self._wait(lambda: valkey.answers(directory), "valkey")
        if self._fill is not None:
            self._fill(running.store_url)
        for name, pair in running.pairs.items():
            self._wait(pair.ready, f"the pair of {name}")
        self._wait(running.envoy.ready, "envoy")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        processes.wait_until(condition, self.children, seconds=START_SECONDS, what=what)

    @property
    def _up(self) -> _Running:
        if self._running is None:
            raise StackError("the stack does not run")
        return self._running

    @property
    def _envoy(self) -> Envoy:
        if self._up.envoy is None:
            raise StackError("the stack does not run")
        return self._up.envoy
