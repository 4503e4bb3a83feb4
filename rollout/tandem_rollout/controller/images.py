"""The images of a revision stay what they were when it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tandem_rollout.render import Object


def freeze_images(service: Object, live: Mapping[str, Any]) -> None:
    """Give a rendered InferenceService the images of the one in the cluster.

    A newer controller has newer default images; they are for new revisions, and must not roll the pods of those that
    serve. An image that a person writes is part of the revision's name, so it cannot differ.
    """
    for component in ("transformer", "predictor"):
        images = {
            each["name"]: each["image"] for each in _containers(live["spec"].get(component) or {}) if each.get("image")
        }
        for container in _containers(service["spec"][component]):
            if image := images.get(container["name"]):
                container["image"] = image


def _containers(component: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*(component.get("initContainers") or ()), *(component.get("containers") or ())]
