"""The spec of an ``InferenceRollout``.

The structs here, and in :mod:`.pods`, :mod:`.routing`, :mod:`.strategy` and :mod:`.analysis`, are the only source of
the CRD's schema (:mod:`tandem_rollout.api.crd`): descriptions, defaults, ranges and patterns are defined only there.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, field

from tandem_rollout.api.analysis import Analysis
from tandem_rollout.api.fields import (
    MODEL,
    REGISTRY_ALIAS,
    REGISTRY_MODEL,
    REGISTRY_URL,
    STORE_URL,
    Duration,
    Name,
    Replicas,
    Struct,
    Weight,
)
from tandem_rollout.api.pods import BundleSource, PredictorSpec, TransformerSpec, Volumes
from tandem_rollout.api.routing import Route
from tandem_rollout.api.strategy import Strategy

REDIS_PORT: Final = 6379
"""Port of a store if its URL has none."""

SENTINEL_PORT: Final = 26379
"""Port of a Sentinel if the URL has none."""


Port = Annotated[int, Meta(ge=1, le=65535)]


class SecretKey(Struct, frozen=True):
    """A key of a Secret in the namespace of the rollout."""

    name: Annotated[str, Meta(min_length=1, description="Name of the Secret.")]
    key: Annotated[str, Meta(min_length=1, description="Key in the Secret.")]


class Store(Struct, frozen=True):
    """The online store. At most one of url and urlFrom may be set."""

    url: Annotated[
        str,
        Meta(
            pattern=STORE_URL,
            max_length=2048,
            description="URL with redis://, redis+sentinel:// or redis+cluster://, the same with rediss for TLS, or "
            "unix://, without a password. Use urlFrom for a URL with a password.",
        ),
    ] = ""
    url_from: Annotated[SecretKey | None, Meta(description="Secret that contains the URL, with its password.")] = None

    @property
    def is_behind_sentinel(self) -> bool:
        """Whether ``url`` names Sentinels, which know the address of the store."""
        return self.url.partition("://")[0].endswith("+sentinel")

    @property
    def url_ports(self) -> list[int]:
        """TCP ports of ``url``, each once; none if it is empty or names a Unix socket."""
        scheme, _, place = self.url.partition("://")
        if not scheme.startswith("redis"):
            return []
        hosts = place.partition("/")[0].partition("?")[0].rpartition("@")[2].split(",")
        # the address of an IPv6 host is in brackets and has colons of its own
        ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
        return list(
            dict.fromkeys(int(port or (SENTINEL_PORT if self.is_behind_sentinel else REDIS_PORT)) for port in ports)
        )


class Scaling(Struct, frozen=True):
    """How a component scales with the requests in flight."""

    min_replicas: Annotated[Replicas, Meta(description="Minimum number of pods of a variant.")] = 1
    max_replicas: Annotated[Replicas, Meta(description="Maximum number of pods of a variant.")] = 4
    inflight_per_pod: Annotated[
        int, Meta(ge=1, le=10_000, description="Target for the average number of requests in flight of a pod.")
    ] = 8
    scale_down_after: Annotated[
        Duration, Meta(description="Time for which fewer pods must have been enough before pods are removed.")
    ] = "5m"


class PredictorScaling(Scaling, frozen=True):
    """How the predictor scales with the batches in flight. A batch has the rows of many requests."""

    inflight_per_pod: Annotated[
        int, Meta(ge=1, le=10_000, description="Target for the average number of batches in flight of a pod.")
    ] = 4


class Autoscaling(Struct, frozen=True):
    """KEDA ScaledObjects of both components of each variant."""

    transformer: Scaling = field(default_factory=Scaling)
    predictor: PredictorScaling = field(default_factory=PredictorScaling)
    prometheus: Annotated[
        str,
        Meta(
            description="Address of Prometheus. The installation must allow it. Default: the address that the "
            "controller was installed with."
        ),
    ] = ""


class Template(Struct, frozen=True):
    """Overrides that are merged into the rendered InferenceService.

    Maps are merged by key, lists of containers by name. Other lists are replaced.
    """

    metadata: Annotated[dict[str, Any], Meta(description="Labels and annotations.")] = field(default_factory=dict)
    spec: Annotated[
        dict[str, Any], Meta(description="Fields of transformer and predictor, as in an InferenceService.")
    ] = field(default_factory=dict)


class Variant(Struct, frozen=True):
    """One of several versions that are served at the same time."""

    name: Annotated[
        Name,
        Meta(
            description="Name of the variant. Clients choose it by the header x-model-variant, unless route.pin is "
            "disabled."
        ),
    ]
    bundle: BundleSource
    weight: Annotated[Weight, Meta(description="Share of the requests, relative to the weights of the others.")] = 0
    template: Annotated[
        Template | None, Meta(description="Overrides for this variant. They are merged after spec.template.")
    ] = None


class Monitoring(Struct, frozen=True):
    """Monitoring of the pods."""

    pod_monitors: Annotated[
        bool, Meta(description="Create PodMonitors. The autoscaling needs the metrics that they collect.")
    ] = True
    labels: Annotated[dict[str, str], Meta(description="Labels by which your Prometheus selects PodMonitors.")] = field(
        default_factory=dict
    )


class Network(Struct, frozen=True):
    """NetworkPolicies of the pods."""

    policies: Annotated[bool, Meta(description="Create NetworkPolicies.")] = True
    gateway_namespace: Annotated[str, Meta(description="Namespace of the gateway's proxies.")] = "envoy-gateway-system"
    monitoring_namespace: Annotated[str, Meta(description="Namespace of Prometheus.")] = "monitoring"
    store_port: Annotated[
        Port,
        Meta(description="Port of the online store if store.urlFrom is set, or if store.url names Sentinels."),
    ] = REDIS_PORT
    additional_store_ports: Annotated[
        list[Port],
        Meta(
            max_length=16,
            description="Further ports of the online store, such as those of Sentinels or of the nodes of a cluster.",
        ),
    ] = field(default_factory=list)
    store_namespace: Annotated[
        str, Meta(description="Namespace of the online store. Default: any address, on the store's port.")
    ] = ""


class RegistryAlias(Struct, frozen=True):
    """An alias of a model registry. The bundle is that of the version that the alias names."""

    uri: Annotated[
        str,
        Meta(
            pattern=REGISTRY_URL,
            max_length=2048,
            description="Address of an MLflow tracking server. The installation must allow it for the namespace.",
        ),
    ]
    model: Annotated[str, Meta(pattern=REGISTRY_MODEL, max_length=256, description="Name of the registered model.")]
    alias: Annotated[
        str, Meta(pattern=REGISTRY_ALIAS, max_length=256, description="Alias of the version to serve.")
    ] = "champion"


class RolloutSpec(Struct, frozen=True):
    """Spec of an InferenceRollout."""

    model: Annotated[
        str,
        Meta(
            pattern=MODEL,
            max_length=63,
            description="Name of the model in requests. Default: the name of the rollout.",
        ),
    ] = ""
    bundle: Annotated[
        BundleSource | None,
        Meta(description="Bundle of the only version. A changed bundle replaces the version when it is ready."),
    ] = None
    registry: Annotated[
        RegistryAlias | None,
        Meta(
            description="Alias of a model registry that the rollout follows. {version} and {digest} in the bundle's "
            "image, uri or pvc.path stand for the version that the alias names, and for the digest of its bundle."
        ),
    ] = None
    variants: Annotated[
        list[Variant],
        Meta(max_length=7, description="Several versions. Exactly one of bundle and variants must be set."),
    ] = field(default_factory=list)
    transformer: TransformerSpec = field(default_factory=TransformerSpec)
    predictor: PredictorSpec = field(default_factory=PredictorSpec)
    store: Store = field(default_factory=Store)
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    route: Route = field(default_factory=Route)
    strategy: Strategy = field(default_factory=Strategy)
    analysis: Annotated[
        Analysis | None, Meta(description="Analysis of new versions. A canary without it has the default metrics.")
    ] = None
    template: Annotated[Template | None, Meta(description="Overrides for all variants.")] = None
    volumes: Volumes = field(default_factory=Volumes)
    monitoring: Monitoring = field(default_factory=Monitoring)
    network: Network = field(default_factory=Network)
    image_pull_secrets: Annotated[list[str], Meta(description="Names of Secrets for pulling images.")] = field(
        default_factory=list
    )
    service_account_name: Annotated[
        str, Meta(description="ServiceAccount of the pods, with the credentials for the storage initializer.")
    ] = ""
    node_selector: Annotated[dict[str, str], Meta(description="Labels of the nodes on which the pods may run.")] = (
        field(default_factory=dict)
    )
    tolerations: Annotated[list[dict[str, Any]], Meta(description="Tolerations of the pods, as in a PodSpec.")] = field(
        default_factory=list
    )
    allow_breaking_contract: Annotated[
        bool, Meta(description="Serve a version even if its contract breaks clients of the versions that serve now.")
    ] = False
    scale_down_delay: Annotated[
        Duration, Meta(description="Time for which a replaced version is kept without requests.")
    ] = "2m"
    history_limit: Annotated[int, Meta(ge=0, le=50, description="Number of finished runs in the status.")] = 10

    @property
    def all_variants(self) -> tuple[Variant, ...]:
        """The variants. A ``bundle`` is one variant, called ``main``, with all the weight."""
        if self.bundle is not None:
            return (Variant(name="main", bundle=self.bundle, weight=100),)
        return tuple(self.variants)


class Rollout(msgspec.Struct, frozen=True):
    """An InferenceRollout: its identity and its spec."""

    name: str
    namespace: str
    spec: RolloutSpec
    uid: str = ""
    generation: int = 0

    @property
    def model(self) -> str:
        """Name of the model in requests."""
        return self.spec.model or self.name
