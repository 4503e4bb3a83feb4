"""What a person writes: the spec of an ``InferenceRollout``, field by field.

The structs, with those of :mod:`.strategy` and :mod:`.gates`, are the one source of the CRD's schema
(:mod:`tandem_rollout.api.crd`): descriptions, defaults, ranges and patterns stand there only.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, field

from tandem_rollout.api.analysis import Analysis
from tandem_rollout.api.fields import (
    BUNDLE_DIGEST,
    BUNDLE_URI,
    BUNDLE_VERSION,
    HTTPS_URL,
    MODEL,
    STORE_URL,
    Duration,
    Hostname,
    Name,
    Quantity,
    Replicas,
    Struct,
    Weight,
)
from tandem_rollout.api.strategy import Strategy


class SecretKey(Struct, frozen=True):
    """A key of a Secret in the namespace of the rollout."""

    name: Annotated[str, Meta(min_length=1, description="Name of the Secret.")]
    key: Annotated[str, Meta(min_length=1, description="Key in it.")]


class VolumeClaim(Struct, frozen=True):
    """A directory of a PersistentVolumeClaim."""

    claim_name: Annotated[str, Meta(min_length=1, description="Name of the PersistentVolumeClaim.")]
    path: Annotated[str, Meta(description="Directory of the bundle in the volume; empty for the volume itself.")] = ""


class BundleSource(Struct, frozen=True):
    """Where both components of a version take their bundle from: exactly one of image, pvc and uri."""

    image: Annotated[str, Meta(description="OCI image that has the bundle under /models.")] = ""
    modelcar: Annotated[
        bool,
        Meta(
            description="Mount the image as a KServe modelcar instead of copying it in an init container. Starts "
            "faster with large models; not admitted where the restricted Pod Security standard is enforced."
        ),
    ] = False
    pvc: Annotated[VolumeClaim | None, Meta(description="Directory in a PersistentVolumeClaim, mounted read-only.")] = (
        None
    )
    uri: Annotated[
        str,
        Meta(
            pattern=BUNDLE_URI,
            max_length=2048,
            description="s3://, gs:// or another scheme that KServe's storage initializer downloads.",
        ),
    ] = ""
    version: Annotated[
        str,
        Meta(
            pattern=BUNDLE_VERSION,
            max_length=128,
            description="Version that the bundle must have. Needed only where there is no controller to read it: it "
            "routes versioned paths.",
        ),
    ] = ""
    digest: Annotated[
        str,
        Meta(
            pattern=BUNDLE_DIGEST,
            max_length=64,
            description="Digest that the bundle must have, as `tandem` prints it: pods refuse another one. Without it "
            "the controller pins the digest that a revision has at its first verification, for which its pods start a "
            "second time.",
        ),
    ] = ""


class EnvVar(Struct, frozen=True):
    """An environment variable of a container."""

    name: Annotated[str, Meta(min_length=1, description="Name of the variable.")]
    value: Annotated[str, Meta(description="Its value.")] = ""
    value_from: Annotated[
        dict[str, Any] | None, Meta(description="As in Kubernetes: secretKeyRef, configMapKeyRef, fieldRef.")
    ] = None


class Resources(Struct, frozen=True):
    """Requests and limits of a container."""

    requests: Annotated[dict[str, Quantity], Meta(description="What a pod is sure to get, by resource.")] = field(
        default_factory=dict
    )
    limits: Annotated[dict[str, Quantity], Meta(description="What it gets at most, by resource.")] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        # 2 and "2" are one amount: WHOEVER writes the other form starts no rollout
        for name in ("requests", "limits"):
            amounts = {resource: str(amount) for resource, amount in getattr(self, name).items()}
            msgspec.structs.force_setattr(self, name, amounts)


class Volumes(Struct, frozen=True):
    """Limits of the volumes that live as long as a pod. A pod that writes more is evicted."""

    tmp: Annotated[
        Quantity, Meta(description="Most that the containers of a pod may write to /tmp together. Default: 1Gi.")
    ] = ""
    bundle: Annotated[
        Quantity,
        Meta(
            description="Largest bundle that a pod copies out of its image, and largest model repository that is made "
            "of one for Triton. Default: 20Gi."
        ),
    ] = ""

    def __post_init__(self) -> None:
        for name in ("tmp", "bundle"):
            msgspec.structs.force_setattr(self, name, str(getattr(self, name)))


class TransformerSpec(Struct, frozen=True):
    """The component that clients talk to."""

    image: Annotated[str, Meta(description="Default: the image that the controller was installed with.")] = ""
    resources: Annotated[Resources | None, Meta(description="Default: 500m and 512Mi, limit 1Gi.")] = None
    args: Annotated[list[str], Meta(description="Further flags of the transformer.")] = field(default_factory=list)
    env: Annotated[list[EnvVar], Meta(description="Further environment variables.")] = field(default_factory=list)


class Gpu(Struct, frozen=True):
    """GPUs of the predictor."""

    count: Annotated[int, Meta(ge=1, le=16, description="GPUs of one pod.")] = 1
    resource: Annotated[
        str, Meta(description="Resource to ask for; nvidia.com/gpu.shared where the device plugin shares GPUs.")
    ] = "nvidia.com/gpu"


class PredictorSpec(Struct, frozen=True):
    """The component that runs the model."""

    runtime: Annotated[
        Literal["onnxruntime", "triton"], Meta(description="Tandem's server over ONNX Runtime, or Triton.")
    ] = "onnxruntime"
    protocol: Annotated[Literal["v2", "grpc-v2"], Meta(description="How the transformer calls it.")] = "v2"
    image: Annotated[str, Meta(description="Default: the image that the controller was installed with.")] = ""
    gpu: Annotated[Gpu | None, Meta(description="Run on GPUs; on CPU without it.")] = None
    resources: Annotated[Resources | None, Meta(description="Default: 500m and 512Mi, limit 2Gi.")] = None
    args: Annotated[list[str], Meta(description="Further flags of the predictor.")] = field(default_factory=list)
    env: Annotated[list[EnvVar], Meta(description="Further environment variables.")] = field(default_factory=list)


REDIS_PORT: Final = 6379
"""Port of a store whose URL names none."""


class Store(Struct, frozen=True):
    """The online store. At most one of url and urlFrom."""

    url: Annotated[
        str,
        Meta(
            pattern=STORE_URL,
            max_length=2048,
            description="redis://, rediss:// or unix:// without a password: with one, it belongs into a Secret and "
            "urlFrom.",
        ),
    ] = ""
    url_from: Annotated[SecretKey | None, Meta(description="Secret with the whole URL, its password included.")] = None

    @property
    def url_port(self) -> int | None:
        """TCP port of ``url``; None without one, and for a socket of the pod's own."""
        scheme, _, place = self.url.partition("://")
        if scheme not in ("redis", "rediss"):
            return None
        # the address of an IPv6 host is in brackets and has colons of its own
        port = place.partition("/")[0].partition("?")[0].rpartition("@")[2].rpartition("]")[2].partition(":")[2]
        return int(port or REDIS_PORT)


class Scaling(Struct, frozen=True):
    """How one component scales: on requests in flight."""

    min_replicas: Annotated[Replicas, Meta(description="Fewest pods of a variant.")] = 1
    max_replicas: Annotated[Replicas, Meta(description="Most pods of a variant.")] = 4
    inflight_per_pod: Annotated[
        int, Meta(ge=1, le=10_000, description="Requests in flight that one pod should have at most, on average.")
    ] = 8
    scale_down_after: Annotated[Duration, Meta(description="Fewer pods only when fewer were enough for so long.")] = (
        "5m"
    )


class PredictorScaling(Scaling, frozen=True):
    """How the predictor scales. What is in flight there are batches, each of many requests."""

    inflight_per_pod: Annotated[
        int, Meta(ge=1, le=10_000, description="Batches in flight that one pod should have at most, on average.")
    ] = 4


class Autoscaling(Struct, frozen=True):
    """KEDA ScaledObjects for both components of each variant."""

    transformer: Scaling = field(default_factory=Scaling)
    predictor: PredictorScaling = field(default_factory=PredictorScaling)
    prometheus: Annotated[
        str,
        Meta(
            description="Address of Prometheus: one that the installation allows. Default: the one that the controller "
            "was installed with."
        ),
    ] = ""


class GatewayRef(Struct, frozen=True):
    """The Gateway that the route is attached to."""

    name: Annotated[str, Meta(description="Name of the Gateway.")] = "kserve-ingress-gateway"
    namespace: Annotated[str, Meta(description="Its namespace.")] = "kserve"


class Jwt(Struct, frozen=True):
    """Clients must present a JSON Web Token."""

    issuer: Annotated[str, Meta(min_length=1, description="Who must have issued it.")]
    jwks_uri: Annotated[str, Meta(pattern=HTTPS_URL, max_length=2048, description="Where the issuer's keys are.")]
    audiences: Annotated[list[str], Meta(description="Whom it must be for; anybody without any.")] = field(
        default_factory=list
    )


class ApiKeys(Struct, frozen=True):
    """Clients must present a key that is in a Secret."""

    secret_name: Annotated[str, Meta(min_length=1, description="Secret with one key for each client.")]
    header: Annotated[str, Meta(description="Request header that has the key.")] = "x-api-key"


class Auth(Struct, frozen=True):
    """Who may ask. At most one of the two."""

    jwt: Jwt | None = None
    api_keys: ApiKeys | None = None


class Pin(Struct, frozen=True):
    """Requests whose client chooses the variant: by the header x-model-variant, or by the version in the path.

    They are never evidence for or against a version.
    """

    enabled: Annotated[
        bool, Meta(description="Whether clients may choose. If not, the weights decide about every request.")
    ] = True
    auth: Annotated[
        Auth | None, Meta(description="Who may choose, and use the preview host. Default: WHOEVER route.auth lets ask.")
    ] = None


class Route(Struct, frozen=True):
    """How clients reach the model."""

    gateway: GatewayRef = field(default_factory=GatewayRef)
    hostnames: Annotated[
        list[Hostname],
        Meta(
            max_length=16,
            description="Default: NAME.NAMESPACE.DOMAIN, with the domain that the controller was installed with.",
        ),
    ] = field(default_factory=list)
    timeout: Annotated[Duration, Meta(description="Longest time to an answer, at the gateway.")] = "10s"
    auth: Auth | None = None
    pin: Pin = field(default_factory=Pin)


class Template(Struct, frozen=True):
    """Overrides, merged into the rendered InferenceService: maps by key, containers by name, other lists as a whole."""

    metadata: Annotated[dict[str, Any], Meta(description="Labels and annotations.")] = field(default_factory=dict)
    spec: Annotated[dict[str, Any], Meta(description="Its transformer and predictor, as in an InferenceService.")] = (
        field(default_factory=dict)
    )


class Variant(Struct, frozen=True):
    """One of several versions that are served side by side."""

    name: Annotated[
        Name, Meta(description="Clients choose it by the header x-model-variant, unless route.pin says otherwise.")
    ]
    bundle: BundleSource
    weight: Annotated[Weight, Meta(description="Share of the requests, relative to the other variants' weights.")] = 0
    template: Annotated[Template | None, Meta(description="Overrides for this variant, after spec.template.")] = None


class Monitoring(Struct, frozen=True):
    """What watches the pods."""

    pod_monitors: Annotated[bool, Meta(description="Make PodMonitors; the autoscaling needs their metrics.")] = True
    labels: Annotated[dict[str, str], Meta(description="Labels that your Prometheus selects PodMonitors by.")] = field(
        default_factory=dict
    )


class Network(Struct, frozen=True):
    """NetworkPolicies of the pods."""

    policies: Annotated[bool, Meta(description="Make NetworkPolicies.")] = True
    gateway_namespace: Annotated[str, Meta(description="Namespace of the gateway's proxies.")] = "envoy-gateway-system"
    monitoring_namespace: Annotated[str, Meta(description="Namespace of Prometheus.")] = "monitoring"
    store_port: Annotated[
        int, Meta(ge=1, le=65535, description="Port of the online store, for store.urlFrom. store.url has its own.")
    ] = REDIS_PORT
    store_namespace: Annotated[
        str, Meta(description="Namespace of the online store; anywhere on the store's port without it.")
    ] = ""


class RolloutSpec(Struct, frozen=True):
    """Spec of an InferenceRollout."""

    model: Annotated[
        str,
        Meta(
            pattern=MODEL,
            max_length=63,
            description="Name under which clients ask for the model. Default: the name of the rollout.",
        ),
    ] = ""
    bundle: Annotated[
        BundleSource | None, Meta(description="The only version. A change replaces it when the new one is ready.")
    ] = None
    variants: Annotated[list[Variant], Meta(max_length=7, description="Several versions, instead of bundle.")] = field(
        default_factory=list
    )
    transformer: TransformerSpec = field(default_factory=TransformerSpec)
    predictor: PredictorSpec = field(default_factory=PredictorSpec)
    store: Store = field(default_factory=Store)
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    route: Route = field(default_factory=Route)
    strategy: Strategy = field(default_factory=Strategy)
    analysis: Annotated[
        Analysis | None, Meta(description="What decides. Without it a canary has the default metrics.")
    ] = None
    template: Annotated[Template | None, Meta(description="Overrides for every variant.")] = None
    volumes: Volumes = field(default_factory=Volumes)
    monitoring: Monitoring = field(default_factory=Monitoring)
    network: Network = field(default_factory=Network)
    image_pull_secrets: Annotated[list[str], Meta(description="Names of Secrets.")] = field(default_factory=list)
    service_account_name: Annotated[
        str, Meta(description="ServiceAccount of the pods, with what the storage initializer needs.")
    ] = ""
    node_selector: Annotated[dict[str, str], Meta(description="Labels of the nodes that the pods may run on.")] = field(
        default_factory=dict
    )
    tolerations: Annotated[list[dict[str, Any]], Meta(description="Taints that the pods tolerate, as in a pod.")] = (
        field(default_factory=list)
    )
    allow_breaking_contract: Annotated[
        bool, Meta(description="Serve a version even if its contract breaks clients of the versions that serve now.")
    ] = False
    scale_down_delay: Annotated[
        Duration, Meta(description="A version that was replaced stays for so long, without traffic.")
    ] = "2m"
    history_limit: Annotated[int, Meta(ge=0, le=50, description="How many finished runs the status tells of.")] = 10

    @property
    def all_variants(self) -> tuple[Variant, ...]:
        """The variants; one called ``main``, with all the weight, for a ``bundle``."""
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
        """Name under which clients ask for the model."""
        return self.spec.model or self.name
