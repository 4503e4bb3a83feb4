"""Why something is as it is: a code that programs decide by, and a message that only people read."""

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
]
"""Why a run is in its state."""

CommandReason = Literal["InvalidState", "StableGone", "NothingToStart", "NothingServes"]
"""Why a command was rejected."""

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
"""Why a variant is in its phase. Those that Kubernetes has for containers that cannot start are passed on."""

RolloutReason = Literal[
    "Invalid",
    "RouteNotAccepted",
    "HostnameConflict",
    "HostnameNotAllowed",
    "VersionTried",
    "UnknownVersion",
    "StackError",
]
"""Why a rollout waits, beside the reasons of its run and of its variants."""

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
"""Why a metric says nothing, or less than it could."""

Reason = RunReason | CommandReason | VariantReason | RolloutReason | MetricReason
"""A code as in ``metav1.Condition``. It keeps its meaning; the words of a message may change at any time."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is as it is.

    Attributes:
        reason: Why, machine-readable.
        message: Why, human-readable: nothing decides by it.
    """

    reason: Reason
    message: str
