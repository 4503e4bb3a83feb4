"""Delivery of the bundle to ``/mnt/models`` of both components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.bundle import MODEL_DIR
from tandem_rollout.api.pods import BundleSource, Volumes
from tandem_rollout.render.metadata import Object, empty_dir
from tandem_rollout.render.security import restricted_container

BUNDLE_LIMIT: Final = "20Gi"
"""Default size limit of volumes with a copy of the bundle."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The parts of a pod that deliver the bundle.

    Attributes:
        init_containers: Init containers.
        volumes: Volumes of the pod.
        mounts: Mounts of the containers.
        env: Environment of the server; KServe's webhook reads ``STORAGE_URI`` there.
    """

    init_containers: tuple[Object, ...] = ()
    volumes: tuple[Object, ...] = ()
    mounts: tuple[Object, ...] = ()
    env: tuple[Object, ...] = ()


def build_delivery(bundle: BundleSource, volumes: Volumes) -> Delivery:
    """The delivery of a bundle: copied from its image, mounted from a claim, or by KServe's webhook."""
    if bundle.uri or bundle.modelcar:
        uri = bundle.uri or f"oci://{bundle.image}"
        return Delivery(env=({"name": "STORAGE_URI", "value": uri},))
    mount: Object = {"name": "bundle", "mountPath": MODEL_DIR}
    if bundle.pvc:
        claim = {"claimName": bundle.pvc.claim_name, "readOnly": True}
        where = {"subPath": bundle.pvc.path} if bundle.pvc.path else {}
        volume = {"name": "bundle", "persistentVolumeClaim": claim}
        return Delivery(volumes=(volume,), mounts=({**mount, "readOnly": True, **where},))
    copy = {
        "name": "bundle",
        "image": bundle.image,
        # KServe's model cars break the restricted Pod Security standard; an init container of our own does not
        "command": ["cp", "-r", "/models/.", MODEL_DIR],
        "securityContext": restricted_container(),
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [dict(mount)],
    }
    return Delivery((copy,), (empty_dir("bundle", volumes.bundle or BUNDLE_LIMIT),), ({**mount, "readOnly": True},))
