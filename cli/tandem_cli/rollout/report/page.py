"""A report as one HTML file: no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from tandem_cli.rollout.report import svg
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
from tandem_rollout.engine.run import RETURNS

MOST_SAMPLES: Final = 500
"""Rows of samples that are shown."""

_STYLE: Final = """
body { font: 15px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px }
th, td { border: 1px solid #ddd; padding: .25rem .6rem; text-align: left; vertical-align: top }
th { background: #f5f5f5 }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; font-size: 12px }
svg { max-width: 100%; display: block; margin: 1rem 0 }
.pass, .Promoted, .Concluded { color: #1a7f37; font-weight: bold }
.fail, .Aborted, .Aborting, .RolledBack, .RollingBack { color: #c62828; font-weight: bold }
.warning { border-left: 4px solid #e0a800; padding-left: .6rem }
@media print { body { max-width: none } }
"""

_MARKED: Final = frozenset({"pass", "fail", "Promoted", "Concluded", *RETURNS, *RETURNS.values()})


def page(report: Report, weights: Weights | None, tracks: Sequence[Rates | Distance]) -> str:
    """A report.

    Args:
        report: What it says.
        weights: The canary's part of the requests over time; None without evidence.
        tracks: What the metrics counted over time.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        # nothing may be loaded or run, whatever has been written into a reason
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{escape(title(report))}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title(report))}</h1>",
        _table((), facts(report)),
    ]
    parts += [f'<p class="warning">{escape(warning)}</p>' for warning in warnings(report)]
    if report.metrics:
        parts += ["<h2>Verdicts</h2>", _table(VERDICT_COLUMNS, verdicts(report))]
    if report.decisions:
        parts += ["<h2>Decisions</h2>", _table(DECISION_COLUMNS, decisions(report))]
    if plots := list(_plots(weights, tracks)):
        parts += ["<h2>Over time</h2>", *plots]
    if report.steps:
        parts += ["<h2>Steps</h2>", _table(STEP_COLUMNS, steps(report))]
    if report.questions:
        parts.append("<h2>Questions</h2>")
        for question in report.questions:
            queries = "\n".join(question.queries)
            parts.append(f"<h3>{escape(question.name)}</h3><p>{escape(asked(question))}</p>")
            parts.append(f"<pre>{escape(queries)}</pre>")
    if report.transitions or report.unplaced:
        columns, rows = transitions(report)
        parts += ["<h2>Transitions</h2>", f"<p>{escape(taken(report))}</p>", _table(columns, rows)]
    if report.samples:
        columns, rows = samples(report, MOST_SAMPLES)
        parts += ["<h2>Samples</h2>", f"<p>{escape(bounded(report, MOST_SAMPLES))}</p>", _table(columns, rows)]
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _plots(weights: Weights | None, tracks: Sequence[Rates | Distance]) -> Iterable[str]:
    if weights is not None and weights.set:
        yield svg.of_weights(weights)
    for track in tracks:
        if isinstance(track, Distance):
            yield svg.of_distance(track)
        else:
            yield svg.of_rates(track)
            yield svg.of_ratio(track)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in columns)}</tr></thead>" if columns else ""
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _cell(said: str) -> str:
    marked = f' class="{said}"' if said in _MARKED else ""
    return f"<td{marked}>{escape(said)}</td>"
