"""Selects the target of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tandem_cli.rollout.targets.cluster import ClusterTarget
from tandem_cli.rollout.targets.local import LocalTarget
from tandem_cli.rollout.targets.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSelection:
    """The options of the command line that select a target.

    Attributes:
        local: Whether to use a stack on this machine.
        cluster: Whether to use a cluster.
        namespace: Namespace of the cluster; empty for the default.
        context: Context of the kubeconfig; empty for the current one.
    """

    local: bool = False
    cluster: bool = False
    namespace: str = ""
    context: str = ""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The available targets.

    Attributes:
        local: Opens the stacks of this machine.
        cluster: Opens a cluster, by namespace and context.
    """

    local: Callable[[], LocalTarget] = LocalTarget
    cluster: Callable[[str, str], Target] = field(
        default=lambda namespace, context: ClusterTarget.open(namespace=namespace, context=context)
    )

    def choose(self, selection: TargetSelection, name: str = "") -> Target:
        """The selected target; else a running stack of that name on this machine; else the cluster.

        Args:
            selection: The options of the command line.
            name: Name of the rollout; empty for any stack.
        """
        if selection.cluster or selection.namespace or selection.context:
            return self.cluster(selection.namespace, selection.context)
        local = self.local()
        if selection.local or (local.alive(name) if name else local.names()):
            return local
        return self.cluster("", "")
