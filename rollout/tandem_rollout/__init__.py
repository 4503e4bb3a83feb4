"""InferenceRollout: a model's versions on Kubernetes, each a KServe InferenceService, with weights between them."""

from typing import Final

GROUP: Final = "tandem-serving.io"
"""API group, and prefix of our labels and annotations."""

VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "InferenceRollout"
PLURAL: Final = "inferencerollouts"
EVIDENCE_KIND: Final = "RolloutEvidence"
EVIDENCE_PLURAL: Final = "rolloutevidences"
