"""A report as one HTML file without scripts and external resources. The templates escape all values."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tandem_cli.rollout.output.documents.report import ReportDocument
from tandem_cli.rollout.output.report import content, plots
from tandem_cli.rollout.output.report.series import DistanceSeries, RateSeries, WeightSeries
from tandem_rollout.engine.run import RETURNS

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_SAMPLES: Final = 500
"""Rows of the table of samples."""

_MARKED: Final = frozenset({"pass", "fail", "Promoted", "Completed", *RETURNS, *RETURNS.values()})
"""Contents of cells that have a style of their own."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A table and the text above it.

    Attributes:
        text: One or two sentences.
        columns: Its headings.
        rows: Its cells.
    """

    text: str
    columns: list[str]
    rows: list[list[str]]


def render_page(
    report: ReportDocument, weights: WeightSeries | None, metrics: Sequence[RateSeries | DistanceSeries]
) -> str:
    """A report as an HTML page.

    Args:
        report: The report.
        weights: The canary's share of the requests over time; None without evidence.
        metrics: The counts of the metrics over time.
    """
    transitions = samples = None
    if report.transitions or report.unplaced:
        transitions = Listing(content.describe_transitions(report), *content.transitions(report))
    if report.samples:
        samples = Listing(content.describe_samples(report, MOST_SAMPLES), *content.samples(report, MOST_SAMPLES))
    questions = [
        (question.name, content.describe_question(question), "\n".join(question.queries))
        for question in report.questions
    ]
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
            plots=list(_plots(weights, metrics)),
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
        loader=PackageLoader("tandem_cli.rollout.output.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["pixel"] = "{:.1f}".format
    return environment


def _plots(weights: WeightSeries | None, metrics: Sequence[RateSeries | DistanceSeries]) -> Iterator[plots.Plot]:
    if weights is not None and weights.set:
        yield plots.plot_weights(weights)
    for series in metrics:
        if isinstance(series, DistanceSeries):
            yield plots.plot_distance(series)
        else:
            yield plots.plot_rates(series)
            yield plots.plot_ratio(series)
