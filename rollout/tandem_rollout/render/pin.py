"""The digest of the bundle that the pods of a revision take: no other, whatever a tag or a claim holds later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tandem.bundle import DIGEST_VARIABLE
from tandem_rollout import GROUP
from tandem_rollout.render.metadata import Object

DIGEST: Final = f"{GROUP}/bundle-digest"
"""Annotation of an InferenceService: the digest to which its pods are pinned; empty until it is known."""

PINNED_LABEL: Final = f"{GROUP}/bundle-digest"
"""Label of an InferenceService and its pods: the beginning of that digest, as much as a label holds."""

_LABEL_LENGTH: Final = 16

REPOSITORY: Final = "model-repository"
"""The init container that makes Triton's model repository of a bundle."""

CONTAINER: Final = "kserve-container"
"""KServe looks for a container of this name in each component."""


def pin_bundle(service: Object, digest: str) -> None:
    """Have the pods of an InferenceService refuse every other bundle.

    Args:
        service: The InferenceService, which is changed.
        digest: The digest; empty where it is to be pinned as soon as it is known.
    """
    service["metadata"].setdefault("annotations", {})[DIGEST] = digest
    if not digest:
        return
    service["metadata"]["labels"][PINNED_LABEL] = digest[:_LABEL_LENGTH]
    for component in ("transformer", "predictor"):
        rendered = service["spec"][component]
        for container in [*rendered.get("initContainers", ()), *rendered["containers"]]:
            if container["name"] in (CONTAINER, REPOSITORY):
                variables = [variable for variable in container.get("env", ()) if variable["name"] != DIGEST_VARIABLE]
                container["env"] = [*variables, {"name": DIGEST_VARIABLE, "value": digest}]


def pinned_digest(service: Mapping[str, Any] | None) -> str | None:
    """The digest to which the pods of an InferenceService are pinned.

    Returns:
        Empty where it is not known yet; None where they are not to be pinned.
    """
    digest = ((service or {}).get("metadata", {}).get("annotations") or {}).get(DIGEST)
    return None if digest is None else str(digest)


def is_pinned_to(pod: Mapping[str, Any], digest: str) -> bool:
    """Whether a pod is pinned to a digest."""
    return bool((pod["metadata"].get("labels") or {}).get(PINNED_LABEL) == digest[:_LABEL_LENGTH])
