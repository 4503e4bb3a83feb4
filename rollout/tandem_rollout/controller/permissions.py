"""The permissions of the controller. The chart grants exactly these, and tests check calls against them."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from tandem_rollout import EVIDENCE_PLURAL, GROUP, PLURAL

Verb = Literal["create", "delete", "get", "list", "patch", "update", "watch"]


class Permission(NamedTuple):
    """Verbs on one resource.

    Attributes:
        group: API group; empty for the core group.
        resource: Plural of the resource, with the subresource after a slash.
        verbs: The verbs.
    """

    group: str
    resource: str
    verbs: tuple[Verb, ...]


# : Server-side apply is a patch, and also a create if the object does not exist. Objects are read before they are
# applied : or deleted, as another owner may have an object with the same name.
PERMISSIONS: Final[tuple[Permission, ...]] = (
    # a patch of the rollout itself sets its finalizer
    Permission(GROUP, PLURAL, ("list", "patch", "watch")),
    Permission(GROUP, f"{PLURAL}/status", ("patch",)),
    Permission(GROUP, EVIDENCE_PLURAL, ("create", "delete", "get", "patch")),
    Permission("serving.kserve.io", "inferenceservices", ("create", "delete", "get", "list", "patch", "watch")),
    Permission("gateway.networking.k8s.io", "httproutes", ("create", "delete", "get", "list", "patch", "watch")),
    Permission("gateway.envoyproxy.io", "backendtrafficpolicies", ("create", "delete", "get", "list", "patch")),
    Permission("gateway.envoyproxy.io", "securitypolicies", ("create", "delete", "get", "list", "patch")),
    Permission("monitoring.coreos.com", "podmonitors", ("create", "delete", "get", "list", "patch")),
    Permission("keda.sh", "scaledobjects", ("create", "get", "list", "patch")),
    Permission("networking.k8s.io", "networkpolicies", ("create", "delete", "get", "list", "patch")),
    Permission("policy", "poddisruptionbudgets", ("create", "get", "list", "patch")),
    Permission("", "services", ("create", "get", "list", "patch")),
    Permission("", "pods", ("list", "watch")),
    Permission("", "events", ("create",)),
)

#: In the controller's namespace: the Lease of the leader election, and events about it.
ELECTION_PERMISSIONS: Final[tuple[Permission, ...]] = (
    Permission("coordination.k8s.io", "leases", ("create", "get", "update")),
    Permission("", "events", ("create",)),
)
