"""When a run has to be looked at again."""

from __future__ import annotations

import math

from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule


def compute_due(schedule: Schedule, run: Run, now: float) -> float:
    """When time alone may move a run next, in seconds since the epoch; infinite where it does not.

    Args:
        schedule: What was planned.
        run: The run.
        now: Seconds since the epoch.
    """
    times = [run.deadline or math.inf] if run.state in ("Analyzing", "Observing") else []
    if run.state == "Analyzing" and run.step < len(schedule.steps):
        times.append(run.since + schedule.steps[run.step].min_duration)
    if run.returns or run.state in ("Preparing", "Scaling"):
        times.append(run.since + schedule.progress_deadline)
    if run.state == "Baking":
        times.append(run.since + schedule.bake)
    return min((each for each in times if each > now), default=math.inf)
