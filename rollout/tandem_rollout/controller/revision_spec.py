"""Keeps the spec of an existing revision unchanged when a newer controller renders it differently."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tandem_rollout import GROUP
from tandem_rollout.render import Object

RENDERED: Final = f"{GROUP}/rendered"
"""Annotation of an InferenceService: digest of its spec when it was created."""


def freeze(service: Object, live: Mapping[str, Any] | None) -> bool:
    """Prepare a rendered InferenceService to be applied over the one in the cluster.

    A newer controller has newer default images, and may render other flags or probes. They apply to new revisions only:
    pods that serve must not be restarted. The fields of the rollout's spec are part of the revision's name and cannot
    differ.

    Args:
        service: The rendered InferenceService. It gets the images of the live one, and the annotation.
        live: The InferenceService in the cluster; None if there is none.

    Returns:
        Whether it may be applied. False if it would change more than foreign edits: then the live one is kept.
    """
    if live is not None:
        _keep_images(service, live)
    digest = hashlib.sha256(msgspec.json.encode(service["spec"], order="sorted")).hexdigest()[:16]
    annotations = (live["metadata"].get("annotations") if live else None) or {}
    recorded = annotations.get(RENDERED, digest)
    service["metadata"]["annotations"] = {**service["metadata"].get("annotations", {}), RENDERED: recorded}
    return bool(recorded == digest)


def _keep_images(service: Object, live: Mapping[str, Any]) -> None:
    for component in ("transformer", "predictor"):
        images = {
            container["name"]: container["image"]
            for container in _containers(live["spec"].get(component) or {})
            if container.get("image")
        }
        for container in _containers(service["spec"][component]):
            if image := images.get(container["name"]):
                container["image"] = image


def _containers(component: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*(component.get("initContainers") or ()), *(component.get("containers") or ())]
