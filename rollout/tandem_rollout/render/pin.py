"""Pins the pods of a revision to the digest of a bundle, as the content of a tag or a claim may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tandem.bundle import DIGEST_VARIABLE
from tandem_rollout import GROUP
from tandem_rollout.render.metadata import Object

DIGEST: Final = f"{GROUP}/bundle-digest"
"""Annotation of an InferenceService: digest to which its pods are pinned; empty until it is known."""

PINNED_LABEL: Final = f"{GROUP}/bundle-digest"
"""Label of an InferenceService and its pods: a prefix of that digest that fits into a label."""

_LABEL_LENGTH: Final = 16

REPOSITORY: Final = "model-repository"
"""Name of the init container that builds Triton's model repository."""

CONTAINER: Final = "kserve-container"
"""Name of the main container of a component, which KServe defines."""


def pin_bundle(service: Object, digest: str) -> None:
    """Pin the pods of an InferenceService to a digest: they reject other bundles.

    Args:
        service: The InferenceService, which is changed in place.
        digest: The digest; empty to pin it when the digest is known.
    """
    service["metadata"].setdefault("annotations", {})[DIGEST] = digest
    if not digest:
        return
    # KServe copies labels to the pods, so that pods with the pin are told from those before
    service["metadata"]["labels"][PINNED_LABEL] = digest[:_LABEL_LENGTH]
    for component in ("transformer", "predictor"):
        rendered = service["spec"][component]
        for container in [*rendered.get("initContainers", ()), *rendered["containers"]]:
            # sidecars of a template have no bundle
            if container["name"] in (CONTAINER, REPOSITORY):
                variables = [variable for variable in container.get("env", ()) if variable["name"] != DIGEST_VARIABLE]
                container["env"] = [*variables, {"name": DIGEST_VARIABLE, "value": digest}]


def pinned_digest(service: Mapping[str, Any] | None) -> str | None:
    """The digest to which the pods of an InferenceService are pinned.

    Returns:
        The digest; empty if it is not known yet; None if the pods are not to be pinned.
    """
    digest = ((service or {}).get("metadata", {}).get("annotations") or {}).get(DIGEST)
    return None if digest is None else str(digest)


def is_pinned_to(pod: Mapping[str, Any], digest: str) -> bool:
    """Whether a pod is pinned to a digest."""
    return bool((pod["metadata"].get("labels") or {}).get(PINNED_LABEL) == digest[:_LABEL_LENGTH])
