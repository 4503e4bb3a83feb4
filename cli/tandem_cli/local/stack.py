"""The local stack: started, watched and stopped as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tandem_cli.local.envoy import Envoy
from tandem_cli.local.envoy_config import check_weights
from tandem_cli.local.pair import LocalVariant, Pair
from tandem_cli.local.processes import LOOPBACK, Child, ChildDied, StackError
from tandem_cli.local.running import TRIES, RunningStack
from tandem_cli.local.scrape import split


class LocalStack:
    """Valkey, one pair per variant, and Envoy, all on the loopback interface; a context manager.

    Start it from the main thread: its processes end with the thread that started them, even if that is killed.

    Args:
        variants: Versions of one model; their weights are the first split.
        protocol: How transformer and predictor talk: ``v2`` or ``grpc-v2``.
        processes: Number of transformers per variant.
        port: Port to listen on; 0 for any free one.
        fill: Called with the store's URL while the pairs start, to write the features.

    Raises:
        StackError: if the variants are not versions of one model, or their weights are invalid.
    """

    def __init__(
        self,
        variants: Sequence[LocalVariant],
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
        self._running: RunningStack | None = None
        self._needed = frozenset(names)

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
        pairs = self._up.pairs
        # those of a variant that is being added or removed are left out
        return {variant.name: pairs[variant.name] for variant in self.variants if variant.name in pairs}

    @property
    def metrics_urls(self) -> dict[str, tuple[str, ...]]:
        """Where the metrics of each variant's transformers are scraped, by variant."""
        return {
            name: tuple(f"http://{LOOPBACK}:{port}/metrics" for port in pair.http_ports)
            for name, pair in self.pairs.items()
        }

    @property
    def weights(self) -> dict[str, int]:
        """The present weights, by variant."""
        return dict(self._weights)

    @property
    def children(self) -> list[Child]:
        """All processes; empty if the stack does not run."""
        return self._running.children if self._running else []

    def start(self) -> None:
        """Start all processes and wait until they are ready.

        Raises:
            ChildDied: if a process ends instead.
            StackError: if a process is not ready in time.
            TandemError: of ``fill``.
        """
        for tries_left in reversed(range(TRIES)):
            try:
                self._start()
                return
            except BaseException as error:
                self.stop()
                # a free port can be taken between the choice and its use; a port that the user chose is not tried again
                if not (isinstance(error, ChildDied) and error.port_was_taken and tries_left and not self._port):
                    raise

    def stop(self) -> None:
        """Stop all processes, Envoy first, and remove their files; does nothing if the stack does not run."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def spare(self, variants: Iterable[str]) -> None:
        """Set the variants that the stack can lose: those from which a rollout can take the traffic.

        Args:
            variants: Their names; the stack needs the others.
        """
        self._needed = frozenset(variant.name for variant in self.variants) - frozenset(variants)

    def check(self) -> dict[str, ChildDied]:
        """Check that every process runs that the stack needs.

        Returns:
            By variant that the stack can lose, the first of its processes that has ended.

        Raises:
            ChildDied: if a process that the stack needs has ended; with the end of its log.
        """
        if self._running is None:
            return {}
        return self._running.check({variant.name for variant in self.variants}, self._needed)

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """Change the shares of the traffic; they are in force when this returns.

        Args:
            weights: By variant; variants left out get none.

        Raises:
            StackError: if they are invalid, or do not come into force.
        """
        self._envoy.set_weights(weights)
        self._weights = {variant.name: weights.get(variant.name, 0) for variant in self.variants}

    def answered(self) -> dict[str, dict[str, int]]:
        """Responses of each variant since the start, as Envoy counts them: by variant, then ``2xx`` etc."""
        return self._envoy.answered()

    def measured_split(self) -> dict[str, float]:
        """Share of each variant in all responses since the start, of pinned requests too; NaN before the first."""
        return split({variant: sum(classes.values()) for variant, classes in self.answered().items()})

    def _start(self) -> None:
        running = self._running = RunningStack.begin()
        # everything starts at once, and the features are written meanwhile
        running.start_pairs(self.variants, protocol=self._protocol, processes_per_variant=self._processes)
        running.start_envoy(self.variants, self._weights, port=self._port)
        running.wait_for_store()
        if self._fill is not None:
            self._fill(running.store_url)
        running.wait_for_pairs()

    @property
    def _up(self) -> RunningStack:
        if self._running is None:
            raise StackError("the stack does not run")
        return self._running

    @property
    def _envoy(self) -> Envoy:
        if self._up.envoy is None:
            raise StackError("the stack does not run")
        return self._up.envoy
