"""What a status says of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import MetricStatus, PastRun
from tandem_rollout.api.times import stamp
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule

TRIED: Final = Cause("VersionTried", "this version was tried; `tandem rollout start` tries it again")
"""What a status says where the spec asks for a version that was taken back, even if it asked for another meanwhile."""


def describe_progress(run: Run | None, schedule: Schedule) -> str:
    """How far a run is, in a few words."""
    if run is None:
        return ""
    if run.ended or schedule.observes:
        return run.state
    if run.step >= len(schedule.steps):
        return f"{run.state} {run.weight}%"
    return f"{run.state} {run.weight}% {run.step + 1}/{len(schedule.steps)}"


def metric_status(line: MetricResult) -> MetricStatus:
    """What one metric says."""
    return MetricStatus(
        name=line.name,
        verdict=line.verdict.value,
        reason=line.reason,
        summary=summary(line),
        value=_short(line.canary if line.type == "drift" else line.ratio),
        limit=line.bound,
        requests=int(line.canary_requests),
        needed=line.needed,
    )


def summary(line: MetricResult) -> str:
    """Rates, their ratio with its interval, and numbers of requests, in one line; and where it decides nothing."""
    text = _said(line)
    # of units nobody thinks that they decide
    return text if line.gate or line.type == "assignment" else f"only reported{f': {text}' if text else ''}"


def _said(line: MetricResult) -> str:
    if line.type == "drift":
        needed = f", {line.needed:,} more needed" if line.needed else ""
        distance = f"distance {line.canary or 0.0:.3f}, limit {line.limit}"
        return line.message if line.reason else f"{distance}; {line.canary_requests:,.0f} rows of the canary{needed}"
    if line.type == "assignment":
        units = f"{line.canary or 0.0:.1%} of {line.canary_requests + line.stable_requests:,.0f} units"
        return line.message if line.reason else units
    if line.canary is None or line.stable is None:
        return line.message
    high = "" if line.high is None else f"{line.high:.2f}"
    ratio = "" if line.ratio is None else f", ratio {line.ratio:.2f} ({line.low:.2f} to {high or 'any'})"
    needed = f", {line.needed:,} more needed" if line.needed else ""
    rates = f"{line.canary:.2%} of {line.canary_requests:,.0f} against {line.stable:.2%} of {line.stable_requests:,.0f}"
    return f"{rates}{ratio}, limit {line.limit}{needed}{f'; {line.message}' if line.reason else ''}"


def past_run(run: Run, version: str) -> PastRun:
    """A run that has ended, for the history."""
    return PastRun(
        number=run.number,
        outcome=run.state,
        stable=run.stable,
        canary=run.canary,
        version=version,
        started=stamp(run.started),
        ended=stamp(run.since),
        reason=run.reason,
        message=run.message,
        by=run.by,
        started_by=run.started_by,
        start_comment=run.start_comment,
    )


def history(before: Sequence[PastRun], run: Run | None, version: str, *, limit: int) -> list[PastRun]:
    """The runs that have ended, the latest first.

    Args:
        before: Those until now.
        run: The present run, or the last one.
        version: Version of its canary.
        limit: How many are kept.
    """
    if run is None:
        return list(before[:limit])
    earlier = [past for past in before if past.number != run.number]
    return ([past_run(run, version), *earlier] if run.ended else earlier)[:limit]


def _short(value: float | None) -> float | None:
    """A number as it is read, so that a status does not change with digits that nobody reads."""
    return None if value is None else float(f"{value:.4g}")
