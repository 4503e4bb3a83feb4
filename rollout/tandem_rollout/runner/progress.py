"""The status of a run's progress, metrics and history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import MetricStatus, PastRun
from tandem_rollout.api.times import stamp
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule

TRIED: Final = Cause("VersionTried", "this version was already tried; run `tandem rollout start` to try it again")
"""Cause for a spec with the version of a run that was aborted or rolled back."""


def describe_progress(run: Run | None, schedule: Schedule) -> str:
    """The progress of a run, in a few words."""
    if run is None:
        return ""
    if run.ended or schedule.observes:
        return run.state
    if run.step >= len(schedule.steps):
        return f"{run.state} {run.weight}%"
    return f"{run.state} {run.weight}% {run.step + 1}/{len(schedule.steps)}"


def metric_status(result: MetricResult) -> MetricStatus:
    """The status of a metric."""
    return MetricStatus(
        name=result.name,
        verdict=result.verdict.value,
        reason=result.reason,
        summary=summary(result),
        value=_short(result.canary if result.type == "drift" else result.ratio),
        limit=result.bound,
        requests=int(result.canary_requests),
        needed=result.needed,
    )


def summary(result: MetricResult) -> str:
    """The rates, their ratio with its interval, and the numbers of requests, in one line."""
    text = _values(result)
    # an assignment never decides
    return text if result.gate or result.type == "assignment" else f"only reported{f': {text}' if text else ''}"


def _values(result: MetricResult) -> str:
    if result.type == "drift":
        needed = f", {result.needed:,} more needed" if result.needed else ""
        distance = f"distance {result.canary or 0.0:.3f}, limit {result.limit}"
        return (
            result.message if result.reason else f"{distance}; {result.canary_requests:,.0f} rows of the canary{needed}"
        )
    if result.type == "assignment":
        units = f"{result.canary or 0.0:.1%} of {result.canary_requests + result.stable_requests:,.0f} units"
        return result.message if result.reason else units
    if result.canary is None or result.stable is None:
        return result.message
    high = "" if result.high is None else f"{result.high:.2f}"
    ratio = "" if result.ratio is None else f", ratio {result.ratio:.2f} ({result.low:.2f} to {high or 'any'})"
    needed = f", {result.needed:,} more needed" if result.needed else ""
    canary = f"{result.canary:.2%} of {result.canary_requests:,.0f}"
    stable = f"{result.stable:.2%} of {result.stable_requests:,.0f}"
    note = f"; {result.message}" if result.reason else ""
    return f"{canary} against {stable}{ratio}, limit {result.limit}{needed}{note}"


def past_run(run: Run, version: str) -> PastRun:
    """The entry of the history for a run that has ended."""
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
        before: The previous history.
        run: The current run, or the last one.
        version: Version of its canary.
        limit: Maximum number of runs.
    """
    if run is None:
        return list(before[:limit])
    # a status is written several times after the end of its run
    earlier = [past for past in before if past.number != run.number]
    # the canary may be gone since then, and with it what is known of its bundle
    previous_version = next((past.version for past in before if past.number == run.number), "")
    return ([past_run(run, version or previous_version), *earlier] if run.ended else earlier)[:limit]


def _short(value: float | None) -> float | None:
    """A number with four significant digits, so that the status does not change with smaller digits."""
    return None if value is None else float(f"{value:.4g}")
