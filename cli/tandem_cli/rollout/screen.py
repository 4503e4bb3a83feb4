"""What ``tandem rollout`` prints for people: tables that fit :data:`WIDTH` columns."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tandem_cli.output import Console
from tandem_cli.rollout import words
from tandem_cli.rollout.forms import Answer, Arm, Explanation, History, Metric, Past, Plan, Run, Status
from tandem_rollout.api.times import epoch

WIDTH: Final = 100
"""Columns that everything but ``-o wide`` fits."""

WIDE: Final = 200

_COLOURS: Final = {
    "pass": "green",
    "Promoted": "green",
    "Completed": "green",
    "fail": "red",
    "Aborting": "red",
    "Aborted": "red",
    "RollingBack": "red",
    "RolledBack": "red",
    "Paused": "yellow",
    "AwaitingApproval": "yellow",
    "no-data": "yellow",
    "provider-error": "yellow",
}


def text(shown: RenderableType, *, width: int = WIDTH) -> str:
    """What a terminal of this width would show, without colours."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(shown)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


# status


def status(form: Status, *, now: float, wide: bool = False) -> RenderableType:
    """A rollout as it stands.

    Args:
        form: How it stands.
        now: Seconds since the epoch.
        wide: Whether all numbers are written out.
    """
    facts = _facts()
    facts.add_row("rollout", Text(f"{form.namespace}/{form.name}" if form.namespace else form.name, "bold"))
    if not form.current:
        facts.add_row("", Text("the controller has not seen the latest spec yet", "yellow"))
    if form.message:
        facts.add_row("message", Text(form.message))
    if form.run is None:
        facts.add_row("run", Text("none yet"))
        if form.weights:
            facts.add_row("weights", Text(form.weights))
        return facts
    for name, value in _run(form.run, now, wide):
        facts.add_row(name, value)
    if not form.metrics:
        return facts
    return Group(facts, Text(), metrics(form.metrics, wide=wide))


def _run(run: Run, now: float, wide: bool) -> Iterable[tuple[str, Text]]:
    yield "run", Text(f"{run.number}, began {words.ago(now - epoch(run.started))}")
    yield "versions", Text(f"{_arm(run.stable, wide)} -> {_arm(run.canary, wide)}")
    state = Text(run.state, _COLOURS.get(run.state, "bold"))
    if run.steps and not run.ended and run.step <= run.steps:
        state.append(f", step {run.step} of {run.steps}", "default")
    yield "state", state.append(f", {words.ago(now - epoch(run.since))}", "default")
    measured = "not measured" if run.measured is None else f"measured {run.measured:.1f} %"
    yield "canary", Text(f"set to {run.weight} % of the requests, {measured}")
    if run.verdict:
        yield "verdict", Text(run.verdict, _COLOURS.get(run.verdict, ""))
    if run.deadline and not run.ended:
        yield "deadline", Text(f"{run.deadline}, {words.ago(now - epoch(run.deadline))}")
    if run.message:
        yield "reason", Text(run.message)
    if run.by:
        yield "by", Text(run.by)
    if run.last_command is not None and run.last_command.result == "Rejected":
        by = f" by {run.last_command.by}" if run.last_command.by else ""
        yield "refused", Text(f"{run.last_command.verb}{by}: {run.last_command.message}")
    if run.started_by or run.start_comment:
        yield "started", Text(words.by_whom(run.started_by, run.start_comment))


def metrics(forms: Iterable[Metric], *, wide: bool = False) -> RenderableType:
    """A table of metrics; those of which only the status is known in its words."""
    forms = list(forms)
    table = _table("metric", ">stable (n)", ">canary (n)", "ratio (95 %)", "limit", "verdict", ">needed")
    for form in forms:
        if form.type is None:
            continue
        table.add_row(
            Text(form.name if form.gate else f"{form.name}*"),
            _counted(form.stable, form.stable_requests, form, wide, stable=True),
            _counted(form.canary, form.canary_requests, form, wide),
            ratio(form),
            form.limit,
            Text(form.verdict, _COLOURS.get(form.verdict, "")),
            "" if form.needed is None else f"{form.needed:,}" if wide else words.count(form.needed),
        )
    said = [
        Text(f"{form.name}: {form.verdict}{f', {form.message}' if form.message else ''}")
        for form in forms
        if form.type is None or form.message
    ]
    if any(form.type and not form.gate for form in forms):
        said.append(_REPORTED)
    parts: list[RenderableType] = [table] if table.row_count else []
    return Group(*parts, *said)


def ratio(form: Metric) -> str:
    """A ratio with its interval."""
    if form.ratio is None and form.ratio_high is None:
        return ""
    point = "?" if form.ratio is None else words.ratio(form.ratio)
    high = "any" if form.ratio_high is None else words.ratio(form.ratio_high)
    return f"{point} ({words.ratio(form.ratio_low or 0.0)}-{high})"


def value(form: Metric, of: float | None, *, stable: bool = False) -> str:
    """A rate, or a distance."""
    if of is None:
        return "-"
    return f"{of:.3f}" if form.type == "drift" and not stable else words.rate(of)


def _counted(of: float | None, requests: float | None, form: Metric, wide: bool, *, stable: bool = False) -> str:
    if not requests:
        return "-"
    return f"{value(form, of, stable=stable)} ({f'{requests:,.0f}' if wide else words.count(requests)})"


def statuses(forms: Iterable[Status], *, now: float) -> RenderableType:
    """All rollouts, a line for each."""
    table = _table("name", "run", "state", ">step", ">weight", ">measured", "version", "verdict", ">since")
    for form in forms:
        run = form.run
        if run is None:
            table.add_row(form.name, "-", form.message or "-", "", "", "", "", "", "")
            continue
        table.add_row(
            form.name,
            str(run.number),
            Text(run.state, _COLOURS.get(run.state, "")),
            f"{min(run.step, run.steps)}/{run.steps}" if run.steps else "",
            f"{run.weight}%",
            "" if run.measured is None else f"{run.measured:.1f}%",
            run.canary.version or run.canary.service,
            Text(run.verdict or "", _COLOURS.get(run.verdict or "", "")),
            words.span(now - epoch(run.since)),
        )
    return table


def line(form: Status) -> str:
    """A rollout in one line, for a log."""
    run = form.run
    if run is None:
        return f"{form.name}: no run yet{f': {form.message}' if form.message else ''}"
    step = f", step {run.step} of {run.steps}" if run.steps and run.step <= run.steps and not run.ended else ""
    verdicts = ", ".join(f"{each.name}{'' if each.gate else '*'} {each.verdict}" for each in form.metrics)
    reason = f" ({run.message})" if run.message else ""
    return f"{form.name} run {run.number}: {run.state}{step}, weight {run.weight} %{reason}" + (
        f"; {verdicts}" if verdicts and not run.ended else ""
    )


# the rest


def history(form: History, *, now: float, wide: bool = False) -> RenderableType:
    """Runs, a line for each."""
    if not form.runs:
        return Text("no run yet")
    table = _table("run", "outcome", "stable", "canary", "started", ">took", "by", "reason")
    for each in form.runs:
        took = each.seconds if each.seconds is not None else now - epoch(each.started) if each.started else 0.0
        table.add_row(
            str(each.number),
            Text(each.outcome, _COLOURS.get(each.outcome, "")),
            _arm(each.stable, wide),
            _arm(each.canary, wide),
            each.started if wide or not each.started else f"{words.span(now - epoch(each.started))} ago",
            words.span(took),
            Text(each.by),
            Text("\n".join(filter(None, (each.message, _start(each))))),
        )
    return table


def _start(run: Past) -> str:
    return words.started(run.started_by, run.start_comment) if run.started_by or run.start_comment else ""


def explanation(form: Explanation) -> RenderableType:
    """Why a rollout is where it is."""
    facts = _facts()
    facts.add_row("state", Text(form.state or "no run", _COLOURS.get(form.state or "", "bold")))
    for title, items in (("because", form.because), ("waits for", form.waits_for)):
        for index, said in enumerate(items):
            facts.add_row("" if index else title, Text(said.message))
    if form.rule:
        facts.add_row("rule", Text(form.rule))
    for index, advice in enumerate(form.next):
        facts.add_row("" if index else "next", Text(advice.command, "bold").append(f"  {advice.effect}", "default"))
    return facts


def plan(form: Plan) -> RenderableType:
    """What would happen."""
    facts = _facts()
    facts.add_row("rollout", Text(f"{form.namespace}/{form.name}" if form.namespace else form.name, "bold"))
    facts.add_row("strategy", Text(form.strategy))
    facts.add_row("counted by", Text(f"{form.source}, every {form.interval_seconds:g} s"))
    if form.requests_per_second is not None:
        facts.add_row("traffic", Text(f"{form.requests_per_second:g} requests/s ({form.rate_from})"))
    if form.minutes is not None:
        verdict = "" if form.in_time is None else ", in time" if form.in_time else ", too late for its time-out"
        facts.add_row("takes", Text(f"about {words.span(form.minutes * 60)} until a good version is promoted{verdict}"))
    if form.timeout_seconds is not None:
        facts.add_row("time-out", Text(f"{words.span(form.timeout_seconds)}, then {form.on_timeout}"))
    for index, warning in enumerate(form.warnings):
        facts.add_row("" if index else "warning", Text(warning.message, "yellow"))
    steps = _table(">step", ">weight", ">hold", "then", ">canary requests")
    for number, step in enumerate(form.steps, 1):
        then = "waits for a person" if step.gate else "promoted" if number == len(form.steps) else "next"
        requests = "?" if step.canary_requests is None else words.count(step.canary_requests)
        steps.add_row(str(number), f"{step.weight}%", words.span(step.min_duration_seconds), then, requests)
    metrics = _table("metric", "limit", ">alpha", ">beta", ">rate", ">to pass", ">takes", ">to fail", ">takes")
    for each in form.metrics:
        limit = f"PSI {each.limit:g}" if each.limit is not None else f"x{each.margin:g}" if each.margin else ""
        floor = f" > {words.rate(each.floor)}" if each.floor else ""
        known = "" if each.rate is None else f"{words.rate(each.rate)} {each.rate_from}"
        if each.distance is not None:
            known = f"PSI {each.distance:.2g} expected"
        metrics.add_row(
            Text(each.name if each.gate else f"{each.name}*"),
            limit + floor,
            f"{each.alpha:g}",
            f"{each.beta:g}",
            known,
            words.count(each.to_pass),
            _minutes(each.to_pass_minutes),
            words.count(each.to_fail),
            _minutes(each.to_fail_minutes),
        )
    parts: list[RenderableType] = [facts]
    if form.steps:
        parts += [Text(), steps]
    parts += [Text(), metrics]
    if any(not each.gate for each in form.metrics):
        parts.append(_REPORTED)
    if form.diff:
        parts += [Text(), *(Text(each, _DIFF.get(each[:1], "")) for each in form.diff)]
    return Group(*parts)


def answer(form: Answer) -> RenderableType:
    """What became of a command."""
    if form.result == "Rejected":
        return Text(f"refused: {form.message}")
    if not form.heard:
        return Text(f"{form.verb} was sent as {form.by}")
    return Text(f"{form.verb} was heard: {form.name} is {form.state}")


_REPORTED: Final = Text("* only reported, decides nothing", "dim")
_DIFF: Final = {"+": "green", "-": "red"}


def _minutes(value: float | None) -> str:
    return "?" if value is None else words.span(value * 60)


def _arm(arm: Arm, wide: bool) -> str:
    if arm.version in ("", arm.service):
        return arm.service
    return f"{arm.version} ({arm.service})" if wide else arm.version


def _facts() -> Table:
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    return facts


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table
