"""The conditions that a run waits for, in each state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.base import Statement
from tandem_cli.rollout.output.documents.status import MetricEntry
from tandem_cli.rollout.snapshot import RolloutSnapshot
from tandem_rollout.api.status import RunStatus
from tandem_rollout.api.times import epoch
from tandem_rollout.engine.schedule import Schedule

READY_REASONS: Final = frozenset({"Verified", "Retained"})
"""Reasons of a variant whose pods are ready and that waits for nothing."""


@dataclass(frozen=True, slots=True)
class _Situation:
    """A run at one moment.

    Attributes:
        snapshot: The rollout.
        run: The run.
        schedule: The schedule; None if the spec is not understood.
        metrics: The results of the metrics.
        now: Seconds since the epoch.
    """

    snapshot: RolloutSnapshot
    run: RunStatus
    schedule: Schedule | None
    metrics: Sequence[MetricEntry]
    now: float


def list_wait_conditions(
    snapshot: RolloutSnapshot, run: RunStatus, metrics: Sequence[MetricEntry], now: float
) -> list[Statement]:
    """The conditions that a run waits for; empty if it waits for nothing.

    Args:
        snapshot: The rollout.
        run: Its run.
        metrics: The results of the metrics.
        now: Seconds since the epoch.
    """
    conditions = _BY_STATE.get(run.state)
    return list(conditions(_Situation(snapshot, run, snapshot.schedule, metrics, now))) if conditions else []


def list_conditions_without_run(snapshot: RolloutSnapshot) -> list[Statement]:
    """The conditions for the first run."""
    if snapshot.spec is not None and snapshot.schedule is None:
        message = f"nothing: the strategy {snapshot.spec.strategy.name} has no runs"
        return [Statement(reason="NoAnalysis", message=message)]
    if not snapshot.status.weights:
        return [Statement(reason="NothingServes", message="a first version that serves")]
    return [Statement(reason="SpecUnchanged", message="another bundle in the spec")]


def _pods(situation: _Situation) -> Iterator[Statement]:
    run, schedule = situation.run, situation.schedule
    yield Statement(reason="PodsNotReady", message=f"pods of the canary for {_next_weight(run, schedule)}")
    for variant in situation.snapshot.status.variants:
        is_ready = variant.phase == "Ready" and variant.reason in READY_REASONS
        if variant.inference_service == run.canary and not is_ready:
            details = f": {variant.message}" if variant.message else ""
            message = f"{variant.inference_service} is {variant.phase}{details}"
            yield Statement(reason=variant.reason, message=message)
    if schedule is not None:
        remaining = epoch(run.since) + schedule.progress_deadline - situation.now
        effect = "aborted" if run.weight == 0 else "paused"
        message = f"at most {words.span(remaining)} more, then the run is {effect}"
        yield Statement(reason="ProgressDeadline", message=message)


def _next_weight(run: RunStatus, schedule: Schedule | None) -> str:
    if schedule is None:
        return "its next weight"
    return f"{schedule.steps[run.step].weight} %" if run.step < len(schedule.steps) else "all requests"


def _evidence(situation: _Situation) -> Iterator[Statement]:
    run, schedule = situation.run, situation.schedule
    statements = [*_minimum_duration(situation), *_missing_evidence(situation)]
    if not statements:
        message = "the next sample of the metrics" if situation.metrics else "the first sample of the metrics"
        statements.append(Statement(reason="NextSample", message=message))
    yield from statements
    if run.deadline and schedule is not None:
        message = f"at most {words.span(epoch(run.deadline) - situation.now)} more, then: {schedule.on_timeout}"
        yield Statement(reason="AnalysisTimeout", message=message)


def _minimum_duration(situation: _Situation) -> Iterator[Statement]:
    run, schedule = situation.run, situation.schedule
    if schedule is None or run.step >= len(schedule.steps):
        return
    remaining = epoch(run.since) + schedule.steps[run.step].min_duration - situation.now
    if remaining > 0:
        message = f"the minimum duration of step {run.step + 1}: {words.span(remaining)} more"
        yield Statement(reason="StepHold", message=message)


def _missing_evidence(situation: _Situation) -> Iterator[Statement]:
    run = situation.run
    is_last_step = bool(run.steps) and run.step == run.steps - 1
    for metric in situation.metrics:
        if metric.gate and metric.verdict != "pass" and (is_last_step or metric.verdict != "inconclusive"):
            yield _not_passed(metric)


def _not_passed(metric: MetricEntry) -> Statement:
    if metric.verdict in ("no-data", "provider-error"):
        message = f"{metric.name}, {metric.verdict}: {metric.message or 'nothing was counted yet'}"
        return Statement(reason=metric.reason or "NothingRead", message=message)
    ratio = words.interval(metric.ratio, metric.ratio_low, metric.ratio_high)
    parts = [
        f"{metric.name}, {metric.verdict}",
        f"ratio {ratio}" if ratio else "",
        f"limit {metric.limit}" if metric.limit else "",
        f"about {metric.needed:,} more requests to the canary" if metric.needed else "",
    ]
    return Statement(reason="MetricNotPassed", message=", ".join(filter(None, parts)))


def _user(situation: _Situation) -> Iterator[Statement]:
    yield Statement(reason="UserCommand", message="a command of a user")


def _bake_time(situation: _Situation) -> Iterator[Statement]:
    message = "the end of the bake time"
    if situation.schedule is not None:
        weight = situation.run.weight
        remaining = epoch(situation.run.since) + situation.schedule.bake - situation.now
        message += f": {words.span(remaining)} more"
        message += f"; stable keeps {100 - weight} % of the requests" if weight < 100 else ""
    yield Statement(reason="BakeTime", message=message)


def _stable(situation: _Situation) -> Iterator[Statement]:
    run = situation.run
    if not run.weight:
        yield Statement(reason="RouteNotUpdated", message="the route to drop the canary")
    elif run.immediate_rollback or len(run.min_pods) != 2:
        yield Statement(reason="StableNotReady", message="a ready pod of stable")
    else:
        message = f"stable to have {run.min_pods[0]} transformers and {run.min_pods[1]} predictors again"
        yield Statement(reason="StableNotReady", message=message)


def _horizon(situation: _Situation) -> Iterator[Statement]:
    if not situation.run.deadline:
        yield Statement(reason="SpecUnchanged", message="another plan")
        return
    remaining = epoch(situation.run.deadline) - situation.now
    yield Statement(reason="Horizon", message=f"the horizon: {words.span(remaining)} more")


_BY_STATE: Final[dict[str, Callable[[_Situation], Iterator[Statement]]]] = {
    "Preparing": _pods,
    "Scaling": _pods,
    "Analyzing": _evidence,
    "AwaitingApproval": _user,
    "Paused": _user,
    "Baking": _bake_time,
    "Aborting": _stable,
    "RollingBack": _stable,
    "Observing": _horizon,
}
