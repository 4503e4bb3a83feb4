"""Sources of counters: Prometheus, or the pods and the gateway directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tandem.telemetry import WEIGHTED
from tandem_rollout.analysis.reading import Readings
from tandem_rollout.api.analysis import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmLocation:
    """Where one arm is counted.

    Attributes:
        service: Its InferenceService; in the local stack its variant.
        clusters: Names of its clusters in the gateway's Envoy.
        pods: Names of its transformer pods, and addresses of their metrics.
        traffic: The counted traffic: by weight, or of the preview host.
    """

    service: str
    clusters: tuple[str, ...] = ()
    pods: tuple[tuple[str, str], ...] = ()
    traffic: str = WEIGHTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Where both arms are counted.

    Attributes:
        namespace: Their namespace.
        stable: Location of stable's counters.
        canary: Location of the canary's counters.
        gateway: Names of the gateway's proxies, and addresses of their statistics.
        share: The canary's share of the units, if the weights of the spec apply; None if the run has a weight.
    """

    namespace: str
    stable: ArmLocation
    canary: ArmLocation
    gateway: tuple[tuple[str, str], ...] = ()
    share: float | None = None


class MetricSource(Protocol):
    """Reads counters. The reading of a metric that cannot be read is a :class:`ProviderError`; nothing is raised."""

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        """Read the present counters of all metrics."""
        ...

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        """Read past counters, in order, and the present ones last; only the present ones without a history."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...
