"""The pair of one variant: a predictor and its transformers, started as their images start them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tandem import Bundle
from tandem_cli.local import processes
from tandem_cli.local.http import is_ready
from tandem_cli.local.ports import free_ports
from tandem_cli.local.processes import LOOPBACK, Child, StackError


@dataclass(frozen=True)
class LocalVariant:
    """One version with a share of the traffic.

    Attributes:
        name: Name of the variant, as in the header ``x-model-variant``.
        bundle: The version that it serves.
        weight: Its part of the traffic, relative to the sum of all weights.
    """

    name: str
    bundle: Bundle
    weight: int


@dataclass(frozen=True)
class Pair:
    """The processes of one variant; started by :func:`start`.

    Attributes:
        predictor: The predictor.
        transformers: The transformers, which share the traffic.
        predictor_port: HTTP port of the predictor.
        http_ports: HTTP ports of the transformers.
        grpc_ports: gRPC ports of the transformers.
    """

    predictor: Child
    transformers: tuple[Child, ...]
    predictor_port: int
    http_ports: tuple[int, ...]
    grpc_ports: tuple[int, ...]

    @property
    def children(self) -> tuple[Child, ...]:
        """All its processes."""
        return (*self.transformers, self.predictor)

    @property
    def runs(self) -> bool:
        """Whether none of its processes has ended."""
        return all(child.runs for child in self.children)

    def ready(self) -> bool:
        """Whether all its processes are ready."""
        return all(map(is_ready, (self.predictor_port, *self.http_ports)))

    def count_ready(self) -> tuple[int, int]:
        """How many transformers and predictors are ready."""
        transformers = zip(self.transformers, self.http_ports, strict=True)
        return (
            sum(child.runs and is_ready(port) for child, port in transformers),
            int(self.predictor.runs and is_ready(self.predictor_port)),
        )


def start(
    variant: str,
    bundle: Bundle,
    *,
    store_url: str,
    directory: Path,
    protocol: str = "v2",
    processes_per_variant: int = 1,
    flags: Sequence[str] = (),
) -> Pair:
    """Start the processes of a variant, without waiting until they are ready.

    Args:
        variant: Name of the variant.
        bundle: The version that it serves.
        store_url: The online store.
        directory: For the logs.
        protocol: How transformer and predictor talk: ``v2`` or ``grpc-v2``.
        processes_per_variant: Number of transformers.
        flags: Further flags of the transformers.
    """
    ports = iter(free_ports(2 + 2 * processes_per_variant))
    predictor_port, predictor_grpc_port = next(ports), next(ports)
    predictor = _start(
        "tandem_predictor", f"predictor-{variant}", bundle, directory, [predictor_port, predictor_grpc_port], []
    )
    port = predictor_grpc_port if protocol == "grpc-v2" else predictor_port
    options = ["--predictor_host", f"{LOOPBACK}:{port}", "--predictor_protocol", protocol]
    options += ["--store", store_url, "--explain", *flags]
    transformers, pairs_of_ports = [], [(next(ports), next(ports)) for _ in range(processes_per_variant)]
    for number, (http_port, grpc_port) in enumerate(pairs_of_ports, 1):
        name = f"transformer-{variant}" + (f"-{number}" if processes_per_variant > 1 else "")
        transformers.append(_start("tandem_transformer", name, bundle, directory, [http_port, grpc_port], options))
    http_ports, grpc_ports = zip(*pairs_of_ports, strict=True)
    return Pair(predictor, tuple(transformers), predictor_port, http_ports, grpc_ports)


def wait_until_ready(pair: Pair, *, seconds: float, what: str) -> None:
    """Wait until a pair is ready, whatever other processes do.

    Args:
        pair: The pair.
        seconds: How long to wait at most.
        what: Its name in messages.

    Raises:
        ChildDied: if one of its processes ends instead.
        StackError: if it is not ready in time, or is stopped meanwhile.
    """
    # a pair that is stopped ends the wait without ChildDied
    processes.wait_until(lambda: pair.ready() or not pair.runs, pair.children, seconds=seconds, what=what)
    if not pair.runs:
        for child in pair.children:
            child.check()
        raise StackError(f"{what} was stopped")


def _start(
    module: str, name: str, bundle: Bundle, directory: Path, ports: Sequence[int], flags: Sequence[str]
) -> Child:
    http_port, grpc_port = map(str, ports)
    command = [sys.executable, "-m", module, "--model_dir", str(bundle.path.resolve()), "--host", LOOPBACK]
    command += ["--http_port", http_port, "--grpc_port", grpc_port, *flags]
    # temporary files that a library leaves behind are removed with the stack
    return processes.start(
        name, command, log=directory / f"{name}.log", environment={"TMPDIR": str(directory)}, ports=ports
    )
