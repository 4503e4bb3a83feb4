"""What a pass over one rollout works with: the cluster, and what is known beyond the cluster's own objects."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_rollout.controller.analysts import Seat
from tandem_rollout.controller.apply import Applied
from tandem_rollout.controller.interface import Cluster
from tandem_rollout.controller.proofs import Proofs
from tandem_rollout.controller.report import Reporter
from tandem_rollout.render.platform import Platform
from tandem_rollout.runner.analyst import Analyst


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of a rollout beyond the cluster's own objects; all of it can be found out again.

    Attributes:
        applied: Which objects were applied.
        proofs: Which revisions have proved themselves.
        reporter: Which status was written.
        seat: Who looks at its metrics.
    """

    applied: Applied
    proofs: Proofs
    reporter: Reporter
    seat: Seat

    @classmethod
    def of(cls, cluster: Cluster) -> Memory:
        """Nothing is known yet."""
        return cls(Applied(cluster), Proofs(cluster), Reporter(cluster), Seat(cluster))


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
