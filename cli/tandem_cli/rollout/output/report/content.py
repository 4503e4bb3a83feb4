"""The content of a report as plain text, for all formats. Each format escapes it as it must."""

from __future__ import annotations

from typing import Final

from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.report import DecisionEntry, MetricQuestion, ReportDocument, SampleCounts
from tandem_cli.rollout.output.screen.layout import version_name

VERDICT_COLUMNS: Final = ("metric", "stable", "n", "canary", "n", "ratio (95 %)", "limit", "verdict", "")
DECISION_COLUMNS: Final = ("when", "state", "weight", "who", "why")
STEP_COLUMNS: Final = ("step", "weight", "min duration", "then")

_TRANSITIONS: Final = (
    "While the weight changes, only two bounds of the canary's share of the requests are known. Rates are judged with "
    "the upper bound if they speak against the canary, and with the lower bound if they speak for it. Values in "
    "brackets were counted and not judged: predictions and units while the share is not known, latencies while caches "
    "are cold or no limit is known."
)


def title(report: ReportDocument) -> str:
    """The title."""
    return f"Rollout {report.name}, run {report.run.number}: {report.run.outcome}"


def facts(report: ReportDocument) -> list[tuple[str, str]]:
    """Names and values of the facts about the run; facts without a value are left out."""
    run = report.run
    rows = [
        ("rollout", f"{report.namespace}/{report.name}" if report.namespace else report.name),
        ("run", str(run.number)),
        ("outcome", run.outcome),
        ("stable", version_name(run.stable, wide=True)),
        ("canary", version_name(run.canary, wide=True)),
        ("strategy", report.strategy or ""),
        ("began", run.started),
        ("ended", f"{run.ended} ({words.span(run.seconds or 0)})" if run.ended else "not yet"),
        ("why", run.message),
        ("who", run.by or "the controller"),
        ("started by", run.started_by or ("an unknown user" if run.start_comment else "a change of the spec")),
        ("why it was started", run.start_comment),
        ("verdict of all metrics", report.verdict or ""),
        ("samples", str(report.sample_count)),
        ("plan", report.plan),
        ("SHA-256 of the evidence", report.evidence or ""),
        ("report created", report.created),
    ]
    return [(name, value) for name, value in rows if value]


def warnings(report: ReportDocument) -> list[str]:
    """What the reader must know first."""
    if report.evidence is None:
        return ["There is no evidence of this run, or this version of the command cannot read it."]
    if not report.same_plan:
        return ["The spec has been changed since: steps, questions and verdicts are those of the current spec."]
    return []


def verdicts(report: ReportDocument) -> list[list[str]]:
    """Rows of the table of verdicts."""
    return [
        [
            result.name if result.gate else f"{result.name} (only reported)",
            words.measure(result.stable) if result.type else "",
            _number(result.stable_requests),
            words.measure(result.canary, is_distance=result.type == "drift") if result.type else "",
            _number(result.canary_requests),
            words.interval(result.ratio, result.ratio_low, result.ratio_high),
            result.limit,
            result.verdict,
            result.message,
        ]
        for result in report.metrics
    ]


def decisions(report: ReportDocument) -> list[list[str]]:
    """Rows of the table of decisions."""
    return [[entry.at, entry.state, f"{entry.weight} %", *_who_and_why(entry)] for entry in report.decisions]


def _who_and_why(decision: DecisionEntry) -> tuple[str, str]:
    if (answer := decision.rejected) is not None:
        return answer.by or "an unknown user", f"rejected: {answer.message}"
    return decision.by or "the controller", decision.message


def steps(report: ReportDocument) -> list[list[str]]:
    """Rows of the table of steps."""
    last = len(report.steps)
    return [
        [
            str(number),
            f"{step.weight} %",
            words.span(step.min_duration_seconds),
            "waits for approval"
            if step.gate
            else "promoted when every metric passes"
            if number == last
            else "next step",
        ]
        for number, step in enumerate(report.steps, 1)
    ]


def describe_question(question: MetricQuestion) -> str:
    """What a metric counts, and its limits."""
    parts = [question.what]
    if question.margin is not None:
        parts.append(f"bad from {question.margin:g} times the rate of stable")
    if question.floor:
        parts.append(f"rates up to {words.rate(question.floor)} are acceptable")
    if question.canary_limit is not None:
        parts.append(f"slow from {question.limit:g} s, for the canary from {question.canary_limit:g} s")
    elif question.limit is not None:
        parts.append(f"limit {question.limit:g}")
    parts.append(f"alpha {question.alpha:g}, beta {question.beta:g}, dispersion {question.dispersion:.3g}")
    if question.min_requests:
        parts.append(f"at least {question.min_requests:,} requests to the canary")
    return "; ".join(parts) + ("." if question.gate else ". It is only reported.")


def samples(report: ReportDocument, most: int) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of the last samples: events of requests, canary's and stable's."""
    names = sorted({name for sample in report.samples for name in sample.metrics})
    types = {question.name: question.type for question in report.questions}
    rows = [
        [sample.at, f"{sample.weight} %", *(_cell(sample.metrics.get(name), types.get(name, "")) for name in names)]
        for sample in report.samples[-most:]
    ]
    return ["sample", "weight", *names], rows


def describe_samples(report: ReportDocument, most: int) -> str:
    """The sentence above the table of samples."""
    shown = min(most, len(report.samples))
    return (
        f"The last {shown} of {report.sample_count} samples: events of requests, the canary's against stable's; "
        "for drift, rows and distance."
    )


def transitions(report: ReportDocument) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of transitions; counts that were not judged are in brackets."""
    names = sorted({name for entry in report.transitions for name in (*entry.metrics, *entry.reported)})
    types = {question.name: question.type for question in report.questions}
    rows = []
    for entry in report.transitions:
        share = "" if entry.low is None or entry.high is None else f"{entry.low:.0%} to {entry.high:.0%}"
        cells = []
        for name in names:
            kind, unjudged = types.get(name, ""), entry.reported.get(name)
            cells.append(f"({_cell(unjudged, kind)})" if unjudged else _cell(entry.metrics.get(name), kind))
        rows.append([entry.at, f"{entry.weight} %", share, *cells])
    return ["sample", "weight", "share", *names], rows


def describe_transitions(report: ReportDocument) -> str:
    """The sentences above the table of transitions: how they are judged, and which counts belong to no sample."""
    unplaced = "".join(
        f" Only some counters of {name} restarted; their counts belong to no sample: {_cell(counts, '')}."
        for name, counts in sorted(report.unplaced.items())
    )
    return _TRANSITIONS + unplaced


def _cell(counts: SampleCounts | None, kind: str) -> str:
    if counts is None:
        return "-"
    if kind == "drift":
        return f"{counts.canary_requests:.0f} / {counts.stable_requests:.0f} rows, {counts.canary_events:.3f}"
    if kind == "assignment":
        return f"{counts.canary_requests:.0f} / {counts.stable_requests:.0f} units"
    return (
        f"{counts.canary_events:.0f} of {counts.canary_requests:.0f} / "
        f"{counts.stable_events:.0f} of {counts.stable_requests:.0f}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
