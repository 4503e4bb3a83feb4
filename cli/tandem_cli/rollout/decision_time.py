"""Whether a decision is expected before the time-out, and what would help if it is not."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from tandem_cli.rollout.estimate import TrafficAssumptions, estimate_run
from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.base import Statement
from tandem_cli.rollout.output.documents.plan import PlannedMetric
from tandem_cli.rollout.snapshot import RolloutSnapshot
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.analysis import Analysis
from tandem_rollout.engine.schedule import Schedule

_SPARE: Final = 1.5
"""Estimates are means: with a time-out that is not this many times as long, too many good versions time out."""

_HEAVIER: Final = 50
"""The percentage at which two versions are told apart with the fewest requests to both."""


@dataclass(frozen=True, slots=True)
class _Remedy:
    """A change of the spec that may help.

    Attributes:
        change: The change in words.
        schedule: The schedule with it.
        analysis: The analysis with it.
    """

    change: str
    schedule: Schedule
    analysis: Analysis


def check_decision_time(
    schedule: Schedule,
    analysis: Analysis,
    traffic: TrafficAssumptions,
    metrics: Sequence[PlannedMetric],
    minutes: float | None,
) -> list[Statement]:
    """Check whether a good version is expected to be promoted before the time-out.

    Args:
        schedule: The schedule.
        analysis: The analysis.
        traffic: The assumed traffic.
        metrics: What the metrics need.
        minutes: Estimated minutes that a good version takes; None if they are not known.

    Returns:
        Why it is not, and what would help; empty if it is.
    """
    timeout, rps = schedule.timeout, traffic.rps
    if minutes is None or rps is None or not math.isfinite(timeout) or minutes * 60.0 * _SPARE <= timeout:
        return []
    comparison = "longer" if minutes * 60.0 > timeout else "not much less"
    late = (
        f"at {rps:.3g} requests/s a good version takes about {words.span(minutes * 60.0)}, "
        f"{comparison} than the time-out of {words.span(timeout)}; then: {schedule.on_timeout}"
    )
    helpful = [f"analysis.timeout: {math.ceil(minutes * _SPARE / 60.0)}h"]
    for remedy in _remedies(schedule, analysis, metrics):
        _, needed = estimate_run(remedy.schedule, remedy.analysis, traffic)
        if needed is not None and needed < minutes:
            helpful.append(f"{remedy.change} (then about {words.span(needed * 60.0)})")
    return [
        Statement(reason="DecisionLate", message=late),
        Statement(reason="Remedies", message=f"what would help: {'; or '.join(helpful)}"),
    ]


def check_next_run(snapshot: RolloutSnapshot, record: Record | None) -> list[Statement]:
    """Check the same for a run that begins now, with the traffic of an earlier run.

    Args:
        snapshot: The rollout.
        record: Evidence of the earlier run; without it, nothing is known.
    """
    schedule, traffic = snapshot.schedule, TrafficAssumptions(record=record)
    if schedule is None:
        return []
    metrics, minutes = estimate_run(schedule, snapshot.analysis, traffic)
    return check_decision_time(schedule, snapshot.analysis, traffic, metrics, minutes)


def _remedies(schedule: Schedule, analysis: Analysis, metrics: Sequence[PlannedMetric]) -> Iterator[_Remedy]:
    last = schedule.steps[-1]
    if last.weight < _HEAVIER:
        heavier = replace(schedule, steps=(*schedule.steps[:-1], replace(last, weight=_HEAVIER)))
        yield _Remedy(f"a last step of {_HEAVIER}%", heavier, analysis)
    slow = [
        metric
        for metric in metrics
        if metric.gate and (metric.to_pass_minutes or 0.0) * 60.0 * _SPARE > schedule.timeout
    ]
    compared = [metric for metric in slow if metric.margin is not None]  # drift has no margin
    if compared:
        names = [metric.name for metric in compared]
        margin = math.floor(max(metric.margin or 0.0 for metric in compared)) + 1.0
        yield _Remedy(f"a margin of {margin:g} for {', '.join(names)}", schedule, _with(analysis, names, margin=margin))
    with_floor = [metric for metric in compared if metric.type != "latency"]
    floor = 2.0 * max((max(metric.rate or 0.0, metric.floor or 0.0) for metric in with_floor), default=0.0)
    if 0.0 < floor < 1.0:
        names = [metric.name for metric in with_floor]
        change = f"a floor of {words.rate(floor)} for {', '.join(names)}, if such a rate is acceptable"
        yield _Remedy(change, schedule, _with(analysis, names, floor=floor))


def _with(analysis: Analysis, names: Container[str], **changes: float) -> Analysis:
    """An analysis in which some metrics are changed."""
    metrics = [
        msgspec.structs.replace(metric, **changes) if metric.full_name in names else metric
        for metric in analysis.all_metrics
    ]
    return msgspec.structs.replace(analysis, metrics=metrics)
