"""The analysts of rollouts, and the sources of metrics that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from tandem_rollout.analysis.reading import Readings
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.api.spec import Rollout
from tandem_rollout.controller.interface import Cluster
from tandem_rollout.controller.records import Records
from tandem_rollout.runner.analyst import Analyst
from tandem_rollout.sources import Arms, MetricSource
from tandem_rollout.sources.open import RejectedSource

_READS: Final = 4
"""Maximum number of concurrent reads: the number of workers of one namespace."""

Open = Callable[[Analysis, str], MetricSource]
"""Opens the source of an analysis. The second argument is the address of the installation's Prometheus."""


_NOT_ALLOWED: Final = RejectedSource(
    ProviderError(
        "AddressNotAllowed",
        "spec.analysis.prometheus: must be an address that the installation allows, by its prometheus or "
        "allowedPrometheus",
    )
)


class _LimitedSource:
    """A source with a limited number of concurrent reads, as responses are kept in memory until they are processed.

    Args:
        source: The source.
        turns: Limits the reads of all sources.
    """

    def __init__(self, source: MetricSource, turns: asyncio.Semaphore) -> None:
        self._source = source
        self._turns = turns

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        """The counters of all metrics as they are now."""
        async with self._turns:
            return await self._source.read(metrics, arms)

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        """The counters as they were."""
        async with self._turns:
            return await self._source.history(metrics, arms, seconds=seconds, step=step)

    async def close(self) -> None:
        """Close the source."""
        await self._source.close()


class Sources:
    """Sources of metrics. Each is opened once.

    Args:
        prometheus: Address of the installation's Prometheus.
        opened: Opens a source.
        allows: Whether a spec may use an address.
    """

    def __init__(self, prometheus: str, opened: Open, allows: Callable[[str], bool]) -> None:
        self._prometheus = prometheus
        self._open = opened
        self._allows = allows
        self._sources: dict[tuple[str, str], MetricSource] = {}
        self._turns = asyncio.Semaphore(_READS)

    def of(self, analysis: Analysis) -> MetricSource:
        """The source of an analysis. If its address is not allowed, all reads of the source return an error."""
        # the controller reaches more addresses than the author of a spec may read
        if analysis.source == "prometheus" and analysis.prometheus and not self._allows(analysis.prometheus):
            return _NOT_ALLOWED
        key = analysis.source, analysis.prometheus
        if key not in self._sources:
            self._sources[key] = _LimitedSource(self._open(analysis, self._prometheus), self._turns)
        return self._sources[key]

    async def close(self) -> None:
        """Close all sources."""
        while self._sources:
            _, source = self._sources.popitem()
            await source.close()


class AnalystSlot:
    """Holds the analyst of one rollout.

    Args:
        cluster: The cluster, in which records are stored.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._taken: tuple[MetricSource, Analyst] | None = None

    def analyst(self, rollout: Rollout, source: MetricSource, owner: dict[str, Any]) -> Analyst:
        """The analyst of the rollout. After a change of the source a new analyst continues from the same records."""
        if self._taken is None or self._taken[0] is not source:
            self._taken = source, Analyst(source, Records(self._cluster, rollout, owner))
        return self._taken[1]
