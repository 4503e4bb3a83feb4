"""When a run is due for another decision."""

from __future__ import annotations

import math

from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule


def compute_due(schedule: Schedule, run: Run, now: float) -> float:
    """The next time at which a run may move without another event.

    Args:
        schedule: The schedule of the run.
        run: The run.
        now: Seconds since the epoch.

    Returns:
        Seconds since the epoch; infinite if there is no such time.
    """
    times = [run.deadline or math.inf] if run.state in ("Analyzing", "Observing") else []
    if run.state == "Analyzing" and run.step < len(schedule.steps):
        times.append(run.since + schedule.steps[run.step].min_duration)
    if run.returns or run.state in ("Preparing", "Scaling"):
        times.append(run.since + schedule.progress_deadline)
    if run.state == "Baking":
        times.append(run.since + schedule.bake)
    # times that have passed are decided: the run waits for another event
    return min((time for time in times if time > now), default=math.inf)
