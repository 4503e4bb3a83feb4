"""What both forms of a report say, as plain text: whoever writes it down escapes it."""

from __future__ import annotations

from typing import Final

from tandem_cli.rollout import screen, words
from tandem_cli.rollout.forms import Arm
from tandem_cli.rollout.report.form import Counted, Decided, Question, Report

VERDICT_COLUMNS: Final = ("metric", "stable", "n", "canary", "n", "ratio (95 %)", "limit", "verdict", "")
DECISION_COLUMNS: Final = ("when", "state", "weight", "who", "why")
STEP_COLUMNS: Final = ("step", "weight", "hold", "then")


def title(report: Report) -> str:
    """Its title."""
    return f"Rollout {report.name}, run {report.run.number}: {report.run.outcome}"


def facts(report: Report) -> list[tuple[str, str]]:
    """What there is to know of a run, with names."""
    run = report.run
    found = [
        ("rollout", f"{report.namespace}/{report.name}" if report.namespace else report.name),
        ("run", str(run.number)),
        ("outcome", run.outcome),
        ("stable", _arm(run.stable)),
        ("canary", _arm(run.canary)),
        ("strategy", report.strategy or ""),
        ("began", run.started),
        ("ended", f"{run.ended} ({words.span(run.seconds or 0)})" if run.ended else "not yet"),
        ("why", run.message),
        ("who", run.by or "the controller"),
        ("started by", run.started_by or ("somebody" if run.start_comment else "the spec")),
        ("why it was started", run.start_comment),
        ("metrics together", report.verdict or ""),
        ("ticks counted", str(report.ticks)),
        ("plan", report.plan),
        ("SHA-256 of the evidence", report.evidence or ""),
        ("report made", report.made),
    ]
    return [(name, said) for name, said in found if said]


def warnings(report: Report) -> list[str]:
    """What a reader must know."""
    said = []
    if report.evidence is None:
        said.append("There is no evidence of this run any more, or none that this program can read.")
    if report.evidence is not None and not report.same_plan:
        said.append("The spec has been changed since: steps, questions and verdicts are by what it says now.")
    return said


def verdicts(report: Report) -> list[list[str]]:
    """Rows of the table of verdicts."""
    return [
        [
            each.name if each.gate else f"{each.name} (only reported)",
            screen.value(each, each.stable, stable=True) if each.type else "",
            _number(each.stable_requests),
            screen.value(each, each.canary) if each.type else "",
            _number(each.canary_requests),
            screen.ratio(each),
            each.limit,
            each.verdict,
            each.message,
        ]
        for each in report.metrics
    ]


def decisions(report: Report) -> list[list[str]]:
    """Rows of the table of decisions."""
    return [[each.at, each.state, f"{each.weight} %", *_who_and_why(each)] for each in report.decisions]


def _who_and_why(decided: Decided) -> tuple[str, str]:
    if (answer := decided.rejected) is not None:
        return answer.by or "somebody", f"refused: {answer.message}"
    return decided.by or "the controller", decided.message


def steps(report: Report) -> list[list[str]]:
    """Rows of the table of steps."""
    last = len(report.steps)
    return [
        [
            str(number),
            f"{step.weight} %",
            words.span(step.min_duration_seconds),
            "waits for a person" if step.gate else "promoted when every metric passes" if number == last else "next",
        ]
        for number, step in enumerate(report.steps, 1)
    ]


def asked(question: Question) -> str:
    """What a metric asks and is held against, in a sentence or two."""
    said = [question.what]
    if question.margin is not None:
        said.append(f"bad from {question.margin:g} times stable's rate")
    if question.floor:
        said.append(f"nobody minds {words.rate(question.floor)}")
    if question.canary_limit is not None:
        said.append(f"slow from {question.limit:g} s, of the canary from {question.canary_limit:g} s")
    elif question.limit is not None:
        said.append(f"limit {question.limit:g}")
    said.append(f"alpha {question.alpha:g}, beta {question.beta:g}, dispersion {question.dispersion:.3g}")
    if question.min_requests:
        said.append(f"{question.min_requests:,} requests of the canary at least")
    return "; ".join(said) + ("." if question.gate else ". It is only reported.")


def samples(report: Report, most: int) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of samples: events of requests, canary's and stable's."""
    names = sorted({name for tick in report.samples for name in tick.metrics})
    types = {each.name: each.type for each in report.questions}
    rows = [
        [tick.at, f"{tick.weight} %", *(_cell(tick.metrics.get(name), types.get(name, "")) for name in names)]
        for tick in report.samples[-most:]
    ]
    return ["tick", "weight", *names], rows


def transitions(report: Report) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of transitions; what was not judged stands in brackets."""
    names = sorted({name for tick in report.transitions for name in (*tick.metrics, *tick.reported)})
    types = {each.name: each.type for each in report.questions}
    rows = []
    for tick in report.transitions:
        share = "" if tick.low is None or tick.high is None else f"{tick.low:.0%} to {tick.high:.0%}"
        cells = []
        for name in names:
            kind, unjudged = types.get(name, ""), tick.reported.get(name)
            cells.append(f"({_cell(unjudged, kind)})" if unjudged else _cell(tick.metrics.get(name), kind))
        rows.append([tick.at, f"{tick.weight} %", share, *cells])
    return ["tick", "weight", "share", *names], rows


def taken(report: Report) -> str:
    """How what fell into transitions was taken, and what is in no tick."""
    text = (
        "While the weight changes the canary's share of the requests is only known to lie between two bounds. Rates "
        "are judged with the greatest where they speak against the canary, and with the least where they speak for it. "
        "What stands in brackets was counted and not judged: predictions and units while the share is not known, "
        "latencies while caches are cold or no limit is known."
    )
    for name, counted in sorted(report.unplaced.items()):
        text += f" Counters of {name} restarted in part and are in no tick: they showed {_cell(counted, '')}."
    return text


def bounded(report: Report, most: int) -> str:
    """How many of the samples are shown."""
    shown = min(most, len(report.samples))
    return (
        f"The last {shown} of {report.ticks} ticks: events of requests, the canary's against stable's; "
        "for drift rows and distance."
    )


def _cell(counted: Counted | None, kind: str) -> str:
    if counted is None:
        return "-"
    if kind == "drift":
        return f"{counted.canary_requests:.0f} / {counted.stable_requests:.0f} rows, {counted.canary_events:.3f}"
    if kind == "assignment":
        return f"{counted.canary_requests:.0f} / {counted.stable_requests:.0f} units"
    return (
        f"{counted.canary_events:.0f} of {counted.canary_requests:.0f} / "
        f"{counted.stable_events:.0f} of {counted.stable_requests:.0f}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _arm(arm: Arm) -> str:
    return f"{arm.version} ({arm.service})" if arm.version not in ("", arm.service) else arm.service
