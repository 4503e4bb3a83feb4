"""What the controller says: the status of an ``InferenceRollout``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

Phase = Literal["Pending", "Rejected", "Ready", "Retired"]
"""Pending: not ready to take traffic yet. Refused: it never will be as it is. Ready: proven, may have weight. Retired:
an older revision that is kept for a while."""


class _StatusStruct(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    pass


class Condition(_StatusStruct, frozen=True):
    """A condition as in ``metav1.Condition``."""

    type: Annotated[str, Meta(description="Ready, Valid, Progressing or HostnamesUnique.")]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether it holds.")]
    reason: Annotated[str, Meta(description="Why, machine-readable.")]
    message: Annotated[str, Meta(description="Why, human-readable.")]
    last_transition_time: Annotated[
        str, Meta(description="When status changed last.", extra_json_schema={"format": "date-time"})
    ]
    observed_generation: Annotated[int, Meta(description="Generation of the rollout that it is about.")] = 0


class VariantStatus(_StatusStruct, frozen=True):
    """One revision of one variant."""

    name: Annotated[str, Meta(description="Name of the variant.")]
    inference_service: Annotated[str, Meta(description="Name of its InferenceService.")]
    phase: Annotated[Phase, Meta(description="How far it is.")]
    weight: Annotated[int, Meta(description="Its share of the requests, as the route has it.")] = 0
    version: Annotated[str, Meta(description="Version of its bundle, as its transformer says.")] = ""
    digest: Annotated[str, Meta(description="Digest of its bundle.")] = ""
    reason: Annotated[str, Meta(description="Why the phase is what it is, machine-readable.")] = ""
    message: Annotated[str, Meta(description="What it waits for, or why it is refused, human-readable.")] = ""
    since: Annotated[str, Meta(description="When the phase began.")] = ""

    @property
    def retired(self) -> bool:
        """Whether it is an older revision that is kept for a while."""
        return self.phase == "Retired"


class LastCommand(_StatusStruct, frozen=True):
    """The last command of a person that a run has answered."""

    id: Annotated[str, Meta(description="Its identity; each command is answered once.")]
    verb: Annotated[str, Meta(description="start, promote, pause, resume, abort or rollback.")]
    result: Annotated[Literal["Accepted", "Rejected"], Meta(description="Whether it was carried out.")]
    by: Annotated[str, Meta(description="Who sent it.")] = ""
    reason: Annotated[str, Meta(description="Why it was rejected, machine-readable.")] = ""
    message: Annotated[str, Meta(description="Why it was rejected, human-readable.")] = ""


class RunStatus(_StatusStruct, frozen=True):
    """A run: one version on its way to take the place of another."""

    number: Annotated[int, Meta(description="Runs of a rollout are counted from 1.")]
    state: Annotated[str, Meta(description="Where it stands, as the guide to operations lists it.")]
    stable: Annotated[str, Meta(description="InferenceService that served before.")]
    canary: Annotated[str, Meta(description="InferenceService that is to follow it.")]
    plan: Annotated[str, Meta(description="Hash of what was planned when it began. Another plan is another run.")]
    started: Annotated[str, Meta(description="When it began.")]
    since: Annotated[str, Meta(description="When the state began.")]
    step: Annotated[int, Meta(description="Index of the step; the number of steps once it is past the last one.")] = 0
    steps: Annotated[int, Meta(description="How many steps there are.")] = 0
    weight: Annotated[int, Meta(description="Percentage of the requests that the canary is to have.")] = 0
    measured: Annotated[float | None, Meta(description="Percentage that it had in the last sample.")] = None
    deadline: Annotated[str, Meta(description="When the analysis is over at the latest.")] = ""
    min_pods: Annotated[
        list[int], Meta(description="Pods of transformer and predictor that stable keeps until the end.")
    ] = field(default_factory=list)
    paused_from: Annotated[str, Meta(description="State that a pause came from.")] = ""
    immediate_rollback: Annotated[
        bool, Meta(description="Whether weights go back before stable has its pods back.")
    ] = False
    reason: Annotated[str, Meta(description="Why the state is what it is, machine-readable.")] = ""
    message: Annotated[str, Meta(description="Why the state is what it is, human-readable.")] = ""
    by: Annotated[str, Meta(description="Who wanted it; empty for the controller itself.")] = ""
    started_by: Annotated[str, Meta(description="Who started it; empty where the spec did.")] = ""
    start_comment: Annotated[str, Meta(description="Why it was started, in the words of that person.")] = ""
    last_command: Annotated[LastCommand | None, Meta(description="The last command, and what became of it.")] = None
    previous_commands: Annotated[
        list[str], Meta(description="Identities of the commands before it, the latest first.")
    ] = field(default_factory=list)
    pending: Annotated[str, Meta(description="Identity of a start that the next run carries out.")] = ""
    verdict: Annotated[str, Meta(description="What the metrics say together.")] = ""


class MetricStatus(_StatusStruct, frozen=True):
    """What one metric says."""

    name: Annotated[str, Meta(description="Name of the metric.")]
    verdict: Annotated[str, Meta(description="pass, fail, inconclusive, no-data or provider-error.")]
    reason: Annotated[str, Meta(description="Why it says nothing, or less than it could, machine-readable.")] = ""
    summary: Annotated[str, Meta(description="Rates, their ratio with its interval, and numbers of requests.")] = ""
    value: Annotated[
        float | None,
        Meta(description="What is held against the limit: the canary's rate over stable's; of drift the distance."),
    ] = None
    limit: Annotated[float | None, Meta(description="A version whose value is as high is bad.")] = None
    requests: Annotated[int, Meta(description="Requests of the canary that were counted; of drift its rows.")] = 0
    needed: Annotated[
        int | None, Meta(description="Requests of the canary that it probably still takes to pass, where it is known.")
    ] = None


class PastRun(_StatusStruct, frozen=True):
    """A run that has ended."""

    number: Annotated[int, Meta(description="Its number.")]
    outcome: Annotated[str, Meta(description="Promoted, Aborted, RolledBack (it was promoted before) or Completed.")]
    stable: Annotated[str, Meta(description="InferenceService that served before.")]
    canary: Annotated[str, Meta(description="InferenceService that was to follow it.")]
    version: Annotated[str, Meta(description="Version of the canary's bundle.")] = ""
    started: Annotated[str, Meta(description="When it began.")] = ""
    ended: Annotated[str, Meta(description="When it ended.")] = ""
    reason: Annotated[str, Meta(description="Why it ended so, machine-readable.")] = ""
    message: Annotated[str, Meta(description="Why it ended so, human-readable.")] = ""
    by: Annotated[str, Meta(description="Who wanted it; empty for the controller itself.")] = ""
    started_by: Annotated[str, Meta(description="Who started it; empty where the spec did.")] = ""
    start_comment: Annotated[str, Meta(description="Why it was started, in the words of that person.")] = ""


class RolloutStatus(_StatusStruct, frozen=True):
    """Status of an InferenceRollout."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that this status is about.")] = 0
    ready: Annotated[str, Meta(description="Ready variants of all.")] = ""
    weights: Annotated[str, Meta(description="Weights as the route has them.")] = ""
    url: Annotated[str, Meta(description="Where clients reach the model.")] = ""
    reason: Annotated[str, Meta(description="Why the rollout waits or cannot go on, machine-readable.")] = ""
    message: Annotated[str, Meta(description="What the rollout waits for, or why it cannot go on, human-readable.")] = ""
    variants: Annotated[
        list[VariantStatus],
        Meta(description="The wanted revisions, then earlier ones that still serve or are kept for a while."),
    ] = field(default_factory=list)
    progress: Annotated[str, Meta(description="How far the run is, in a few words.")] = ""
    run: Annotated[RunStatus | None, Meta(description="The present run, or the last one.")] = None
    metrics: Annotated[list[MetricStatus], Meta(description="What the metrics of the present run say.")] = field(
        default_factory=list
    )
    history: Annotated[list[PastRun], Meta(description="Runs that have ended, the latest first.")] = field(
        default_factory=list
    )
    conditions: Annotated[
        list[Condition],
        Meta(
            description="Ready and Valid; Progressing where there are runs; HostnamesUnique, which is False, where "
            "others claim a host, too."
        ),
    ] = field(default_factory=list)

    def version_of(self, inference_service: str) -> str:
        """Version of the bundle of an InferenceService, as far as it is known."""
        found = (each.version for each in self.variants if each.inference_service == inference_service)
        return next(found, "")
