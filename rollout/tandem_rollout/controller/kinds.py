"""The kinds of objects that the controller reads and writes, as resource classes of lightkube."""

from __future__ import annotations

from typing import Any, Final

from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.core_v1 import Pod, Service
from lightkube.resources.networking_v1 import NetworkPolicy
from lightkube.resources.policy_v1 import PodDisruptionBudget

from tandem_rollout import EVIDENCE_KIND, EVIDENCE_PLURAL, GROUP, KIND, PLURAL, VERSION
from tandem_rollout.render import Object

InferenceRollout: Final = create_namespaced_resource(GROUP, VERSION, KIND, PLURAL)
RolloutEvidence: Final = create_namespaced_resource(GROUP, VERSION, EVIDENCE_KIND, EVIDENCE_PLURAL)
InferenceService: Final = create_namespaced_resource(
    "serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices"
)
HTTPRoute: Final = create_namespaced_resource("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
ScaledObject: Final = create_namespaced_resource("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")
PodMonitor: Final = create_namespaced_resource("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors")
BackendTrafficPolicy: Final = create_namespaced_resource(
    "gateway.envoyproxy.io", "v1alpha1", "BackendTrafficPolicy", "backendtrafficpolicies"
)
SecurityPolicy: Final = create_namespaced_resource(
    "gateway.envoyproxy.io", "v1alpha1", "SecurityPolicy", "securitypolicies"
)

#: Class of each kind that is applied.
APPLIED: Final[dict[str, Any]] = {
    "InferenceService": InferenceService,
    "Service": Service,
    EVIDENCE_KIND: RolloutEvidence,
    "NetworkPolicy": NetworkPolicy,
    "ScaledObject": ScaledObject,
    "PodDisruptionBudget": PodDisruptionBudget,
    "PodMonitor": PodMonitor,
    "HTTPRoute": HTTPRoute,
    "BackendTrafficPolicy": BackendTrafficPolicy,
    "SecurityPolicy": SecurityPolicy,
}

#: Kinds that are listed from time to time instead of watched, as other controllers often write their status.
LISTED: Final = (
    "Service",
    "NetworkPolicy",
    "ScaledObject",
    "PodDisruptionBudget",
    "PodMonitor",
    "BackendTrafficPolicy",
    "SecurityPolicy",
)

__all__ = [
    "APPLIED",
    "LISTED",
    "HTTPRoute",
    "InferenceRollout",
    "InferenceService",
    "Pod",
    "PodMonitor",
    "RolloutEvidence",
    "resource",
]


def resource(rendered: Object) -> Any:
    """A rendered object as a resource of lightkube."""
    return APPLIED[rendered["kind"]].from_dict(rendered)
