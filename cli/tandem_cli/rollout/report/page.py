"""A report as one HTML file: no script, nothing from elsewhere. The templates escape whatever is put into them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tandem_cli.rollout.report import content, plots
from tandem_cli.rollout.report.form import Report
from tandem_cli.rollout.report.tracks import Distance, Rates, Weights
from tandem_rollout.engine.run import RETURNS

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_SAMPLES: Final = 500
"""Rows of samples that are shown."""

_MARKED: Final = frozenset({"pass", "fail", "Promoted", "Completed", *RETURNS, *RETURNS.values()})
"""What a cell says that has a style of its own."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A table and what stands above it.

    Attributes:
        text: A sentence or two.
        columns: Names of its columns.
        rows: Its cells.
    """

    text: str
    columns: list[str]
    rows: list[list[str]]


def page(report: Report, weights: Weights | None, tracks: Sequence[Rates | Distance]) -> str:
    """A report.

    Args:
        report: What it says.
        weights: The canary's part of the requests over time; None without evidence.
        tracks: What the metrics counted over time.
    """
    transitions = samples = None
    if report.transitions or report.unplaced:
        transitions = Listing(content.taken(report), *content.transitions(report))
    if report.samples:
        samples = Listing(content.bounded(report, MOST_SAMPLES), *content.samples(report, MOST_SAMPLES))
    questions = [(question.name, content.asked(question), "\n".join(question.queries)) for question in report.questions]
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=content.title(report),
            facts=content.facts(report),
            warnings=content.warnings(report),
            verdict_columns=content.VERDICT_COLUMNS,
            verdicts=content.verdicts(report),
            decision_columns=content.DECISION_COLUMNS,
            decisions=content.decisions(report),
            plots=list(_plots(weights, tracks)),
            step_columns=content.STEP_COLUMNS,
            steps=content.steps(report),
            questions=questions,
            transitions=transitions,
            samples=samples,
            marked=_MARKED,
        )
    )


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only pages need it, and it takes a while

    environment = Environment(
        loader=PackageLoader("tandem_cli.rollout.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["pixel"] = "{:.1f}".format
    return environment


def _plots(weights: Weights | None, tracks: Sequence[Rates | Distance]) -> Iterator[plots.Plot]:
    if weights is not None and weights.set:
        yield plots.of_weights(weights)
    for track in tracks:
        if isinstance(track, Distance):
            yield plots.of_distance(track)
        else:
            yield plots.of_rates(track)
            yield plots.of_ratio(track)
