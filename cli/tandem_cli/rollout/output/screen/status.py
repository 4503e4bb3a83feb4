"""The tables and lines of ``tandem rollout status`` and ``watch``."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.status import AliasDetails, MetricEntry, RunDetails, StatusDocument
from tandem_cli.rollout.output.screen.layout import (
    NOT_DECIDING,
    build_facts,
    build_table,
    full_name,
    styled,
    version_name,
)
from tandem_rollout.api.times import epoch


def render_status(status: StatusDocument, *, now: float, wide: bool = False) -> RenderableType:
    """The status of one rollout.

    Args:
        status: The status.
        now: Seconds since the epoch.
        wide: Whether numbers are written in full.
    """
    facts = build_facts()
    facts.add_row("rollout", full_name(status.name, status.namespace))
    if not status.current:
        facts.add_row("", Text("the controller has not observed the latest spec yet", "yellow"))
    if status.message:
        facts.add_row("message", Text(status.message))
    if status.registry is not None:
        facts.add_row("alias", _alias(status.registry))
    if status.run is None:
        facts.add_row("run", Text("none yet"))
        if status.weights:
            facts.add_row("weights", Text(status.weights))
        return facts
    for name, value in _run_facts(status.run, now, wide):
        facts.add_row(name, value)
    if not status.metrics:
        return facts
    return Group(facts, Text(), render_metrics(status.metrics, wide=wide))


def render_status_list(statuses: Iterable[StatusDocument], *, now: float) -> RenderableType:
    """The statuses of all rollouts, a line for each."""
    table = build_table("name", "run", "state", ">step", ">weight", ">measured", "version", "verdict", ">since")
    for status in statuses:
        run = status.run
        if run is None:
            table.add_row(status.name, "-", status.message or "-", "", "", "", "", "", "")
            continue
        table.add_row(
            status.name,
            str(run.number),
            styled(run.state),
            f"{min(run.step, run.steps)}/{run.steps}" if run.steps else "",
            f"{run.weight}%",
            "" if run.measured is None else f"{run.measured:.1f}%",
            version_name(run.canary),
            styled(run.verdict or ""),
            words.span(now - epoch(run.since)),
        )
    return table


def render_line(status: StatusDocument) -> str:
    """The status of one rollout in one line, for a log."""
    run = status.run
    if run is None:
        return f"{status.name}: no run yet{f': {status.message}' if status.message else ''}"
    step = f", step {run.step} of {run.steps}" if run.steps and run.step <= run.steps and not run.ended else ""
    verdicts = ", ".join(f"{_metric_name(result)} {result.verdict}" for result in status.metrics)
    reason = f" ({run.message})" if run.message else ""
    line = f"{status.name} run {run.number}: {run.state}{step}, weight {run.weight} %{reason}"
    return f"{line}; {verdicts}" if verdicts and not run.ended else line


def render_metrics(results: Iterable[MetricEntry], *, wide: bool = False) -> RenderableType:
    """The results of metrics: a table, and below it their messages."""
    results = list(results)
    table = build_table("metric", ">stable (n)", ">canary (n)", "ratio (95 %)", "limit", "verdict", ">needed")
    for result in results:
        if result.type is not None:
            table.add_row(*_metric_row(result, wide))
    notes = [
        Text(f"{result.name}: {result.verdict}{f', {result.message}' if result.message else ''}")
        for result in results
        if result.type is None or result.message
    ]
    if any(result.type and not result.gate for result in results):
        notes.append(NOT_DECIDING)
    parts: list[RenderableType] = [table] if table.row_count else []
    return Group(*parts, *notes)


def _metric_row(result: MetricEntry, wide: bool) -> list[Text | str]:
    is_distance = result.type == "drift"
    needed = "" if result.needed is None else f"{result.needed:,}" if wide else words.count(result.needed)
    return [
        Text(_metric_name(result)),
        _rate_and_count(words.measure(result.stable), result.stable_requests, wide),
        _rate_and_count(words.measure(result.canary, is_distance=is_distance), result.canary_requests, wide),
        words.interval(result.ratio, result.ratio_low, result.ratio_high),
        result.limit,
        styled(result.verdict),
        needed,
    ]


def _metric_name(result: MetricEntry) -> str:
    return result.name if result.gate else f"{result.name}*"


def _rate_and_count(rate: str, requests: float | None, wide: bool) -> str:
    if not requests:
        return "-"
    return f"{rate} ({f'{requests:,.0f}' if wide else words.count(requests)})"


def _run_facts(run: RunDetails, now: float, wide: bool) -> Iterable[tuple[str, Text]]:
    stable, canary = version_name(run.stable, wide=wide), version_name(run.canary, wide=wide)
    measured = "not measured" if run.measured is None else f"measured {run.measured:.1f} %"
    yield "run", Text(f"{run.number}, began {words.ago(now - epoch(run.started))}")
    yield "versions", Text(f"{stable} -> {canary}")
    yield "state", _state(run, now)
    yield "canary", Text(f"set to {run.weight} % of the requests, {measured}")
    if run.verdict:
        yield "verdict", styled(run.verdict)
    if run.deadline and not run.ended:
        yield "deadline", Text(f"{run.deadline}, {words.ago(now - epoch(run.deadline))}")
    if run.message:
        yield "reason", Text(run.message)
    if run.by:
        yield "by", Text(run.by)
    if run.last_command is not None and run.last_command.result == "Rejected":
        by = f" by {run.last_command.by}" if run.last_command.by else ""
        yield "rejected", Text(f"{run.last_command.verb}{by}: {run.last_command.message}")
    if run.started_by or run.start_comment:
        yield "started", Text(words.by_whom(run.started_by, run.start_comment))


def _alias(registry: AliasDetails) -> Text:
    name = f"models:/{registry.model}@{registry.alias}"
    text = Text(f"{name} is version {registry.version}, {registry.digest[:8] or 'not resolved yet'}")
    return text.append(f"; {registry.message or registry.reason}", "yellow") if registry.reason else text


def _state(run: RunDetails, now: float) -> Text:
    state = styled(run.state, "bold")
    if run.steps and not run.ended and run.step <= run.steps:
        state.append(f", step {run.step} of {run.steps}", "default")
    return state.append(f", {words.ago(now - epoch(run.since))}", "default")
