"""The document of ``tandem rollout plan``."""

from __future__ import annotations

from typing import Literal

from tandem_cli.rollout.output.documents.base import SCHEMA, DocumentPart, Statement


class PlannedStep(DocumentPart, frozen=True, kw_only=True):
    """A step of a plan.

    Attributes:
        weight: Percentage of the requests.
        min_duration_seconds: Minimum duration of the step.
        gate: Whether the step waits for approval.
        canary_requests: Requests to the canary within the minimum duration; null if the rate is not known.
    """

    weight: int
    min_duration_seconds: float
    gate: bool
    canary_requests: float | None


class PlannedMetric(DocumentPart, frozen=True, kw_only=True):
    """A metric of a plan.

    Attributes:
        name: Its name.
        type: Its type.
        gate: Whether it decides.
        margin: Ratio of the rates from which on a version is bad; null for drift and assignment.
        floor: Rate that is acceptable whatever the ratio; null for drift and assignment.
        limit: Distance from which on drift is large; null for other metrics.
        distance: Expected distance, by the predictions of both versions for their training data; null for other
            metrics, and if it is not known.
        alpha: Highest probability that a version that is no worse is rolled back.
        beta: Highest probability that a version at the margin is promoted.
        rate: Rate of stable that the estimates assume.
        rate_from: Where that rate comes from: given, measured, quantile or assumed.
        to_pass: Requests to the canary until a version that is as good as stable passes. For drift, rows until a
            version at the expected distance passes, or at distance 0 if that is not known. Null if it never passes.
        to_pass_minutes: Minutes until then, at the weight of the last step.
        to_fail: Requests to the canary until a version at the margin is rolled back. For drift, rows until a version
            at the expected distance is rolled back, or at twice the limit if that is not known. Null if it never is.
        to_fail_minutes: Minutes until then, at the weight of the last step.
    """

    name: str
    type: str
    gate: bool
    margin: float | None
    floor: float | None
    limit: float | None
    distance: float | None
    alpha: float
    beta: float
    rate: float | None
    rate_from: str | None
    to_pass: int | None
    to_pass_minutes: float | None
    to_fail: int | None
    to_fail_minutes: float | None


class PlanDocument(DocumentPart, frozen=True, kw_only=True):
    """``tandem rollout plan``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        strategy: Its strategy.
        source: Where counters are read.
        interval_seconds: Time between two samples.
        warmup_seconds: Time after the first request to the canary in which its latencies are not judged.
        timeout_seconds: Longest time to a decision; null without a time-out.
        on_timeout: What happens at the time-out.
        requests_per_second: Requests per second to both versions together; null if it is not known.
        rate_from: Where that rate comes from: given or measured; null if it is not known.
        share: Share of the requests to the canary that the estimates assume; null if no step has a weight.
        steps: The steps.
        metrics: The metrics.
        minutes: Estimated minutes until a good version is promoted; null if they are not known.
        in_time: Whether that is within the time-out; null if it is not known.
        warnings: Problems to consider before the start.
        diff: Lines of spec.bundle that would change.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutPlan"] = "RolloutPlan"
    name: str
    namespace: str
    strategy: str
    source: str
    interval_seconds: float
    warmup_seconds: float
    timeout_seconds: float | None
    on_timeout: str
    requests_per_second: float | None
    rate_from: str | None
    share: float | None
    steps: list[PlannedStep]
    metrics: list[PlannedMetric]
    minutes: float | None
    in_time: bool | None
    warnings: list[Statement]
    diff: list[str]
