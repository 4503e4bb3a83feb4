"""What the controller says: the status of an ``InferenceRollout``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

Phase = Literal["Pending", "Refused", "Ready", "Retired"]
"""Pending: not ready to take traffic yet. Refused: it never will be as it is. Ready: proven, may have weight. Retired:
an older revision that is kept for a while."""


class _Struct(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    pass


class Condition(_Struct, frozen=True):
    """A condition as in ``metav1.Condition``."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    observed_generation: int = 0


class VariantStatus(_Struct, frozen=True):
    """One revision of one variant.

    Attributes:
        name: Of the variant.
        inference_service: Name of its InferenceService.
        phase: How far it is.
        weight: Its share of the requests, as the route has it.
        version: Version of its bundle, as its transformer says.
        digest: Digest of its bundle.
        message: What it waits for, or why it is refused.
        since: When the phase began.
    """

    name: str
    inference_service: str
    phase: Phase
    weight: int = 0
    version: str = ""
    digest: str = ""
    message: str = ""
    since: str = ""

    @property
    def retired(self) -> bool:
        """Whether it is an older revision that is kept for a while."""
        return self.phase == "Retired"


class RolloutStatus(_Struct, frozen=True):
    """Status of an InferenceRollout."""

    observed_generation: int = 0
    ready: Annotated[str, Meta(description="Ready variants of all.")] = ""
    weights: Annotated[str, Meta(description="Weights as the route has them.")] = ""
    url: Annotated[str, Meta(description="Where clients reach the model.")] = ""
    message: Annotated[str, Meta(description="What the rollout waits for, or why it cannot go on.")] = ""
    variants: list[VariantStatus] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
