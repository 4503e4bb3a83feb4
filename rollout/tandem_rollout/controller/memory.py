"""What the stages of a pass use: the cluster, the installation, and the memory about one rollout."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_rollout.controller.analysts import AnalystSlot
from tandem_rollout.controller.apply import Applied
from tandem_rollout.controller.interface import Cluster
from tandem_rollout.controller.report import Reporter
from tandem_rollout.controller.verifications import Verifications
from tandem_rollout.render.platform import Platform
from tandem_rollout.runner.analyst import Analyst


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory about a rollout, which another process can rebuild.

    Attributes:
        applied: The applied objects.
        verifications: The verifications of its revisions.
        reporter: The written status.
        analyst_slot: The analyst of its metrics.
    """

    applied: Applied
    verifications: Verifications
    reporter: Reporter
    analyst_slot: AnalystSlot

    @classmethod
    def of(cls, cluster: Cluster) -> Memory:
        """An empty memory."""
        return cls(Applied(cluster), Verifications(cluster), Reporter(cluster), AnalystSlot(cluster))


@dataclass(frozen=True, slots=True)
class Edges:
    """What the stages of a pass use.

    Attributes:
        cluster: The cluster.
        platform: Defaults of the installation.
        memory: The memory about the rollout.
        analyst: The analyst of its metrics; None for a rollout without runs.
    """

    cluster: Cluster
    platform: Platform
    memory: Memory
    analyst: Analyst | None
