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

    type: Annotated[str, Meta(description="Ready or Valid.")]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether it holds.")]
    reason: Annotated[str, Meta(description="Why, in one word.")]
    message: Annotated[str, Meta(description="Why, for people.")]
    last_transition_time: Annotated[
        str, Meta(description="When status changed last.", extra_json_schema={"format": "date-time"})
    ]
    observed_generation: Annotated[int, Meta(description="Generation of the rollout that it is about.")] = 0


class VariantStatus(_Struct, frozen=True):
    """One revision of one variant."""

    name: Annotated[str, Meta(description="Name of the variant.")]
    inference_service: Annotated[str, Meta(description="Name of its InferenceService.")]
    phase: Annotated[Phase, Meta(description="How far it is.")]
    weight: Annotated[int, Meta(description="Its share of the requests, as the route has it.")] = 0
    version: Annotated[str, Meta(description="Version of its bundle, as its transformer says.")] = ""
    digest: Annotated[str, Meta(description="Digest of its bundle.")] = ""
    message: Annotated[str, Meta(description="What it waits for, or why it is refused.")] = ""
    since: Annotated[str, Meta(description="When the phase began.")] = ""

    @property
    def retired(self) -> bool:
        """Whether it is an older revision that is kept for a while."""
        return self.phase == "Retired"


class RolloutStatus(_Struct, frozen=True):
    """Status of an InferenceRollout."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that this status is about.")] = 0
    ready: Annotated[str, Meta(description="Ready variants of all.")] = ""
    weights: Annotated[str, Meta(description="Weights as the route has them.")] = ""
    url: Annotated[str, Meta(description="Where clients reach the model.")] = ""
    message: Annotated[str, Meta(description="What the rollout waits for, or why it cannot go on.")] = ""
    variants: Annotated[
        list[VariantStatus],
        Meta(description="The wanted revisions, then earlier ones that still serve or are kept for a while."),
    ] = field(default_factory=list)
    conditions: Annotated[list[Condition], Meta(description="Ready and Valid.")] = field(default_factory=list)
