"""The tables of ``tandem rollout plan``."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.plan import PlanDocument, PlannedMetric, PlannedStep
from tandem_cli.rollout.output.screen.layout import NOT_DECIDING, build_facts, build_table, full_name

_DIFF_STYLES: Final = {"+": "green", "-": "red"}


def render_plan(plan: PlanDocument) -> RenderableType:
    """A plan: facts, steps, metrics, and the change of the spec."""
    parts: list[RenderableType] = [_facts(plan)]
    if plan.steps:
        parts += [Text(), _steps(plan.steps)]
    parts += [Text(), _metrics(plan.metrics)]
    if any(not metric.gate for metric in plan.metrics):
        parts.append(NOT_DECIDING)
    if plan.diff:
        parts += [Text(), *(Text(line, _DIFF_STYLES.get(line[:1], "")) for line in plan.diff)]
    return Group(*parts)


def _facts(plan: PlanDocument) -> Table:
    facts = build_facts()
    facts.add_row("rollout", full_name(plan.name, plan.namespace))
    facts.add_row("strategy", Text(plan.strategy))
    facts.add_row("source", Text(f"{plan.source}, every {plan.interval_seconds:g} s"))
    if plan.requests_per_second is not None:
        facts.add_row("traffic", Text(f"{plan.requests_per_second:g} requests/s ({plan.rate_from})"))
    if plan.minutes is not None:
        verdict = "" if plan.in_time is None else ", in time" if plan.in_time else ", after the time-out"
        facts.add_row("takes", Text(f"about {words.span(plan.minutes * 60)} until a good version is promoted{verdict}"))
    if plan.timeout_seconds is not None:
        facts.add_row("time-out", Text(f"{words.span(plan.timeout_seconds)}, then {plan.on_timeout}"))
    for index, warning in enumerate(plan.warnings):
        facts.add_row("" if index else "warning", Text(warning.message, "yellow"))
    return facts


def _steps(steps: list[PlannedStep]) -> Table:
    table = build_table(">step", ">weight", ">min duration", "then", ">canary requests")
    for number, step in enumerate(steps, 1):
        then = "waits for approval" if step.gate else "promoted" if number == len(steps) else "next step"
        requests = "?" if step.canary_requests is None else words.count(step.canary_requests)
        table.add_row(str(number), f"{step.weight}%", words.span(step.min_duration_seconds), then, requests)
    return table


def _metrics(metrics: list[PlannedMetric]) -> Table:
    table = build_table("metric", "limit", ">alpha", ">beta", ">rate", ">to pass", ">takes", ">to fail", ">takes")
    for metric in metrics:
        table.add_row(
            Text(metric.name if metric.gate else f"{metric.name}*"),
            _limit(metric),
            f"{metric.alpha:g}",
            f"{metric.beta:g}",
            _rate(metric),
            words.count(metric.to_pass),
            _minutes(metric.to_pass_minutes),
            words.count(metric.to_fail),
            _minutes(metric.to_fail_minutes),
        )
    return table


def _limit(metric: PlannedMetric) -> str:
    if metric.limit is not None:
        return f"PSI {metric.limit:g}"
    margin = f"x{metric.margin:g}" if metric.margin else ""
    return f"{margin} > {words.rate(metric.floor)}" if metric.floor else margin


def _rate(metric: PlannedMetric) -> str:
    if metric.distance is not None:
        return f"PSI {metric.distance:.2g} expected"
    return "" if metric.rate is None else f"{words.rate(metric.rate)} {metric.rate_from}"


def _minutes(value: float | None) -> str:
    return "?" if value is None else words.span(value * 60)
