"""The documents of ``tandem rollout status``."""

from __future__ import annotations

from typing import Literal

from tandem_cli.rollout.output.documents.base import SCHEMA, CommandResult, DocumentPart, RunVersion


class RunDetails(DocumentPart, frozen=True, kw_only=True):
    """The current run, or the last one.

    Attributes:
        number: Number of the run; the first one is 1.
        state: Its state.
        ended: Whether the run has ended.
        step: The step, counted from 1; after the last step, the number of steps + 1.
        steps: Number of steps.
        weight: Desired percentage of the requests for the canary.
        measured: Percentage that the canary received in the last sample; null if it is not known.
        stable: The version that served before the run.
        canary: The version that replaces it.
        started: When the run began.
        since: When the state began.
        deadline: When the analysis ends at the latest; null without a deadline.
        paused_from: The state in which the run was paused; null if it is not paused.
        verdict: The verdict of all metrics together; null if there is none yet.
        reason: Why the run is in this state, as a code.
        message: The same in words.
        by: Who caused it; empty for the controller.
        started_by: Who started the run; empty if a change of the spec did.
        start_comment: Why it was started, in that user's own words.
        last_command: The last command and its result; null before the first.
    """

    number: int
    state: str
    ended: bool
    step: int
    steps: int
    weight: int
    measured: float | None
    stable: RunVersion
    canary: RunVersion
    started: str
    since: str
    deadline: str | None
    paused_from: str | None
    verdict: str | None
    reason: str
    message: str
    by: str
    started_by: str
    start_comment: str
    last_command: CommandResult | None


class MetricEntry(DocumentPart, frozen=True, kw_only=True):
    """The result of one metric.

    Attributes:
        name: Its name.
        type: Its type; null if there is no evidence, only the status of the rollout.
        gate: Whether it decides.
        verdict: pass, fail, inconclusive, no-data or provider-error.
        stable: Rate of the events of stable.
        stable_requests: Number of requests to stable.
        canary: Rate of the events of the canary; for drift the distance, for assignment its share of the units.
        canary_requests: Number of requests to the canary.
        ratio: Rate of the canary divided by the rate of stable.
        ratio_low: Lower end of the interval of the ratio.
        ratio_high: Upper end of the interval; null if it has none.
        limit: The limit of the metric.
        passing_limit: For drift, the lowest limit that the canary would pass; null for other metrics, and if there is
            too little data.
        needed: Estimated number of further requests to the canary until the metric passes.
        reason: Why there is no result, or an incomplete one, as a code.
        message: The same in words.
    """

    name: str
    type: str | None = None
    gate: bool = True
    verdict: str
    stable: float | None = None
    stable_requests: float | None = None
    canary: float | None = None
    canary_requests: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    limit: str = ""
    passing_limit: float | None = None
    needed: int | None = None
    reason: str = ""
    message: str = ""


class AliasDetails(DocumentPart, frozen=True, kw_only=True):
    """The alias of a registry that a rollout follows.

    Attributes:
        model: Name of the model in the registry.
        alias: The alias.
        version: The version that it named when it was read last.
        digest: Digest of the bundle of that version.
        reason: Why the alias is not followed at present, as a code; empty if it is.
        message: The same in words.
    """

    model: str
    alias: str
    version: int
    digest: str
    reason: str
    message: str


class StatusDocument(DocumentPart, frozen=True, kw_only=True):
    """``tandem rollout status``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        strategy: Its strategy; null if this version of the command does not understand the spec.
        weights: The weights of the route.
        reason: Why the rollout waits or cannot proceed, as a code; empty if neither is the case.
        message: The same in words.
        current: Whether the status is about the latest spec.
        registry: The alias of a registry that the rollout follows; null if it follows none.
        run: The current run, or the last one; null before the first.
        metrics: The results of the metrics of that run.
        exit_code: The exit code with ``--exit-code``.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutStatus"] = "RolloutStatus"
    name: str
    namespace: str
    strategy: str | None
    weights: str
    reason: str
    message: str
    current: bool
    registry: AliasDetails | None
    run: RunDetails | None
    metrics: list[MetricEntry]
    exit_code: int


class StatusListDocument(DocumentPart, frozen=True, kw_only=True):
    """``tandem rollout status`` without a name.

    Attributes:
        items: All rollouts.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutStatusList"] = "RolloutStatusList"
    items: list[StatusDocument]
