"""What runs of a local stack: Valkey, the pairs and Envoy, started in order and stopped in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tandem_cli.local import pair as pairs
from tandem_cli.local import processes, valkey
from tandem_cli.local.directory import Directory
from tandem_cli.local.envoy import Envoy
from tandem_cli.local.envoy_config import Upstream
from tandem_cli.local.pair import LocalVariant, Pair
from tandem_cli.local.processes import Child

START_SECONDS = 90.0


@dataclass
class RunningStack:
    """The processes of a stack, and the directory of their files; begun by :meth:`begin`.

    Attributes:
        directory: The directory, which ends with the stack.
        valkey: The online store.
        store_url: Its URL.
        pairs: The processes of each variant, by variant.
        envoy: The front; None until it is started.
    """

    directory: Directory
    valkey: Child
    store_url: str
    pairs: dict[str, Pair] = field(default_factory=dict)
    envoy: Envoy | None = None

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
            self.pairs[variant.name] = pairs.start(
                variant.name,
                variant.bundle,
                store_url=self.store_url,
                directory=self.path,
                protocol=protocol,
                processes_per_variant=processes_per_variant,
                flags=flags,
            )

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

    def stop(self) -> None:
        """Stop all processes, Envoy first, and remove the directory."""
        if self.envoy is not None:
            processes.stop([self.envoy.child])
        # callers end before the processes that they call
        processes.stop([child for pair in self.pairs.values() for child in pair.transformers])
        processes.stop([pair.predictor for pair in self.pairs.values()])
        processes.stop([self.valkey])
        self.directory.remove()

    def _wait(self, condition: Callable[[], bool], component: str) -> None:
        processes.wait_until(condition, self.children, seconds=START_SECONDS, what=component)
