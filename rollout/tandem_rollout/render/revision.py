"""A revision: an immutable version of a variant."""

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
    """A variant of a rollout, with the hash of everything that determines its pods.

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
        """The revision of a variant in the present spec."""
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
        """Labels of its objects. KServe copies those of the InferenceService to the pods."""
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
    """Labels of all objects of a rollout."""
    return {**MANAGED_BY, "app.kubernetes.io/name": rollout.model, ROLLOUT_LABEL: rollout.name}


def shares(rollout: Rollout) -> dict[str, int]:
    """Weight of each variant in the spec."""
    blue_green = rollout.spec.strategy.blue_green
    if blue_green:
        return {variant.name: 100 * (variant.name == blue_green.active) for variant in rollout.spec.variants}
    return {variant.name: variant.weight for variant in rollout.spec.all_variants}


def revision_hash(rollout: Rollout, variant: Variant) -> str:
    """Hash of everything that determines the pods. Routing, scaling and monitoring are not part of it."""
    spec = rollout.spec
    parts: tuple[object, ...] = (
        rollout.model,
        variant.bundle,
        spec.transformer,
        _predictor(spec.predictor),
        spec.store,
        # the transformer has a timeout that follows from it
        spec.route.timeout,
        spec.template,
        variant.template,
        spec.service_account_name,
        spec.image_pull_secrets,
        spec.node_selector,
        spec.tolerations,
    )
    if spec.volumes != Volumes():  # omitted otherwise, so that the hashes of other rollouts do not change
        parts += (spec.volumes,)
    # eight digits: with them the longest label, isvc.NAME-transformer, has exactly 63 characters
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:8]


def _predictor(predictor: PredictorSpec) -> dict[str, object]:
    """The predictor with the resource name of its GPUs, even if it is the default.

    msgspec omits a default only if it is the identical object. API servers set the default of this string by the schema
    of the CRD, so that it would be encoded in a cluster and omitted elsewhere.
    """
    plain: dict[str, object] = msgspec.to_builtins(predictor)
    if predictor.gpu is not None:
        plain["gpu"] = {**msgspec.to_builtins(predictor.gpu), "resource": predictor.gpu.resource}
    return plain
