"""A report in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from tandem_cli.rollout import words
from tandem_cli.rollout.report.content import (
    DECISION_COLUMNS,
    STEP_COLUMNS,
    VERDICT_COLUMNS,
    asked,
    bounded,
    decisions,
    facts,
    samples,
    steps,
    taken,
    title,
    transitions,
    verdicts,
    warnings,
)
from tandem_cli.rollout.report.form import Report
from tandem_cli.rollout.report.tracks import Distance, Rates, Weights

MOST_SAMPLES: Final = 50
"""Rows of samples that are shown."""

_BARS: Final = "▁▂▃▄▅▆▇█"
_ACROSS: Final = 60
_SPECIAL: Final = re.compile(r"[\\`*_\[\]<>|~&]|^[#+-]")
_LIST: Final = re.compile(r"^(\d+)([.)])(?=\s|$)")


def markdown(report: Report, weights: Weights | None, tracks: Sequence[Rates | Distance]) -> str:
    """A report.

    Args:
        report: What it says.
        weights: The canary's part of the requests over time; None without evidence.
        tracks: What the metrics counted over time.
    """
    parts = [f"# {text(title(report))}", table(("", ""), [(text(name), text(value)) for name, value in facts(report)])]
    parts += [f"**{text(warning)}**" for warning in warnings(report)]
    if report.metrics:
        parts += ["## Verdicts", table(VERDICT_COLUMNS, [[text(cell) for cell in row] for row in verdicts(report)])]
    if report.decisions:
        rows = [[text(cell) for cell in row] for row in decisions(report)]
        parts += ["## Decisions", table(DECISION_COLUMNS, rows)]
    if lines := _lines(weights, tracks):
        parts += ["## Over time", fenced("\n".join(lines))]
    if report.steps:
        rows = [[text(cell) for cell in row] for row in steps(report)]
        parts += ["## Steps", table(STEP_COLUMNS, rows)]
    if report.questions:
        parts.append("## Questions")
        for question in report.questions:
            parts += [f"### {text(question.name)}", text(asked(question)), fenced("\n".join(question.queries))]
    if report.transitions or report.unplaced:
        names, rows = transitions(report)
        parts += ["## Transitions", text(taken(report))]
        parts.append(table([text(name) for name in names], [[text(cell) for cell in row] for row in rows]))
    if report.samples:
        names, rows = samples(report, MOST_SAMPLES)
        parts += ["## Samples", text(bounded(report, MOST_SAMPLES))]
        parts.append(table([text(name) for name in names], [[text(cell) for cell in row] for row in rows]))
    return "\n\n".join(parts) + "\n"


def text(said: str) -> str:
    """Anything as plain text: nothing in it is markup, a cell of a table or a new line."""
    return _LIST.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", " ".join(said.split())))


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


def _lines(weights: Weights | None, tracks: Sequence[Rates | Distance]) -> list[str]:
    lines = []
    if weights is not None and weights.set:
        lines.append(f"weight set       {spark([value for _, value in weights.set], low=0, high=100)} 0 to 100 %")
    if weights is not None and weights.measured:
        lines.append(f"weight measured  {spark([value for _, value in weights.measured], low=0, high=100)} 0 to 100 %")
    for track in tracks:
        if isinstance(track, Distance):
            high = max(track.limit, *(value for _, value in track.distance))
            bars = spark([value for _, value in track.distance], low=0, high=high)
            lines.append(f"{track.name} distance {bars} 0 to {high:.3g}, limit {track.limit:g}")
            continue
        high = max((value for _, value in (*track.stable, *track.canary)), default=0.0)
        for name, points in (("stable", track.stable), ("canary", track.canary)):
            bars = spark([value for _, value in points], low=0, high=high)
            lines.append(f"{track.name} {name} {bars} 0 to {words.rate(high)}")
    return lines
