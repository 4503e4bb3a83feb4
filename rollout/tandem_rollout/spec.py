"""What a person writes: the spec of an ``InferenceRollout``, field by field.

The structs are the one source of the CRD's schema (:mod:`tandem_rollout.crd`): descriptions, defaults, ranges and
patterns stand here only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from tandem.errors import TandemError

Name = Annotated[str, Meta(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=14)]
RolloutName = Annotated[str, Meta(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=22)]
"""InferenceServices are named after both and a hash, and KServe labels their pods ``isvc.NAME-transformer``: a label
may have 63 characters."""

Weight = Annotated[int, Meta(ge=0, le=1000)]
Replicas = Annotated[int, Meta(ge=1, le=1000)]
_HOSTNAME = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
Hostname = Annotated[str, Meta(pattern=_HOSTNAME, max_length=253)]
Duration = Annotated[str, Meta(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$", description="Like 10s, 1m30s or 500ms.")]


_SHORTEST_TIMEOUT_S = 0.1
_LONGEST_WINDOW_S = 3600.0
"""An autoscaler looks back no further."""


class InvalidSpecError(TandemError):
    """A spec breaks a rule; the message names the field and the rule."""


class _Struct(
    msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, kw_only=True, frozen=True
):
    """Field names in camel case, as everywhere in Kubernetes."""


class SecretKey(_Struct, frozen=True):
    """A key of a Secret in the namespace of the rollout."""

    name: Annotated[str, Meta(min_length=1, description="Name of the Secret.")]
    key: Annotated[str, Meta(min_length=1, description="Key in it.")]


class Claim(_Struct, frozen=True):
    """A directory of a PersistentVolumeClaim."""

    claim_name: Annotated[str, Meta(min_length=1, description="Name of the PersistentVolumeClaim.")]
    path: Annotated[str, Meta(description="Directory of the bundle in the volume; empty for the volume itself.")] = ""


class Bundle(_Struct, frozen=True):
    """Where both halves of a version take their bundle from: exactly one of image, pvc and uri."""

    image: Annotated[str, Meta(description="OCI image that has the bundle under /models.")] = ""
    modelcar: Annotated[
        bool,
        Meta(
            description="Mount the image as a KServe modelcar instead of copying it in an init container. Starts "
            "faster with large models; not admitted where the restricted Pod Security standard is enforced."
        ),
    ] = False
    pvc: Annotated[Claim | None, Meta(description="Directory in a PersistentVolumeClaim, mounted read-only.")] = None
    uri: Annotated[
        str,
        Meta(
            pattern=r"^$|^[a-z0-9+]+://.+",
            description="s3://, gs:// or another scheme that KServe's storage initializer downloads.",
        ),
    ] = ""
    version: Annotated[
        str,
        Meta(
            pattern=r"^$|^[A-Za-z0-9][-A-Za-z0-9_.+]*$",
            description="Version that the bundle must have. Needed only where there is no controller to read it: it "
            "routes versioned paths.",
        ),
    ] = ""


class EnvVar(_Struct, frozen=True):
    """An environment variable of a container."""

    name: Annotated[str, Meta(min_length=1, description="Name of the variable.")]
    value: Annotated[str, Meta(description="Its value.")] = ""
    value_from: Annotated[
        dict[str, Any] | None, Meta(description="As in Kubernetes: secretKeyRef, configMapKeyRef, fieldRef.")
    ] = None


class Resources(_Struct, frozen=True):
    """Requests and limits of a container."""

    requests: Annotated[dict[str, str], Meta(description="What a pod is sure to get, by resource.")] = field(
        default_factory=dict
    )
    limits: Annotated[dict[str, str], Meta(description="What it gets at most, by resource.")] = field(
        default_factory=dict
    )


class Transformer(_Struct, frozen=True):
    """The half that clients talk to."""

    image: Annotated[str, Meta(description="Default: the image that the controller was installed with.")] = ""
    resources: Annotated[Resources | None, Meta(description="Default: 500m and 512Mi, limit 1Gi.")] = None
    args: Annotated[list[str], Meta(description="Further flags of the transformer.")] = field(default_factory=list)
    env: Annotated[list[EnvVar], Meta(description="Further environment variables.")] = field(default_factory=list)


class Gpu(_Struct, frozen=True):
    """GPUs of the predictor."""

    count: Annotated[int, Meta(ge=1, le=16, description="GPUs of one pod.")] = 1
    resource: Annotated[
        str, Meta(description="Resource to ask for; nvidia.com/gpu.shared where the device plugin shares GPUs.")
    ] = "nvidia.com/gpu"


class Predictor(_Struct, frozen=True):
    """The half that runs the model."""

    runtime: Annotated[
        Literal["onnxruntime", "triton"], Meta(description="Tandem's server over ONNX Runtime, or Triton.")
    ] = "onnxruntime"
    protocol: Annotated[Literal["v2", "grpc-v2"], Meta(description="How the transformer calls it.")] = "v2"
    image: Annotated[str, Meta(description="Default: the image that the controller was installed with.")] = ""
    gpu: Annotated[Gpu | None, Meta(description="Run on GPUs; on CPU without it.")] = None
    resources: Annotated[Resources | None, Meta(description="Default: 500m and 512Mi, limit 2Gi.")] = None
    args: Annotated[list[str], Meta(description="Further flags of the predictor.")] = field(default_factory=list)
    env: Annotated[list[EnvVar], Meta(description="Further environment variables.")] = field(default_factory=list)


class Store(_Struct, frozen=True):
    """The online store. At most one of url and urlFrom."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^$|^[a-z]+://([^:@/]*@)?[^@]*$",
            description="redis:// or rediss:// without a password: with one, it belongs into a Secret and urlFrom.",
        ),
    ] = ""
    url_from: Annotated[SecretKey | None, Meta(description="Secret with the whole URL, its password included.")] = None


class Scaling(_Struct, frozen=True):
    """How one half scales: on requests in flight."""

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


class Autoscaling(_Struct, frozen=True):
    """KEDA ScaledObjects for both halves of each variant."""

    transformer: Scaling = field(default_factory=Scaling)
    predictor: PredictorScaling = field(default_factory=PredictorScaling)
    prometheus: Annotated[
        str, Meta(description="Address of Prometheus. Default: the one that the controller was installed with.")
    ] = ""


class GatewayRef(_Struct, frozen=True):
    """The Gateway that the route is attached to."""

    name: Annotated[str, Meta(description="Name of the Gateway.")] = "kserve-ingress-gateway"
    namespace: Annotated[str, Meta(description="Its namespace.")] = "kserve"


class Jwt(_Struct, frozen=True):
    """Clients must present a JSON Web Token."""

    issuer: Annotated[str, Meta(min_length=1, description="Who must have issued it.")]
    jwks_uri: Annotated[str, Meta(pattern=r"^https?://.+", description="Where the issuer's keys are.")]
    audiences: Annotated[list[str], Meta(description="Whom it must be for; anybody without any.")] = field(
        default_factory=list
    )


class ApiKeys(_Struct, frozen=True):
    """Clients must present a key that is in a Secret."""

    secret_name: Annotated[str, Meta(min_length=1, description="Secret with one key for each client.")]
    header: Annotated[str, Meta(description="Request header that has the key.")] = "x-api-key"


class Auth(_Struct, frozen=True):
    """Who may ask. At most one of the two."""

    jwt: Jwt | None = None
    api_keys: ApiKeys | None = None


class Route(_Struct, frozen=True):
    """How clients reach the model."""

    gateway: GatewayRef = field(default_factory=GatewayRef)
    hostnames: Annotated[
        list[Hostname],
        Meta(
            max_length=16,
            description="Default: NAME-NAMESPACE.DOMAIN, with the domain that the controller was installed with.",
        ),
    ] = field(default_factory=list)
    timeout: Annotated[Duration, Meta(description="Longest time to an answer, at the gateway.")] = "10s"
    auth: Auth | None = None


class Template(_Struct, frozen=True):
    """Overrides, merged into the rendered InferenceService: maps by key, containers by name, other lists as a whole."""

    metadata: Annotated[dict[str, Any], Meta(description="Labels and annotations.")] = field(default_factory=dict)
    spec: Annotated[dict[str, Any], Meta(description="Its transformer and predictor, as in an InferenceService.")] = (
        field(default_factory=dict)
    )


class Variant(_Struct, frozen=True):
    """One of several versions that are served side by side."""

    name: Annotated[Name, Meta(description="Clients choose it by the header x-model-variant.")]
    bundle: Bundle
    weight: Annotated[Weight, Meta(description="Share of the requests, relative to the other variants' weights.")] = 0
    template: Annotated[Template | None, Meta(description="Overrides for this variant, after spec.template.")] = None


class Static(_Struct, frozen=True):
    """Weights as written."""


class AbTest(_Struct, frozen=True):
    """Weights as written; each unit always meets the same variant."""

    header: Annotated[str, Meta(pattern=r"^[a-z0-9-]+$", description="Request header that names the unit.")] = (
        "x-user-id"
    )


class BlueGreen(_Struct, frozen=True):
    """One variant has all the traffic; the others are reached at hosts of their own."""

    active: Annotated[Name, Meta(description="Name of the variant that clients get.")]
    preview_hostname: Annotated[
        str,
        Meta(
            pattern=rf"^$|{_HOSTNAME}",
            max_length=253,
            description="Host of the other variants. Default: preview- before the first hostname.",
        ),
    ] = ""


class Strategy(_Struct, frozen=True):
    """How requests are shared out. At most one; static without any."""

    static: Static | None = None
    ab_test: AbTest | None = None
    blue_green: BlueGreen | None = None
    canary: Annotated[dict[str, Any] | None, Meta(description="Reserved.")] = None

    @property
    def name(self) -> str:
        """``static``, ``abTest`` or ``blueGreen``."""
        if self.ab_test:
            return "abTest"
        return "blueGreen" if self.blue_green else "static"


class Monitoring(_Struct, frozen=True):
    """What watches the pods."""

    pod_monitors: Annotated[bool, Meta(description="Make PodMonitors; the autoscaling needs their metrics.")] = True
    labels: Annotated[dict[str, str], Meta(description="Labels that your Prometheus selects PodMonitors by.")] = field(
        default_factory=dict
    )


class Network(_Struct, frozen=True):
    """NetworkPolicies of the pods."""

    policies: Annotated[bool, Meta(description="Make NetworkPolicies.")] = True
    gateway_namespace: Annotated[str, Meta(description="Namespace of the gateway's proxies.")] = "envoy-gateway-system"
    monitoring_namespace: Annotated[str, Meta(description="Namespace of Prometheus.")] = "monitoring"
    store_port: Annotated[int, Meta(ge=1, le=65535, description="Port of the online store.")] = 6379
    store_namespace: Annotated[
        str, Meta(description="Namespace of the online store; anywhere on the store's port without it.")
    ] = ""


class RolloutSpec(_Struct, frozen=True):
    """Spec of an InferenceRollout."""

    model: Annotated[
        str,
        Meta(
            pattern=r"^$|^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
            max_length=63,
            description="Name under which clients ask for the model. Default: the name of the rollout.",
        ),
    ] = ""
    bundle: Annotated[
        Bundle | None, Meta(description="The only version. A change replaces it when the new one is ready.")
    ] = None
    variants: Annotated[list[Variant], Meta(max_length=7, description="Several versions, instead of bundle.")] = field(
        default_factory=list
    )
    transformer: Transformer = field(default_factory=Transformer)
    predictor: Predictor = field(default_factory=Predictor)
    store: Store = field(default_factory=Store)
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    route: Route = field(default_factory=Route)
    strategy: Strategy = field(default_factory=Strategy)
    analysis: Annotated[dict[str, Any] | None, Meta(description="Reserved.")] = None
    template: Annotated[Template | None, Meta(description="Overrides for every variant.")] = None
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
    keep_old_for: Annotated[
        Duration, Meta(description="A version that was replaced stays for so long, without traffic.")
    ] = "2m"

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


def parse(manifest: Mapping[str, Any]) -> Rollout:
    """A rollout out of its manifest, as YAML or the API server gives it.

    Raises:
        InvalidSpecError: naming the field and the rule that it breaks.
    """
    metadata = manifest.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise InvalidSpecError("metadata: must be a map")
    if not isinstance(metadata.get("namespace") or "", str):
        raise InvalidSpecError("metadata.namespace: must be a string")
    name = metadata.get("name") or ""
    try:
        msgspec.convert(name, RolloutName)
    except msgspec.ValidationError as error:
        raise InvalidSpecError(f"metadata.name: {str(error)[0].lower()}{str(error)[1:]}") from None
    try:
        spec = msgspec.convert(manifest.get("spec") or {}, RolloutSpec)
    except msgspec.ValidationError as error:
        raise InvalidSpecError(_in_words(str(error))) from None
    _check(spec)
    return Rollout(
        name, metadata.get("namespace") or "default", spec, metadata.get("uid", ""), metadata.get("generation", 0)
    )


RULES: tuple[tuple[str, str, str], ...] = (
    ("", "has(self.bundle) != (has(self.variants) && self.variants.size() > 0)", "give either bundle or variants"),
    (
        "",
        "!has(self.strategy) || !has(self.strategy.blueGreen) || "
        "(has(self.variants) && self.variants.exists(v, v.name == self.strategy.blueGreen.active))",
        "strategy.blueGreen.active must be the name of a variant",
    ),
    (
        "",
        "!has(self.variants) || self.variants.size() == 0 || (has(self.strategy) && has(self.strategy.blueGreen)) || "
        "self.variants.exists(v, has(v.weight) && v.weight > 0)",
        "at least one variant needs a weight above 0",
    ),
    (
        "strategy",
        "[has(self.static), has(self.abTest), has(self.blueGreen)].filter(x, x).size() <= 1",
        "give at most one strategy",
    ),
    ("strategy", "!has(self.canary)", "canary is reserved and not served yet"),
    (
        "",
        "!has(self.predictor) || !has(self.predictor.runtime) || self.predictor.runtime != 'triton' || "
        "(!has(self.bundle) || !(has(self.bundle.uri) && self.bundle.uri != '' || "
        "has(self.bundle.modelcar) && self.bundle.modelcar)) && "
        "(!has(self.variants) || self.variants.all(v, !(has(v.bundle.uri) && v.bundle.uri != '' || "
        "has(v.bundle.modelcar) && v.bundle.modelcar)))",
        "triton needs bundles from an image that is copied or from a pvc",
    ),
    ("route", "!has(self.timeout) || duration(self.timeout) >= duration('100ms')", "timeout must be 100ms or more"),
    ("route.auth", "!(has(self.jwt) && has(self.apiKeys))", "give either jwt or apiKeys"),
    ("store", "!(has(self.url) && self.url != '' && has(self.urlFrom))", "give either url or urlFrom"),
    (
        "bundle",
        "[has(self.image) && self.image != '', has(self.pvc), has(self.uri) && self.uri != '']"
        ".filter(x, x).size() == 1",
        "give exactly one of image, pvc and uri",
    ),
    (
        "bundle",
        "!has(self.modelcar) || !self.modelcar || (has(self.image) && self.image != '')",
        "modelcar needs an image",
    ),
    *(
        (f"autoscaling.{half}", rule, message)
        for half in ("transformer", "predictor")
        for rule, message in (
            (
                "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
                "minReplicas must not be above maxReplicas",
            ),
            (
                "!has(self.scaleDownAfter) || duration(self.scaleDownAfter) <= duration('1h')",
                "scaleDownAfter may be 1h at most",
            ),
        )
    ),
)
"""Rules that span fields: where (a path in the spec; ``bundle`` is meant wherever there is one), as CEL for the API
server, and in words. :func:`parse` enforces the same."""


def _check(spec: RolloutSpec) -> None:
    """The rules that span fields, for those who have no API server."""
    variants = spec.all_variants
    strategy, names = spec.strategy, [variant.name for variant in variants]
    if (spec.bundle is None) == (not spec.variants):
        raise InvalidSpecError("spec: give either bundle or variants")
    if len(set(names)) < len(names):
        raise InvalidSpecError("spec.variants: names of variants must differ")
    if sum(given is not None for given in (strategy.static, strategy.ab_test, strategy.blue_green)) > 1:
        raise InvalidSpecError("spec.strategy: give at most one strategy")
    if strategy.canary is not None:
        raise InvalidSpecError("spec.strategy: canary is reserved and not served yet")
    if strategy.blue_green and (spec.bundle is not None or strategy.blue_green.active not in names):
        raise InvalidSpecError("spec.strategy.blueGreen.active: must be the name of a variant")
    if not strategy.blue_green and not any(variant.weight for variant in variants):
        raise InvalidSpecError("spec.variants: at least one variant needs a weight above 0")
    if spec.store.url and spec.store.url_from:
        raise InvalidSpecError("spec.store: give either url or urlFrom")
    if seconds(spec.route.timeout) < _SHORTEST_TIMEOUT_S:
        raise InvalidSpecError("spec.route: timeout must be 100ms or more")
    if spec.route.auth and spec.route.auth.jwt and spec.route.auth.api_keys:
        raise InvalidSpecError("spec.route.auth: give either jwt or apiKeys")
    for where, env in (("transformer", spec.transformer.env), ("predictor", spec.predictor.env)):
        if len({variable.name for variable in env}) < len(env):
            raise InvalidSpecError(f"spec.{where}.env: names of variables must differ")
    for where, half in (("transformer", spec.autoscaling.transformer), ("predictor", spec.autoscaling.predictor)):
        if half.min_replicas > half.max_replicas:
            raise InvalidSpecError(f"spec.autoscaling.{where}: minReplicas must not be above maxReplicas")
        if seconds(half.scale_down_after) > _LONGEST_WINDOW_S:
            raise InvalidSpecError(f"spec.autoscaling.{where}: scaleDownAfter may be 1h at most")
    _check_template("spec.template", spec.template)
    for variant in variants:
        _check_template(f"variant {variant.name!r}, template", variant.template)
        where = "spec.bundle" if spec.bundle else f"variant {variant.name!r}, bundle"
        _check_bundle(where, variant.bundle)
        # its model repository is built before KServe brings such a bundle
        if spec.predictor.runtime == "triton" and (variant.bundle.uri or variant.bundle.modelcar):
            raise InvalidSpecError(f"{where}: triton needs bundles from an image that is copied or from a pvc")


def _check_bundle(where: str, bundle: Bundle) -> None:
    if sum(map(bool, (bundle.image, bundle.pvc, bundle.uri))) != 1:
        raise InvalidSpecError(f"{where}: give exactly one of image, pvc and uri")
    if bundle.modelcar and not bundle.image:
        raise InvalidSpecError(f"{where}: modelcar needs an image")


def _check_template(where: str, template: Template | None) -> None:
    """That the overrides fit onto an InferenceService; what is in them is the API server's to judge."""
    if template is None:
        return
    for name in ("labels", "annotations"):
        given = template.metadata.get(name) or {}
        if not isinstance(given, dict) or not all(isinstance(value, str | None) for value in given.values()):
            raise InvalidSpecError(f"{where}.metadata.{name}: must be a map of strings")
    for half in ("transformer", "predictor"):
        given = template.spec.get(half, {})
        if not isinstance(given, dict):
            raise InvalidSpecError(f"{where}.spec.{half}: must be a map")
        for name in ("containers", "initContainers"):
            containers = given.get(name) or []
            named = isinstance(containers, list) and all(
                isinstance(each, dict) and isinstance(each.get("name"), str) for each in containers
            )
            if not named:
                raise InvalidSpecError(f"{where}.spec.{half}.{name}: must be a list of containers with names")


def _in_words(error: str) -> str:
    """A message of msgspec's, with the path first and in the form of ``kubectl explain``."""
    message, _, path = error.partition(" - at `$")
    where = path.rstrip("`") if path else ""
    return f"spec{where}: {message[:1].lower()}{message[1:]}"


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(duration: str) -> float:
    """Seconds of a duration such as ``1m30s``."""
    return sum(float(value) * _UNITS[unit] for value, unit in re.findall(r"(\d+)(ms|h|m|s)", duration))
