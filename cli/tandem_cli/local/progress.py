"""How a rollout of the local stack is shown: a line for each change, and a table of its metrics."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tandem_cli.local.runner import Moment
from tandem_cli.rollout.output import words
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.analysis.verdict import Verdict
from tandem_rollout.api.status import RolloutStatus

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.PROVIDER_ERROR: "yellow", Verdict.NO_DATA: "yellow"}


def heading(moment: Moment) -> str:
    """The progress of a run, with its weights and reason, on one line; empty before the first run."""
    run, status = moment.run, moment.status
    if run is None:
        return f"rollout: {status.message}" if status.reason else ""
    text = f"rollout {run.number}, {run.stable} to {run.canary}: {status.progress} ({status.weights})"
    return f"{text}: {run.message}" if run.message else text


def alias_heading(status: RolloutStatus) -> str:
    """The alias that a stack follows, and why it is not followed at present, on one line; empty if there is none."""
    registry = status.registry
    if registry is None:
        return ""
    text = f"models:/{registry.model}@{registry.alias} is version {registry.version}"
    return f"{text}; {registry.reason}: {registry.message}" if registry.reason else text


def verdicts(lines: Sequence[MetricResult]) -> Table:
    """A row for each metric: both rates, their ratio with its interval, requests of the canary, limit and verdict."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for name in ("stable", "canary", "ratio", "interval", "n", "needed"):
        table.add_column(name, justify="right")
    table.add_column("limit", no_wrap=True)
    table.add_column("verdict")
    for line in lines:
        high = "…" if line.high is None else words.ratio(line.high)
        distance = line.type == "drift"
        table.add_row(
            line.name if line.gate else f"{line.name}*",
            "" if distance or line.stable is None else words.rate(line.stable),
            "" if line.canary is None else f"{line.canary:.3f}" if distance else words.rate(line.canary),
            "" if line.ratio is None else words.ratio(line.ratio),
            "" if distance or not line.canary_requests else f"{words.ratio(line.low)}–{high}",
            words.count(line.canary_requests),
            "" if not line.needed else words.count(line.needed),
            line.limit,
            Text(line.verdict.value, style=_STYLES.get(line.verdict, "")),
        )
    if any(not line.gate for line in lines):
        table.caption, table.caption_justify = "* informational, not a gate", "left"
    return table
