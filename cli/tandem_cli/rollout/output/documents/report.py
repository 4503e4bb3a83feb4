"""The document of ``tandem rollout report``."""

from __future__ import annotations

from typing import Literal

from tandem_cli.rollout.output.documents.base import SCHEMA, CommandResult, DocumentPart
from tandem_cli.rollout.output.documents.history import HistoryEntry
from tandem_cli.rollout.output.documents.plan import PlannedStep
from tandem_cli.rollout.output.documents.status import MetricEntry


class MetricQuestion(DocumentPart, frozen=True, kw_only=True):
    """What a metric counts, and its limits.

    Attributes:
        name: Name of the metric.
        type: Its type.
        gate: Whether it decides.
        what: What is counted, in words.
        queries: PromQL queries; names of the series if the pods themselves are scraped.
        margin: Ratio of the rates from which on a version is bad; null for drift and assignment.
        floor: Rate that is acceptable whatever the ratio; null for drift and assignment.
        limit: Distance from which on drift is large, or seconds from which on a request to stable is slow; null for
            other metrics.
        canary_limit: Seconds from which on a request to the canary is slow; null for other metrics.
        alpha: Highest probability that a version that is no worse is rolled back.
        beta: Highest probability that a version at the margin is promoted.
        dispersion: How much burstier the events were than independent requests; 1 if they were not.
        min_requests: Requests to the canary without which the metric does not pass.
    """

    name: str
    type: str
    gate: bool
    what: str
    queries: list[str]
    margin: float | None
    floor: float | None
    limit: float | None
    canary_limit: float | None
    alpha: float
    beta: float
    dispersion: float
    min_requests: int


class DecisionEntry(DocumentPart, frozen=True, kw_only=True):
    """A decision.

    Attributes:
        at: When it was made.
        state: The state of the run after it.
        weight: Percentage of the requests for the canary.
        reason: Why, as a code.
        message: The same in words.
        by: Who caused it; empty for the controller.
        rejected: The command that was rejected; null if the decision was another one.
    """

    at: str
    state: str
    weight: int
    reason: str
    message: str
    by: str
    rejected: CommandResult | None


class SampleCounts(DocumentPart, frozen=True, kw_only=True):
    """The counts of one metric in one sample. For drift, ``canaryEvents`` is the distance so far.

    Attributes:
        canary_requests: Requests to the canary.
        canary_events: Events of the canary.
        stable_requests: Requests to stable.
        stable_events: Events of stable.
    """

    canary_requests: float
    canary_events: float
    stable_requests: float
    stable_events: float


class SampleEntry(DocumentPart, frozen=True, kw_only=True):
    """One sample of the counters.

    Attributes:
        at: When it was taken.
        weight: Percentage of the requests for the canary.
        metrics: The counts, by name of the metric.
    """

    at: str
    weight: int
    metrics: dict[str, SampleCounts]


class TransitionEntry(SampleEntry, frozen=True, kw_only=True):
    """A sample in which the weight changed, or in which a metric was not judged.

    Attributes:
        low: Lowest possible share of the requests to the canary, from 0 to 1; null if the weight did not change.
        high: Highest possible share; null if the weight did not change.
        reported: Counts that were not judged, by name of the metric.
    """

    low: float | None
    high: float | None
    reported: dict[str, SampleCounts]


class ReportDocument(DocumentPart, frozen=True, kw_only=True):
    """``tandem rollout report``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        created: When the report was created.
        strategy: The strategy; null if this version of the command does not understand the spec.
        run: The run.
        plan: Hash of the plan of the run.
        same_plan: Whether the spec still has this plan; if not, steps, questions and verdicts are those of the current
            spec.
        evidence: SHA-256 of the evidence as JSON; null if there is no evidence.
        verdict: The verdict of all metrics together; null if there is no evidence.
        steps: The steps.
        metrics: The results of the metrics.
        questions: What each metric counts.
        decisions: The decisions, in order.
        sample_count: Number of samples.
        samples: The last samples.
        transitions: Samples in which the weight changed, or in which a metric was not judged.
        unplaced: Counts of counters of which only some restarted, by name of the metric; they belong to no sample.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutReport"] = "RolloutReport"
    name: str
    namespace: str
    created: str
    strategy: str | None
    run: HistoryEntry
    plan: str
    same_plan: bool
    evidence: str | None
    verdict: str | None
    steps: list[PlannedStep]
    metrics: list[MetricEntry]
    questions: list[MetricQuestion]
    decisions: list[DecisionEntry]
    sample_count: int
    samples: list[SampleEntry]
    transitions: list[TransitionEntry]
    unplaced: dict[str, SampleCounts]
