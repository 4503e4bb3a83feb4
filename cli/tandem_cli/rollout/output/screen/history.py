"""The table of ``tandem rollout history``."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.history import HistoryDocument, HistoryEntry
from tandem_cli.rollout.output.screen.layout import build_table, styled, version_name
from tandem_rollout.api.times import epoch


def render_history(history: HistoryDocument, *, now: float, wide: bool = False) -> RenderableType:
    """The runs of a rollout, a line for each.

    Args:
        history: The runs.
        now: Seconds since the epoch.
        wide: Whether times and InferenceServices are written in full.
    """
    if not history.runs:
        return Text("no run yet")
    table = build_table("run", "outcome", "stable", "canary", "started", ">took", "by", "reason")
    for run in history.runs:
        age = now - epoch(run.started) if run.started else 0.0
        table.add_row(
            str(run.number),
            styled(run.outcome),
            version_name(run.stable, wide=wide),
            version_name(run.canary, wide=wide),
            run.started if wide or not run.started else f"{words.span(age)} ago",
            words.span(age if run.seconds is None else run.seconds),
            Text(run.by),
            Text("\n".join(filter(None, (run.message, _start(run))))),
        )
    return table


def _start(run: HistoryEntry) -> str:
    return words.started(run.started_by, run.start_comment) if run.started_by or run.start_comment else ""
