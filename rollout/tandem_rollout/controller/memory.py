"""What a pass over one rollout works with: the cluster, and what is known beyond the cluster's own objects."""

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
    """What is known of a rollout beyond the cluster's own objects; all of it can be found out again.

    Attributes:
        applied: Which objects were applied.
        verifications: Which revisions have proved themselves.
        reporter: Which status was written.
        analyst_slot: Who looks at its metrics.
    """

    applied: Applied
    verifications: Verifications
    reporter: Reporter
    analyst_slot: AnalystSlot

    @classmethod
    def of(cls, cluster: Cluster) -> Memory:
        """Nothing is known yet."""
        return cls(Applied(cluster), Verifications(cluster), Reporter(cluster), AnalystSlot(cluster))


@dataclass(frozen=True, slots=True)
class Edges:
    """What the stages of a pass read from and write to.

    Attributes:
        cluster: The cluster.
        platform: Defaults of the installation.
        memory: What is known of the rollout.
        analyst: Looks at its metrics; None where nothing is decided.
    """

    cluster: Cluster
    platform: Platform
    memory: Memory
    analyst: Analyst | None
