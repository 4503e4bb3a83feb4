"""Whether a decision comes in time, and what would help."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from tandem_cli.rollout import words
from tandem_cli.rollout.course import Traffic, course
from tandem_cli.rollout.current import Current
from tandem_cli.rollout.forms import PlannedMetric, Said
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.analysis import Analysis
from tandem_rollout.engine.schedule import Schedule

_SPARE: Final = 1.5
"""Times are means: of a time-out that is not so many times as long, too few good versions are decided in time."""

_HEAVIER: Final = 50
"""Percentage at which two versions are told apart with the fewest requests of both."""


def lateness(
    schedule: Schedule,
    analysis: Analysis,
    traffic: Traffic,
    metrics: Sequence[PlannedMetric],
    minutes: float | None,
) -> list[Said]:
    """Why a good version will probably not be promoted in time, and what would help; empty where it will be.

    Args:
        schedule: What is planned.
        analysis: What is looked at.
        traffic: What the numbers are for.
        metrics: What the metrics need.
        minutes: About how long a good version takes; None where that is not known.
    """
    timeout, rps = schedule.timeout, traffic.rps
    if minutes is None or rps is None or not math.isfinite(timeout) or minutes * 60.0 * _SPARE <= timeout:
        return []
    late = minutes * 60.0 > timeout
    judged = f"{'longer' if late else 'hardly less'} than the time-out of {words.span(timeout)}"
    said = f"at {rps:.3g} requests/s a good version takes about {words.span(minutes * 60.0)}, {judged}; then: "
    hours = math.ceil(minutes * _SPARE / 60.0)
    remedies = [f"analysis.timeout: {hours}h"]

    def remedy(what: str, schedule: Schedule, analysis: Analysis) -> None:
        _, needed = course(schedule, analysis, traffic)
        if needed is not None and needed < minutes:
            remedies.append(f"{what} (then about {words.span(needed * 60.0)})")

    last = schedule.steps[-1]
    if last.weight < _HEAVIER:
        heavier = replace(schedule, steps=(*schedule.steps[:-1], replace(last, weight=_HEAVIER)))
        remedy(f"a last step of {_HEAVIER}%", heavier, analysis)
    slow = [each for each in metrics if each.gate and (each.to_pass_minutes or 0.0) * 60.0 * _SPARE > timeout]
    compared = {each.name: each for each in slow if each.margin is not None}  # drift has no margin
    margins = {name: each.margin or 0.0 for name, each in compared.items()}
    if margins:
        margin = math.floor(max(margins.values())) + 1.0
        remedy(f"a margin of {margin:g} for {', '.join(margins)}", schedule, _with(analysis, margins, margin=margin))
    rates = {
        name: max(each.rate or 0.0, each.floor or 0.0) for name, each in compared.items() if each.type != "latency"
    }
    floor = 2.0 * max(rates.values(), default=0.0)
    if 0.0 < floor < 1.0:
        what = f"a floor of {words.rate(floor)} for {', '.join(rates)}, if nobody would mind such a rate"
        remedy(what, schedule, _with(analysis, rates, floor=floor))
    return [
        Said(reason="DecisionLate", message=said + schedule.on_timeout),
        Said(reason="Remedies", message=f"what would help: {'; or '.join(remedies)}"),
    ]


def lateness_from(current: Current, record: Record | None) -> list[Said]:
    """The same of a run that begins now, with traffic as it was in an earlier one.

    Args:
        current: The rollout.
        record: Evidence of an earlier run, for the rates of requests and of events. Without it nothing is known.
    """
    schedule, spec, traffic = current.schedule, current.spec, Traffic(record=record)
    if schedule is None or spec is None:
        return []
    analysis = spec.analysis or Analysis()
    return lateness(schedule, analysis, traffic, *course(schedule, analysis, traffic))


def _with(analysis: Analysis, names: Container[str], **changes: float) -> Analysis:
    """An analysis with some metrics changed."""
    metrics = [
        msgspec.structs.replace(each, **changes) if each.full_name in names else each for each in analysis.all_metrics
    ]
    return msgspec.structs.replace(analysis, metrics=metrics)
