"""What runs of a local stack: Valkey, the pairs and Envoy, started in order and stopped in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tandem_cli.local import pair as pairs
from tandem_cli.local import processes, valkey
from tandem_cli.local.directory import Directory
from tandem_cli.local.envoy import Envoy
from tandem_cli.local.envoy_config import Upstream
from tandem_cli.local.pair import LocalVariant, Pair
from tandem_cli.local.processes import Child, ChildDied, StackError

START_SECONDS = 90.0

TRIES = 3
"""How often processes are started when another program takes one of their ports."""


@dataclass
class RunningStack:
    """The processes of a stack, and the directory of their files; begun by :meth:`begin`.

    Attributes:
        directory: The directory, which ends with the stack.
        valkey: The online store.
        store_url: Its URL.
        pairs: The processes of each variant, by variant.
        envoy: The front; None until it is started.

    Processes end with the thread that starts them: the first ones with the main thread, later ones with one of its own,
    which ends with the stack.
    """

    directory: Directory
    valkey: Child
    store_url: str
    pairs: dict[str, Pair] = field(default_factory=dict)
    envoy: Envoy | None = None
    _starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "processes"), repr=False)
    _stopping: bool = False

    @classmethod
    def begin(cls) -> Self:
        """Create the directory and start the online store.

        Raises:
            StackError: if the store cannot be started.
        """
        directory = Directory()
        try:
            return cls(directory, valkey.start(directory.path), valkey.url(directory.path))
        except BaseException:
            directory.remove()
            raise

    @property
    def path(self) -> Path:
        """Path of the directory."""
        return self.directory.path

    @property
    def children(self) -> list[Child]:
        """All processes, in the order in which they are stopped."""
        front = [self.envoy.child] if self.envoy else []
        return [*front, *(child for pair in self.pairs.values() for child in pair.children), self.valkey]

    def start_pairs(
        self,
        variants: Sequence[LocalVariant],
        *,
        protocol: str,
        processes_per_variant: int,
        flags: Sequence[str] = (),
    ) -> None:
        """Start the pairs of all variants, without waiting until they are ready.

        Args:
            variants: The variants.
            protocol: How transformer and predictor talk: ``v2`` or ``grpc-v2``.
            processes_per_variant: Number of transformers of each.
            flags: Further flags of the transformers.
        """
        for variant in variants:
            pair = pairs.start(
                variant.name,
                variant.bundle,
                store_url=self.store_url,
                directory=self.path,
                protocol=protocol,
                processes_per_variant=processes_per_variant,
                flags=flags,
            )
            # replaced as a whole, as other threads iterate over it
            self.pairs = {**self.pairs, variant.name: pair}

    def add_pair(self, variant: LocalVariant, *, protocol: str, processes_per_variant: int) -> Pair:
        """Start the pair of another variant, and wait until it is ready; from any thread.

        Args:
            variant: The variant.
            protocol: How transformer and predictor talk: ``v2`` or ``grpc-v2``.
            processes_per_variant: Number of transformers.

        Raises:
            ChildDied: if one of its processes ends instead.
            StackError: if it is not ready within :data:`START_SECONDS`, or the stack is stopped.
        """
        for tries_left in reversed(range(TRIES)):
            try:
                self._starter.submit(self._start_pair, variant, protocol, processes_per_variant).result()
                pair = self.pairs[variant.name]
                pairs.wait_until_ready(pair, seconds=START_SECONDS, what=f"the pair of {variant.name}")
                return pair
            except BaseException as error:
                self.drop_pair(variant.name)
                if not (isinstance(error, ChildDied) and error.port_was_taken and tries_left):
                    raise
        raise AssertionError("the last try has returned or raised")

    def drop_pair(self, name: str) -> None:
        """Stop the pair of a variant, if there is one.

        Args:
            name: Name of the variant.
        """
        pair = self.pairs.get(name)
        if pair is not None:
            self.pairs = {variant: running for variant, running in self.pairs.items() if variant != name}
            processes.stop(pair.transformers)
            processes.stop([pair.predictor])

    def start_envoy(self, variants: Sequence[LocalVariant], weights: Mapping[str, int], *, port: int) -> None:
        """Start Envoy in front of the pairs, which are started, without waiting until it is ready.

        Args:
            variants: The variants.
            weights: Their parts of the traffic, by variant.
            port: Port to listen on; 0 for any free one.
        """
        self.envoy = Envoy(
            [Upstream(name, pair.http_ports, pair.grpc_ports) for name, pair in self.pairs.items()],
            model=variants[0].bundle.name,
            versions={variant.name: variant.bundle.version for variant in variants},
            weights=weights,
            port=port,
            directory=self.path,
        )

    def wait_for_store(self) -> None:
        """Wait until the online store answers.

        Raises:
            ChildDied: if a process of the stack ends instead.
            StackError: if it does not answer within :data:`START_SECONDS`.
        """
        self._wait(lambda: valkey.answers(self.path), "valkey")

    def wait_for_pairs(self) -> None:
        """Wait until all pairs are ready, and Envoy if it is started.

        Raises:
            ChildDied: if a process of the stack ends instead.
            StackError: if one is not ready within :data:`START_SECONDS`.
        """
        for name, pair in self.pairs.items():
            self._wait(pair.ready, f"the pair of {name}")
        if self.envoy is not None:
            self._wait(self.envoy.ready, "envoy")

    def check(self, variants: AbstractSet[str], needed: AbstractSet[str]) -> dict[str, ChildDied]:
        """Check that the processes of the stack run, except those of variants that are being added or removed.

        Args:
            variants: Names of its variants.
            needed: Those of them that it cannot lose.

        Returns:
            By variant that the stack can lose, the first of its processes that has ended.

        Raises:
            ChildDied: if a process that the stack needs has ended; with the end of its log.
        """
        died: dict[str, ChildDied] = {}
        owners = {child.name: name for name, pair in self.pairs.items() for child in pair.children}
        for child in self.children:
            owner = owners.get(child.name)
            # whoever adds or removes a variant watches its processes
            if owner is not None and owner not in variants:
                continue
            try:
                child.check()
            except ChildDied as error:
                if owner is None or owner in needed:
                    raise
                died.setdefault(owner, error)
        return died

    def stop(self) -> None:
        """Stop all processes, Envoy first, and remove the directory."""
        self._stopping = True
        # a pair that is being started in this moment is among those that are stopped
        self._starter.submit(lambda: None).result()
        if self.envoy is not None:
            processes.stop([self.envoy.child])
        # callers end before the processes that they call
        processes.stop([child for pair in self.pairs.values() for child in pair.transformers])
        processes.stop([pair.predictor for pair in self.pairs.values()])
        processes.stop([self.valkey])
        # last, as the processes that a thread has started end with it
        self._starter.shutdown()
        self.directory.remove()

    def _start_pair(self, variant: LocalVariant, protocol: str, processes_per_variant: int) -> None:
        if self._stopping:
            raise StackError("the stack is being stopped")
        self.start_pairs([variant], protocol=protocol, processes_per_variant=processes_per_variant)

    def _wait(self, condition: Callable[[], bool], component: str) -> None:
        processes.wait_until(condition, self.children, seconds=START_SECONDS, what=component)
