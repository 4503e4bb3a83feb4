"""The fields of Pods, HTTPRoutes and InferenceServices that the controller reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import field

S = TypeVar("S", bound="_KubernetesStruct")


class _KubernetesStruct(msgspec.Struct, rename="camel", frozen=True):
    @classmethod
    def of(cls: type[S], plain: Mapping[str, Any]) -> S:
        """Parse the fields of an object.

        Args:
            plain: The object, as the API server has it. Other fields are ignored.

        Raises:
            msgspec.ValidationError: A field has an invalid type.
        """
        try:
            return msgspec.convert(plain, cls)
        except msgspec.ValidationError:
            # null is treated like a missing field
            return msgspec.convert(_without_nulls(plain), cls)


class OwnerReference(_KubernetesStruct, frozen=True):
    """An owner of an object."""

    uid: str = ""


class Metadata(_KubernetesStruct, frozen=True):
    """Metadata of an object."""

    name: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] = ()


class ObjectCondition(_KubernetesStruct, frozen=True):
    """A condition, as in ``metav1.Condition``."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class Waiting(_KubernetesStruct, frozen=True):
    """The waiting state of a container."""

    reason: str = ""
    message: str = ""


class Terminated(_KubernetesStruct, frozen=True):
    """The terminated state of a container."""

    exit_code: int = 0
    reason: str = "Error"
    message: str = ""


class ContainerState(_KubernetesStruct, frozen=True):
    """The state of a container."""

    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(_KubernetesStruct, frozen=True):
    """Status of a container of a pod."""

    name: str
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(_KubernetesStruct, frozen=True):
    """Status of a pod."""

    pod_ip: str = field(default="", name="podIP")
    conditions: tuple[ObjectCondition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(_KubernetesStruct, frozen=True):
    """A pod."""

    metadata: Metadata = Metadata()
    status: PodStatus = PodStatus()

    @property
    def component(self) -> str:
        """The component to which it belongs."""
        labels = self.metadata.labels
        return labels.get("component") or labels.get("app", "").rpartition("-")[2]

    @property
    def deleted(self) -> bool:
        """Whether it is being deleted."""
        return self.metadata.deletion_timestamp is not None

    @property
    def ready(self) -> bool:
        """Whether it is ready."""
        conditions = self.status.conditions
        # a pod that is being deleted keeps its condition Ready for some time
        return not self.deleted and any(entry.type == "Ready" and entry.status == "True" for entry in conditions)


class BackendRef(_KubernetesStruct, frozen=True):
    """A backend of a rule."""

    name: str
    # the default of the Gateway API
    weight: int = 1


class RouteRule(_KubernetesStruct, frozen=True):
    """A rule of a route."""

    name: str = ""
    backend_refs: tuple[BackendRef, ...] = ()


class RouteSpec(_KubernetesStruct, frozen=True):
    """Spec of a route."""

    rules: tuple[RouteRule, ...] = ()


class RouteParent(_KubernetesStruct, frozen=True):
    """Status of a route for one gateway."""

    conditions: tuple[ObjectCondition, ...] = ()


class RouteStatus(_KubernetesStruct, frozen=True):
    """Status of a route."""

    parents: tuple[RouteParent, ...] = ()


class HTTPRoute(_KubernetesStruct, frozen=True):
    """A route."""

    metadata: Metadata = Metadata()
    spec: RouteSpec = RouteSpec()
    status: RouteStatus = RouteStatus()

    def backends(self, rule: str) -> tuple[BackendRef, ...]:
        """The backends of a rule; empty if there is no such rule."""
        return next((entry.backend_refs for entry in self.spec.rules if entry.name == rule), ())


class ServiceStatus(_KubernetesStruct, frozen=True):
    """Status of an InferenceService."""

    conditions: tuple[ObjectCondition, ...] = ()


class InferenceService(_KubernetesStruct, frozen=True):
    """An InferenceService."""

    metadata: Metadata = Metadata()
    status: ServiceStatus = ServiceStatus()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_nulls(entry) for entry in value if entry is not None]
    return value
