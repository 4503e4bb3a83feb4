"""Who looks at the metrics of rollouts: one analyst for each, and sources that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tandem_rollout.analyst import Analyst
from tandem_rollout.controller.interface import Cluster
from tandem_rollout.controller.records import Records
from tandem_rollout.gates import Analysis
from tandem_rollout.sources import Source
from tandem_rollout.spec import Rollout

Open = Callable[[Analysis, str], Source]
"""Opens the source that an analysis asks for; the second argument is the installation's Prometheus."""


class Sources:
    """Sources of metrics, each opened once.

    Args:
        prometheus: Address of the installation's Prometheus.
        opened: Opens a source.
    """

    def __init__(self, prometheus: str, opened: Open) -> None:
        self._prometheus = prometheus
        self._open = opened
        self._sources: dict[tuple[str, str], Source] = {}

    def of(self, analysis: Analysis) -> Source:
        """The source that an analysis asks for."""
        key = analysis.source, analysis.prometheus
        if key not in self._sources:
            self._sources[key] = self._open(analysis, self._prometheus)
        return self._sources[key]

    async def close(self) -> None:
        """Close all of them."""
        while self._sources:
            _, source = self._sources.popitem()
            await source.close()


class Seat:
    """The place of the analyst of one rollout.

    Args:
        cluster: The cluster, which keeps its records.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._taken: tuple[Source, Analyst] | None = None

    def analyst(self, rollout: Rollout, source: Source, owner: dict[str, Any]) -> Analyst:
        """The analyst; another one where the source is another one, who goes on from the same records."""
        if self._taken is None or self._taken[0] is not source:
            self._taken = source, Analyst(source, Records(self._cluster, rollout, owner))
        return self._taken[1]
