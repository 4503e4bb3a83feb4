"""What the controller reports: the status of an ``InferenceRollout``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

Phase = Literal["Pending", "Rejected", "Ready", "Retired"]
"""Pending: the revision cannot take traffic yet. Rejected: it cannot take traffic until the spec changes. Ready: it is
verified and may have weight. Retired: an older revision that is kept until ``scaleDownDelay`` has passed."""


class _StatusStruct(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    pass


class Condition(_StatusStruct, frozen=True):
    """A condition, as in ``metav1.Condition``."""

    type: Annotated[str, Meta(description="Type of the condition: Ready, Valid, Progressing or HostnamesUnique.")]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Status of the condition.")]
    reason: Annotated[str, Meta(description="Machine-readable reason for the status.")]
    message: Annotated[str, Meta(description="Human-readable explanation of the status.")]
    last_transition_time: Annotated[
        str, Meta(description="Time of the last change of the status.", extra_json_schema={"format": "date-time"})
    ]
    observed_generation: Annotated[
        int, Meta(description="Generation of the rollout that the condition was set for.")
    ] = 0


class VariantStatus(_StatusStruct, frozen=True):
    """Status of one revision of one variant."""

    name: Annotated[str, Meta(description="Name of the variant.")]
    inference_service: Annotated[str, Meta(description="Name of the InferenceService of the revision.")]
    phase: Annotated[Phase, Meta(description="Phase of the revision.")]
    weight: Annotated[int, Meta(description="Weight of the revision in the route.")] = 0
    version: Annotated[str, Meta(description="Version of the bundle, as the transformer reports it.")] = ""
    digest: Annotated[str, Meta(description="Digest of the bundle, as the transformer reports it.")] = ""
    reason: Annotated[str, Meta(description="Machine-readable reason for the phase.")] = ""
    message: Annotated[
        str, Meta(description="Human-readable explanation of the phase: what is awaited, or why it is rejected.")
    ] = ""
    since: Annotated[str, Meta(description="Time at which the phase began.")] = ""

    @property
    def retired(self) -> bool:
        """Whether this is an older revision that is kept until ``scaleDownDelay`` has passed."""
        return self.phase == "Retired"


class LastCommand(_StatusStruct, frozen=True):
    """The last command that a run has answered."""

    id: Annotated[str, Meta(description="Identifier of the command. Each command is answered once.")]
    verb: Annotated[str, Meta(description="start, promote, pause, resume, abort or rollback.")]
    result: Annotated[Literal["Accepted", "Rejected"], Meta(description="Whether the command was accepted.")]
    by: Annotated[str, Meta(description="User who sent the command.")] = ""
    reason: Annotated[str, Meta(description="Machine-readable reason for a rejection.")] = ""
    message: Annotated[str, Meta(description="Human-readable explanation of a rejection.")] = ""


class RunStatus(_StatusStruct, frozen=True):
    """Status of a run, in which one version replaces another."""

    number: Annotated[int, Meta(description="Number of the run. The first run of a rollout has the number 1.")]
    state: Annotated[str, Meta(description="State of the run. The guide to operations lists the states.")]
    stable: Annotated[str, Meta(description="InferenceService that served before the run.")]
    canary: Annotated[str, Meta(description="InferenceService that the run evaluates.")]
    plan: Annotated[str, Meta(description="Hash of the plan of the run. A change of the plan starts another run.")]
    started: Annotated[str, Meta(description="Time at which the run began.")]
    since: Annotated[str, Meta(description="Time at which the state began.")]
    step: Annotated[
        int, Meta(description="Index of the step, from 0. After the last step it is the number of steps.")
    ] = 0
    steps: Annotated[int, Meta(description="Number of steps.")] = 0
    weight: Annotated[int, Meta(description="Desired percentage of the requests for the canary.")] = 0
    measured: Annotated[
        float | None, Meta(description="Percentage of the requests that the canary had in the last sample.")
    ] = None
    deadline: Annotated[str, Meta(description="Time at which the analysis ends at the latest.")] = ""
    min_pods: Annotated[
        list[int],
        Meta(description="Minimum numbers of stable's transformer and predictor pods until the run ends."),
    ] = field(default_factory=list)
    paused_from: Annotated[str, Meta(description="State in which the run was paused.")] = ""
    immediate_rollback: Annotated[
        bool, Meta(description="Whether the canary loses its weight before stable has its pods back.")
    ] = False
    reason: Annotated[str, Meta(description="Machine-readable reason for the state.")] = ""
    message: Annotated[str, Meta(description="Human-readable explanation of the state.")] = ""
    by: Annotated[str, Meta(description="User who caused the state. Empty if the controller did.")] = ""
    started_by: Annotated[str, Meta(description="User who started the run. Empty if a change of the spec did.")] = ""
    start_comment: Annotated[str, Meta(description="Comment of the user who started the run.")] = ""
    last_command: Annotated[LastCommand | None, Meta(description="The last command and its result.")] = None
    previous_commands: Annotated[
        list[str], Meta(description="Identifiers of the commands before the last one, the latest first.")
    ] = field(default_factory=list)
    pending: Annotated[str, Meta(description="Identifier of an accepted start command for the next run.")] = ""
    verdict: Annotated[str, Meta(description="Combined verdict of the metrics.")] = ""


class MetricStatus(_StatusStruct, frozen=True):
    """Status of one metric."""

    name: Annotated[str, Meta(description="Name of the metric.")]
    verdict: Annotated[str, Meta(description="pass, fail, inconclusive, no-data or provider-error.")]
    reason: Annotated[
        str, Meta(description="Machine-readable reason why the metric has no verdict, or a limited one.")
    ] = ""
    summary: Annotated[
        str, Meta(description="The rates, their ratio with its interval, and the numbers of requests, in one line.")
    ] = ""
    value: Annotated[
        float | None,
        Meta(description="Value that is compared with the limit: the ratio of the rates; for drift, the distance."),
    ] = None
    limit: Annotated[float | None, Meta(description="The canary is bad if the value reaches this limit.")] = None
    requests: Annotated[int, Meta(description="Number of counted requests of the canary; for drift, of rows.")] = 0
    needed: Annotated[
        int | None,
        Meta(description="Estimated number of further canary requests until the metric passes. Absent if unknown."),
    ] = None


class PastRun(_StatusStruct, frozen=True):
    """A run that has ended."""

    number: Annotated[int, Meta(description="Number of the run.")]
    outcome: Annotated[
        str, Meta(description="Promoted, Aborted, RolledBack (after it had been promoted) or Completed.")
    ]
    stable: Annotated[str, Meta(description="InferenceService that served before the run.")]
    canary: Annotated[str, Meta(description="InferenceService that the run evaluated.")]
    version: Annotated[str, Meta(description="Version of the canary's bundle.")] = ""
    started: Annotated[str, Meta(description="Time at which the run began.")] = ""
    ended: Annotated[str, Meta(description="Time at which the run ended.")] = ""
    reason: Annotated[str, Meta(description="Machine-readable reason for the outcome.")] = ""
    message: Annotated[str, Meta(description="Human-readable explanation of the outcome.")] = ""
    by: Annotated[str, Meta(description="User who caused the outcome. Empty if the controller did.")] = ""
    started_by: Annotated[str, Meta(description="User who started the run. Empty if a change of the spec did.")] = ""
    start_comment: Annotated[str, Meta(description="Comment of the user who started the run.")] = ""


class RegistryStatus(_StatusStruct, frozen=True):
    """Status of the alias of a model registry that a rollout follows."""

    uri: Annotated[str, Meta(description="Address of the registry.")] = ""
    model: Annotated[str, Meta(description="Name of the model in the registry.")] = ""
    alias: Annotated[str, Meta(description="Alias that the rollout follows.")] = ""
    version: Annotated[
        int, Meta(description="Version that the alias named when it was read last, and that the rollout specifies.")
    ] = 0
    digest: Annotated[str, Meta(description="Digest of the bundle of that version. The version is pinned to it.")] = ""
    command: Annotated[str, Meta(description="Identifier of a start command for that version.")] = ""
    closed_run: Annotated[int, Meta(description="Number of the last run whose end the registry has.")] = 0
    closed_outcome: Annotated[str, Meta(description="Outcome of that run.")] = ""
    revisions: Annotated[
        dict[str, int], Meta(description="Versions of the registry by InferenceService, of recent runs.")
    ] = field(default_factory=dict)
    reason: Annotated[str, Meta(description="Machine-readable reason why the alias is not followed at present.")] = ""
    message: Annotated[
        str, Meta(description="Human-readable explanation why the alias is not followed at present.")
    ] = ""


class RolloutStatus(_StatusStruct, frozen=True):
    """Status of an InferenceRollout."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that this status describes.")] = 0
    ready: Annotated[str, Meta(description="Number of ready variants and number of variants.")] = ""
    weights: Annotated[str, Meta(description="Weights of the route.")] = ""
    url: Annotated[str, Meta(description="URL at which clients reach the model.")] = ""
    reason: Annotated[str, Meta(description="Machine-readable reason why the rollout waits or is blocked.")] = ""
    message: Annotated[str, Meta(description="Human-readable explanation why the rollout waits or is blocked.")] = ""
    variants: Annotated[
        list[VariantStatus],
        Meta(description="The desired revisions, then earlier revisions that still serve or are kept."),
    ] = field(default_factory=list)
    progress: Annotated[str, Meta(description="Progress of the run, in a few words.")] = ""
    run: Annotated[RunStatus | None, Meta(description="The current run, or the last one.")] = None
    metrics: Annotated[list[MetricStatus], Meta(description="Status of the metrics of the current run.")] = field(
        default_factory=list
    )
    history: Annotated[list[PastRun], Meta(description="Runs that have ended, the latest first.")] = field(
        default_factory=list
    )
    registry: Annotated[RegistryStatus | None, Meta(description="The alias that the rollout follows.")] = None
    conditions: Annotated[
        list[Condition],
        Meta(
            description="Conditions of the rollout: Ready and Valid; Progressing if there was a run; HostnamesUnique, "
            "with status False, if another rollout claims one of the hostnames."
        ),
    ] = field(default_factory=list)

    def version_of(self, inference_service: str) -> str:
        """Version of the bundle of an InferenceService; empty if it is not known."""
        versions = (variant.version for variant in self.variants if variant.inference_service == inference_service)
        return next(versions, "")
