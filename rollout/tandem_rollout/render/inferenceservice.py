"""The InferenceService of a variant: transformer and predictor."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tandem.bundle import MODEL_DIR
from tandem_rollout.api.fields import Quantity, seconds
from tandem_rollout.api.pods import EnvVar, Resources
from tandem_rollout.render.bundle import BUNDLE_LIMIT, Delivery, build_delivery
from tandem_rollout.render.merge import merge
from tandem_rollout.render.metadata import Object, build, empty_dir
from tandem_rollout.render.pin import CONTAINER, REPOSITORY, pin_bundle
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision
from tandem_rollout.render.security import restricted_container, restricted_pod, scratch

HTTP_PORT: Final = 8080
GRPC_PORT: Final = 8081
TRITON_METRICS_PORT: Final = 8002

DRAIN_S: Final = 8
"""Seconds for which pods serve after the start of their termination, until gateway and transformers know of it."""

_TMP_LIMIT: Final = "1Gi"
_GRACE_S: Final = 45
_GATEWAY_MARGIN_MS: Final = 250
_TRANSFORMER_RESOURCES: Final = Resources(
    requests={"cpu": "500m", "memory": "512Mi"}, limits={"cpu": "1", "memory": "1Gi"}
)
_PREDICTOR_RESOURCES: Final = Resources(
    requests={"cpu": "500m", "memory": "512Mi"}, limits={"cpu": "1", "memory": "2Gi"}
)


def build_inference_service(revision: Revision, platform: Platform) -> Object:
    """The InferenceService: in Standard mode, cluster-local, and with external autoscaling."""
    spec = revision.rollout.spec
    bundle = build_delivery(revision.variant.bundle, spec.volumes)
    service = build(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        revision.name,
        revision.rollout.namespace,
        # from the creation on: KServe does not remove the routes that it has created before
        {**revision.labels, "networking.kserve.io/visibility": "cluster-local"},
        spec={
            "transformer": _component(revision, bundle, "transformer", _transformer(revision, platform, bundle)),
            "predictor": _component(revision, bundle, "predictor", *_predictor(revision, platform, bundle)),
        },
    )
    service["metadata"]["annotations"] = {
        # explicit, as the default mode differs between KServe's installations
        "serving.kserve.io/deploymentMode": "Standard",
        # KServe then creates no autoscaler, and leaves the number of pods to the ScaledObjects
        "serving.kserve.io/autoscalerClass": "external",
    }
    if spec.predictor.runtime == "triton":
        service["spec"]["predictor"]["volumes"].append(empty_dir("repository", spec.volumes.bundle or BUNDLE_LIMIT))
    own = service["metadata"]
    for template in revision.templates:
        service = merge(service, {"metadata": template.metadata, "spec": template.spec})
    # a template cannot change the identity of the object
    labels = {**service["metadata"].get("labels", {}), **own["labels"]}
    service["metadata"] |= {"name": own["name"], "namespace": own["namespace"], "labels": labels}
    if revision.variant.bundle.digest:
        pin_bundle(service, revision.variant.bundle.digest)
    return service


def _component(
    revision: Revision, bundle: Delivery, component: str, container: Object, *init: Object
) -> dict[str, Any]:
    spec = revision.rollout.spec
    pods = {"matchLabels": {"app": f"isvc.{revision.name}-{component}"}}
    rendered: dict[str, Any] = {
        # the initial number; then the ScaledObject scales the pods
        "minReplicas": 1,
        "containers": [container],
        "volumes": [empty_dir("tmp", spec.volumes.tmp or _TMP_LIMIT), *bundle.volumes],
        "securityContext": restricted_pod(),
        # includes the sleep of preStop
        "terminationGracePeriodSeconds": _GRACE_S,
        # pods never call the API server
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "topologySpreadConstraints": [
            # not DoNotSchedule: a cluster with one node or one zone must run all pods too
            {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": pods}
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
    }
    if init_containers := [*bundle.init_containers, *init]:
        rendered["initContainers"] = init_containers
    if spec.service_account_name:
        rendered["serviceAccountName"] = spec.service_account_name
    if spec.image_pull_secrets:
        rendered["imagePullSecrets"] = [{"name": name} for name in spec.image_pull_secrets]
    if spec.node_selector:
        rendered["nodeSelector"] = dict(spec.node_selector)
    tolerations = list(spec.tolerations)
    if component == "predictor" and spec.predictor.gpu:
        # taints have the name of whole GPUs, even if the device plugin shares them
        taint = spec.predictor.gpu.resource.removesuffix(".shared")
        tolerations.append({"key": taint, "operator": "Exists", "effect": "NoSchedule"})
    if tolerations:
        rendered["tolerations"] = tolerations
    return rendered


def _transformer(revision: Revision, platform: Platform, bundle: Delivery) -> Object:
    spec, rollout = revision.rollout.spec, revision.rollout
    port = GRPC_PORT if spec.predictor.protocol == "grpc-v2" else HTTP_PORT
    timeout_ms = int(seconds(spec.route.timeout) * 1000)
    args = [
        f"--model_name={rollout.model}",
        "--model_dir=/mnt/models",
        # given here, as KServe would append its own Service, whose single address keeps connections at one pod
        f"--predictor_host={revision.pods}.{rollout.namespace}.svc:{port}",
        f"--predictor_protocol={spec.predictor.protocol}",
        f"--http_port={HTTP_PORT}",
        f"--grpc_port={GRPC_PORT}",
        # shorter than that of the gateway, so that the pod responds with an error that explains the timeout
        f"--request_timeout_ms={max(timeout_ms - _GATEWAY_MARGIN_MS, timeout_ms // 2)}",
        # last, as the last of two equal flags wins
        *spec.transformer.args,
    ]
    env = [*_env(spec.transformer.env), *bundle.env]
    if spec.store.url:
        env.append({"name": "TANDEM_STORE", "value": spec.store.url})
    elif spec.store.url_from:
        key = {"name": spec.store.url_from.name, "key": spec.store.url_from.key}
        env.append({"name": "TANDEM_STORE", "valueFrom": {"secretKeyRef": key}})
    image = spec.transformer.image or platform.transformer_image
    return _container(image, args, env, spec.transformer.resources or _TRANSFORMER_RESOURCES, bundle)


def _predictor(revision: Revision, platform: Platform, bundle: Delivery) -> tuple[Object, ...]:
    spec = revision.rollout.spec.predictor
    if spec.runtime == "triton":
        return _triton(revision, platform, bundle)
    image = spec.image or (platform.predictor_gpu_image if spec.gpu else platform.predictor_image)
    args = [
        "--model_dir=/mnt/models",
        f"--http_port={HTTP_PORT}",
        f"--grpc_port={GRPC_PORT}",
        # operators without a CUDA kernel run on the CPU
        *(["--execution_providers=cuda,cpu"] if spec.gpu else []),
        *spec.args,
    ]
    container = _container(image, args, [*_env(spec.env), *bundle.env], _predictor_resources(revision), bundle)
    return (container,)


def _triton(revision: Revision, platform: Platform, bundle: Delivery) -> tuple[Object, ...]:
    """The container of Triton, and the init container that builds its model repository from the bundle."""
    spec = revision.rollout.spec.predictor
    repository = {"name": "repository", "mountPath": "/mnt/repository"}
    build = {
        "name": REPOSITORY,
        "image": platform.predictor_image,
        "command": ["python", "-m", "tandem_predictor.triton", MODEL_DIR, "/mnt/repository"],
        "args": ["--kind=gpu" if spec.gpu else "--kind=cpu"],
        "securityContext": restricted_container(),
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "volumeMounts": [*bundle.mounts, repository, scratch()],
    }
    args = [
        "--model-repository=/mnt/repository",
        f"--http-port={HTTP_PORT}",
        f"--grpc-port={GRPC_PORT}",
        f"--metrics-port={TRITON_METRICS_PORT}",
        "--exit-on-error=true",
        "--disable-auto-complete-config",
        *spec.args,
    ]
    container = _container(
        spec.image or platform.triton_image, args, _env(spec.env), _predictor_resources(revision), bundle
    )
    # the entry point of the image runs its arguments as a command
    container["command"] = ["tritonserver"]
    container["volumeMounts"] = [repository, scratch()]
    container["ports"].append({"name": "metrics", "containerPort": TRITON_METRICS_PORT, "protocol": "TCP"})
    return container, build


def _predictor_resources(revision: Revision) -> Resources:
    spec = revision.rollout.spec.predictor
    resources = spec.resources or _PREDICTOR_RESOURCES
    if spec.gpu is None:
        return resources
    gpus: dict[str, Quantity] = {spec.gpu.resource: str(spec.gpu.count)}
    # Kubernetes requires equal requests and limits of extended resources
    return Resources(requests=resources.requests | gpus, limits=resources.limits | gpus)


def _container(image: str, args: list[str], env: list[Object], resources: Resources, bundle: Delivery) -> Object:
    def probe(path: str, **timing: int) -> Object:
        return {"httpGet": {"path": path, "port": HTTP_PORT}, "timeoutSeconds": 2, **timing}

    return {
        "name": CONTAINER,
        "image": image,
        "args": args,
        **({"env": env} if env else {}),
        # the first port is port 80 of KServe's Service; the name h2c selects HTTP/2 at the gateway
        "ports": [
            {"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"},
        ],
        "resources": msgspec.to_builtins(resources),
        "securityContext": restricted_container(),
        # own probes, as KServe would only check that the port accepts connections
        "startupProbe": probe("/v2/health/ready", periodSeconds=1, failureThreshold=600),
        "readinessProbe": probe("/v2/health/ready", periodSeconds=2, failureThreshold=2),
        "livenessProbe": probe("/v2/health/live", periodSeconds=10, failureThreshold=6),
        # a pod that ends at once answers 503 until the gateway knows that it is gone
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_S}}},
        # the controller shows the termination message
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*bundle.mounts, scratch()],
    }


def _env(variables: list[EnvVar]) -> list[Object]:
    return [msgspec.to_builtins(variable) for variable in variables]
