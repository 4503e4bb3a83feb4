"""Which target is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tandem_cli.rollout.cluster import ClusterTarget
from tandem_cli.rollout.local import LocalTarget
from tandem_cli.rollout.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What the command line says of it.

    Attributes:
        local: A stack on this machine.
        cluster: A cluster.
        namespace: Namespace of the cluster.
        context: Context of the kubeconfig.
    """

    local: bool = False
    cluster: bool = False
    namespace: str = ""
    context: str = ""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The targets that there are.

    Attributes:
        local: Opens the stacks of this machine.
        cluster: Opens a cluster, by namespace and context.
    """

    local: Callable[[], LocalTarget] = LocalTarget
    cluster: Callable[[str, str], Target] = field(
        default=lambda namespace, context: ClusterTarget.open(namespace=namespace, context=context)
    )

    def choose(self, where: Where, name: str = "") -> Target:
        """The target that is meant: what is said; else a stack of that name that runs here; else the cluster.

        Args:
            where: What the command line says.
            name: Name of the rollout; without one any stack will do.
        """
        if where.cluster or where.namespace or where.context:
            return self.cluster(where.namespace, where.context)
        local = self.local()
        if where.local or (local.alive(name) if name else local.names()):
            return local
        return self.cluster("", "")
