"""A report in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.report import ReportDocument
from tandem_cli.rollout.output.report import content
from tandem_cli.rollout.output.report.series import DistanceSeries, RateSeries, WeightSeries

MOST_SAMPLES: Final = 50
"""Rows of the table of samples."""

_BARS: Final = "▁▂▃▄▅▆▇█"
_ACROSS: Final = 60
_SPECIAL: Final = re.compile(r"[\\`*_\[\]<>|~&]|^[#+-]")
_LIST: Final = re.compile(r"^(\d+)([.)])(?=\s|$)")


def render_markdown(
    report: ReportDocument, weights: WeightSeries | None, metrics: Sequence[RateSeries | DistanceSeries]
) -> str:
    """A report in Markdown.

    Args:
        report: The report.
        weights: The canary's share of the requests over time; None without evidence.
        metrics: The counts of the metrics over time.
    """
    parts = [f"# {text(content.title(report))}", table(("", ""), _cells(content.facts(report)))]
    parts += [f"**{text(warning)}**" for warning in content.warnings(report)]
    if report.metrics:
        parts += ["## Verdicts", table(content.VERDICT_COLUMNS, _cells(content.verdicts(report)))]
    if report.decisions:
        parts += ["## Decisions", table(content.DECISION_COLUMNS, _cells(content.decisions(report)))]
    if lines := _bars(weights, metrics):
        parts += ["## Over time", fenced("\n".join(lines))]
    if report.steps:
        parts += ["## Steps", table(content.STEP_COLUMNS, _cells(content.steps(report)))]
    if report.questions:
        parts.append("## Questions")
        for question in report.questions:
            parts += [f"### {text(question.name)}", text(content.describe_question(question))]
            parts.append(fenced("\n".join(question.queries)))
    if report.transitions or report.unplaced:
        parts += ["## Transitions", text(content.describe_transitions(report))]
        parts.append(_escaped_table(*content.transitions(report)))
    if report.samples:
        parts += ["## Samples", text(content.describe_samples(report, MOST_SAMPLES))]
        parts.append(_escaped_table(*content.samples(report, MOST_SAMPLES)))
    return "\n\n".join(parts) + "\n"


def text(value: str) -> str:
    """A string as plain text: it contains no markup, no cell of a table and no new line."""
    return _LIST.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", " ".join(value.split())))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fenced(code: str) -> str:
    """A block of code that nothing in it can end."""
    longest = max((len(ticks) for ticks in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{code}\n{fence}"


def spark(values: Sequence[float], *, low: float, high: float) -> str:
    """Values as bars, at most :data:`_ACROSS` of them."""
    if len(values) > _ACROSS:
        values = [values[index * len(values) // _ACROSS] for index in range(_ACROSS)]
    span = high - low
    parts = [min(max((value - low) / span, 0.0), 1.0) if span > 0 else 0.0 for value in values]
    return "".join(_BARS[round(part * (len(_BARS) - 1))] for part in parts)


def _cells(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[text(cell) for cell in row] for row in rows]


def _escaped_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return table([text(name) for name in columns], _cells(rows))


def _bars(weights: WeightSeries | None, metrics: Sequence[RateSeries | DistanceSeries]) -> list[str]:
    lines = []
    if weights is not None and weights.set:
        lines.append(f"weight set       {spark([value for _, value in weights.set], low=0, high=100)} 0 to 100 %")
    if weights is not None and weights.measured:
        lines.append(f"weight measured  {spark([value for _, value in weights.measured], low=0, high=100)} 0 to 100 %")
    for series in metrics:
        lines += _distance_bars(series) if isinstance(series, DistanceSeries) else _rate_bars(series)
    return lines


def _distance_bars(series: DistanceSeries) -> list[str]:
    high = max(series.limit, *(value for _, value in series.distance))
    bars = spark([value for _, value in series.distance], low=0, high=high)
    return [f"{series.name} distance {bars} 0 to {high:.3g}, limit {series.limit:g}"]


def _rate_bars(series: RateSeries) -> list[str]:
    high = max((value for _, value in (*series.stable, *series.canary)), default=0.0)
    return [
        f"{series.name} {name} {spark([value for _, value in points], low=0, high=high)} 0 to {words.rate(high)}"
        for name, points in (("stable", series.stable), ("canary", series.canary))
    ]
