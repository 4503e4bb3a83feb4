"""The part of the spec that describes pods: the bundle, the containers of transformer and predictor, their volumes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from tandem_rollout.api.fields import BUNDLE_DIGEST, BUNDLE_URI, BUNDLE_VERSION, Quantity, Struct


class VolumeClaim(Struct, frozen=True):
    """A directory of a PersistentVolumeClaim."""

    claim_name: Annotated[str, Meta(min_length=1, description="Name of the PersistentVolumeClaim.")]
    path: Annotated[
        str, Meta(description="Directory of the bundle in the volume. Default: the root of the volume.")
    ] = ""


class BundleSource(Struct, frozen=True):
    """Where transformer and predictor get the bundle from. Exactly one of image, pvc and uri must be set."""

    image: Annotated[str, Meta(description="OCI image that contains the bundle in /models.")] = ""
    modelcar: Annotated[
        bool,
        Meta(
            description="Mount the image as a KServe modelcar instead of copying it in an init container. Large models "
            "start faster. The restricted Pod Security standard does not admit modelcars."
        ),
    ] = False
    pvc: Annotated[
        VolumeClaim | None, Meta(description="Directory of a PersistentVolumeClaim. It is mounted read-only.")
    ] = None
    uri: Annotated[
        str,
        Meta(
            pattern=BUNDLE_URI,
            max_length=2048,
            description="URI with s3://, gs:// or another scheme that KServe's storage initializer supports.",
        ),
    ] = ""
    version: Annotated[
        str,
        Meta(
            pattern=BUNDLE_VERSION,
            max_length=128,
            description="Version that the bundle must have. It is needed for versioned paths in manifests that are "
            "rendered without the controller.",
        ),
    ] = ""
    digest: Annotated[
        str,
        Meta(
            pattern=BUNDLE_DIGEST,
            max_length=64,
            description="Digest that the bundle must have, as `tandem` prints it. Pods reject a bundle with another "
            "digest. Default: the digest of the bundle at the first verification of the revision, to which the "
            "controller pins its pods by starting them a second time.",
        ),
    ] = ""


class EnvVar(Struct, frozen=True):
    """An environment variable of a container."""

    name: Annotated[str, Meta(min_length=1, description="Name of the variable.")]
    value: Annotated[str, Meta(description="Value of the variable.")] = ""
    value_from: Annotated[
        dict[str, Any] | None,
        Meta(description="Source of the value, as in Kubernetes: secretKeyRef, configMapKeyRef or fieldRef."),
    ] = None


class Resources(Struct, frozen=True):
    """Resource requests and limits of a container."""

    requests: Annotated[dict[str, Quantity], Meta(description="Requested amounts by resource.")] = field(
        default_factory=dict
    )
    limits: Annotated[dict[str, Quantity], Meta(description="Limits by resource.")] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # 2 and "2" are the same amount: a change of the notation must not start a rollout
        for name in ("requests", "limits"):
            amounts = {resource: str(amount) for resource, amount in getattr(self, name).items()}
            msgspec.structs.force_setattr(self, name, amounts)


class Volumes(Struct, frozen=True):
    """Size limits of the emptyDir volumes of a pod. The kubelet evicts a pod that exceeds one."""

    tmp: Annotated[
        Quantity, Meta(description="Size limit of /tmp, which the containers of a pod share. Default: 1Gi.")
    ] = ""
    bundle: Annotated[
        Quantity,
        Meta(
            description="Size limit of the copy of the bundle, and of the model repository that is built from it for "
            "Triton. Default: 20Gi."
        ),
    ] = ""

    def __post_init__(self) -> None:
        for name in ("tmp", "bundle"):
            msgspec.structs.force_setattr(self, name, str(getattr(self, name)))


class TransformerSpec(Struct, frozen=True):
    """The transformer, which receives the requests of clients."""

    image: Annotated[
        str, Meta(description="Image of the transformer. Default: the image that the controller was installed with.")
    ] = ""
    resources: Annotated[
        Resources | None,
        Meta(description="Resources of the transformer. Default: 500m and 512Mi, with a memory limit of 1Gi."),
    ] = None
    args: Annotated[list[str], Meta(description="Additional flags of the transformer.")] = field(default_factory=list)
    env: Annotated[list[EnvVar], Meta(description="Additional environment variables.")] = field(default_factory=list)


class Gpu(Struct, frozen=True):
    """GPUs of the predictor."""

    count: Annotated[int, Meta(ge=1, le=16, description="Number of GPUs of a pod.")] = 1
    resource: Annotated[
        str, Meta(description="Resource name of the GPUs. Use nvidia.com/gpu.shared if the device plugin shares GPUs.")
    ] = "nvidia.com/gpu"


class PredictorSpec(Struct, frozen=True):
    """The predictor, which runs the model."""

    runtime: Annotated[
        Literal["onnxruntime", "triton"], Meta(description="Server of the model: Tandem's own, or Triton.")
    ] = "onnxruntime"
    protocol: Annotated[Literal["v2", "grpc-v2"], Meta(description="Protocol between transformer and predictor.")] = (
        "v2"
    )
    image: Annotated[
        str, Meta(description="Image of the predictor. Default: the image that the controller was installed with.")
    ] = ""
    gpu: Annotated[Gpu | None, Meta(description="GPUs of the predictor. Without it the model runs on CPUs.")] = None
    resources: Annotated[
        Resources | None,
        Meta(description="Resources of the predictor. Default: 500m and 512Mi, with a memory limit of 2Gi."),
    ] = None
    args: Annotated[list[str], Meta(description="Additional flags of the predictor.")] = field(default_factory=list)
    env: Annotated[list[EnvVar], Meta(description="Additional environment variables.")] = field(default_factory=list)
