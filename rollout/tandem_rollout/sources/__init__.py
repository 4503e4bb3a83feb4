"""Where counters come from: Prometheus, or the pods and the gateway themselves."""

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
        service: Its InferenceService; on a laptop its variant.
        clusters: Names of its clusters at the gateway's Envoy.
        pods: Addresses of the metrics of its transformers, by the name of the pod.
        traffic: Which requests count: those that the weights sent there, or those of the preview host.
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
        stable: Stable.
        canary: The canary.
        gateway: Addresses of the statistics of the gateway's proxies, by the name of the pod.
        share: Share of the units of both that falls on the canary, where the run's weight does not say so: in an A/B
            test, whose weights stay as written.
    """

    namespace: str
    stable: ArmLocation
    canary: ArmLocation
    gateway: tuple[tuple[str, str], ...] = ()
    share: float | None = None


class MetricSource(Protocol):
    """Reads counters. A metric that cannot be read is a :class:`ProviderError` of its own; nothing is raised."""

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        """The counters of all metrics as they are now."""
        ...

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        """The counters as they were, in order, the last ones of now; only now's where a source has no memory."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...
