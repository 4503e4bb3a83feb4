"""Causes: a machine-readable reason and a human-readable message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RunReason = Literal[
    "SpecChanged",
    "StartedByUser",
    "RestartedByUser",
    "StepStarted",
    "StepPassed",
    "StepPauses",
    "MetricsPassed",
    "MetricsFailed",
    "PausedByUser",
    "ResumedByUser",
    "PromotedByUser",
    "AbortedByUser",
    "RolledBackByUser",
    "CanaryNotRunning",
    "ProgressDeadlineExceeded",
    "AnalysisTimedOut",
    "WeightEdited",
    "HorizonReached",
    "Superseded",
    "PlanChanged",
    "SpecReverted",
    "RolloutDeleted",
    "StrategyChanged",
    "AnalysisRemoved",
    "StackStopped",
]
"""Reasons of the states of a run."""

CommandReason = Literal["InvalidState", "StableGone", "NothingToStart", "NothingServes"]
"""Reasons for which a command is rejected."""

VariantReason = Literal[
    "Verified",
    "Retained",
    "SuccessorNotReady",
    "NoReadyPods",
    "InferenceServiceMissing",
    "InferenceServiceNotReady",
    "PodsNotReady",
    "FewerPodsThanPredecessor",
    "GatewayNotReady",
    "Unschedulable",
    "ContainerFailed",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "ErrImageNeverPull",
    "ProcessEnded",
    "PairMissing",
    "AwaitingVerification",
    "VerificationUnavailable",
    "VerificationUnreadable",
    "VerificationFailed",
    "PredictorMismatch",
    "PredictorRejected",
    "VersionMismatch",
    "DigestMismatch",
    "ContractUnknown",
    "ContractBroken",
    "WriteRejected",
    "WriteFailed",
    "NameConflict",
]
"""Reasons of the phases of a variant. The reasons of Kubernetes for containers that cannot start are passed on."""

RolloutReason = Literal[
    "Invalid",
    "RouteNotAccepted",
    "HostnameConflict",
    "HostnameNotAllowed",
    "VersionTried",
    "UnknownVersion",
    "StackError",
    "RegistryUnreachable",
    "AliasMissing",
    "VersionMissing",
    "VersionUnusable",
]
"""Reasons for which a rollout waits, besides those of its run and of its variants."""

MetricReason = Literal[
    "NothingRead",
    "NoTargets",
    "NewTargets",
    "CountersRestarted",
    "NoRequestSeries",
    "NoEventSeries",
    "NoSeries",
    "NoRequests",
    "NoPredictions",
    "CachesCold",
    "LimitChosen",
    "TooFewRequests",
    "TooFewSamples",
    "NoBucketNear",
    "NoBucketBelow",
    "NoHistogram",
    "DifferentBins",
    "NotMeasured",
    "OneClient",
    "NotConfirmed",
    "NoPods",
    "PodsUnreachable",
    "NoClusters",
    "NoProxies",
    "ProxiesUnreachable",
    "PrometheusUnreachable",
    "PrometheusNeeded",
    "PromqlRejected",
    "AddressNotAllowed",
]
"""Reasons for which a metric has no verdict, or a limited one."""

Reason = RunReason | CommandReason | VariantReason | RolloutReason | MetricReason
"""A reason as in ``metav1.Condition``. Reasons keep their meaning. Messages may change at any time."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is in its state.

    Attributes:
        reason: Machine-readable reason.
        message: Human-readable message. No code depends on it.
    """

    reason: Reason
    message: str
