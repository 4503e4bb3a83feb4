"""A revision: one variant as it was written at one time. It is never changed, only replaced."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from tandem_rollout import GROUP
from tandem_rollout.api.pods import PredictorSpec, Volumes
from tandem_rollout.api.spec import Rollout, Template, Variant

ROLLOUT_LABEL = f"{GROUP}/rollout"
VARIANT_LABEL = f"{GROUP}/variant"
REVISION_LABEL = f"{GROUP}/revision"
MANAGED_BY = {"app.kubernetes.io/managed-by": "tandem"}


@dataclass(frozen=True, slots=True)
class Revision:
    """A variant of a rollout, and the hash of all that its pods are made of.

    Attributes:
        rollout: The rollout.
        variant: The variant.
        hash: Eight hexadecimal digits.
    """

    rollout: Rollout
    variant: Variant
    hash: str

    @classmethod
    def of(cls, rollout: Rollout, variant: Variant) -> Revision:
        """The revision of a variant as the spec has it now."""
        return cls(rollout, variant, revision_hash(rollout, variant))

    @property
    def name(self) -> str:
        """Name of the InferenceService."""
        return f"{self.rollout.name}-{self.variant.name}-{self.hash}"

    @property
    def transformer(self) -> str:
        """Name of its transformer's Deployment and Service."""
        return f"{self.name}-transformer"

    @property
    def predictor(self) -> str:
        """Name of its predictor's Deployment and Service."""
        return f"{self.name}-predictor"

    @property
    def pods(self) -> str:
        """Name of the headless Service of its predictor's pods."""
        return f"{self.name}-pods"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every object that belongs to it; KServe hands those of the InferenceService on to the pods."""
        return {
            **rollout_labels(self.rollout),
            VARIANT_LABEL: self.variant.name,
            REVISION_LABEL: self.hash,
        }

    @property
    def templates(self) -> tuple[Template, ...]:
        """Overrides, in the order in which they are merged."""
        overrides = (self.rollout.spec.template, self.variant.template)
        return tuple(template for template in overrides if template is not None)


def rollout_labels(rollout: Rollout) -> dict[str, str]:
    """Labels of every object that belongs to a rollout."""
    return {**MANAGED_BY, "app.kubernetes.io/name": rollout.model, ROLLOUT_LABEL: rollout.name}


def shares(rollout: Rollout) -> dict[str, int]:
    """Weight that the spec gives each variant."""
    blue_green = rollout.spec.strategy.blue_green
    if blue_green:
        return {variant.name: 100 * (variant.name == blue_green.active) for variant in rollout.spec.variants}
    return {variant.name: variant.weight for variant in rollout.spec.all_variants}


def revision_hash(rollout: Rollout, variant: Variant) -> str:
    """Hash of all that pods are made of. What only routes, scales or watches them may change without new pods."""
    spec = rollout.spec
    parts: tuple[object, ...] = (
        rollout.model,
        variant.bundle,
        spec.transformer,
        _predictor(spec.predictor),
        spec.store,
        spec.route.timeout,
        spec.template,
        variant.template,
        spec.service_account_name,
        spec.image_pull_secrets,
        spec.node_selector,
        spec.tolerations,
    )
    if spec.volumes != Volumes():  # left out otherwise, so that the hashes of rollouts without it stay as they are
        parts += (spec.volumes,)
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:8]


def _predictor(predictor: PredictorSpec) -> dict[str, object]:
    """The predictor, with what its GPUs are called whether that was written down or left out.

    Every other default is left out when it is encoded: msgspec knows it as the same object. This text it would know
    only where nobody has written it, and API servers do, by the schema of the CRD: so the hash is that of clusters.
    """
    plain: dict[str, object] = msgspec.to_builtins(predictor)
    if predictor.gpu is not None:
        plain["gpu"] = {**msgspec.to_builtins(predictor.gpu), "resource": predictor.gpu.resource}
    return plain
