"""The moves of a run, one for each state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tandem_rollout.analysis.verdict import Verdict
from tandem_rollout.api.cause import Cause
from tandem_rollout.engine.desired import WHOLE, pods_for, size, target
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.run import RETURNS, Run, State
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.transitions import abort, advance_step, change_state, continue_state, pause

Move = Callable[[Schedule, Run, RunInputs, float], Run]
"""A move: schedule, run, inputs and the time in seconds since the epoch. It returns the same run if nothing changes."""


def _scale(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    """Preparing and Scaling: set the next weight when the canary has the pods for it."""
    needed = pods_for(size(schedule, run), run, inputs.stable, inputs.canary)
    if inputs.canary.fit and inputs.canary.has(needed):
        # the timeout is that of all steps together
        deadline = run.deadline if run.deadline is not None else now + schedule.timeout
        baking = run.step >= len(schedule.steps)
        started = Cause("StepStarted", "")
        after = continue_state(run, "Baking", now) if baking else change_state(run, "Analyzing", now, started)
        # stable has less load from the first weight on: it keeps the pods that it has now
        min_pods = run.min_pods if run.weight else inputs.stable.pods
        return replace(after, weight=target(schedule, run), deadline=deadline, min_pods=min_pods)
    if now < run.since + schedule.progress_deadline:
        return run
    cause = _late(schedule, run, inputs, needed)
    # a canary with weight serves it well: only more weight is impossible, and a user decides
    return abort(run, now, cause, immediate_rollback=False) if run.weight == 0 else pause(run, now, cause)


def _late(schedule: Schedule, run: Run, inputs: RunInputs, needed: tuple[int, int]) -> Cause:
    """Why the canary was not ready before the progress deadline."""
    missing = f"it does not have {needed[0]} and {needed[1]} ready pods" if inputs.canary.fit else "it is not verified"
    missing = inputs.canary.problem.message if inputs.canary.problem is not None else missing
    late = f"the canary was not ready for {size(schedule, run)} % within {schedule.progress_deadline:g} s"
    return Cause("ProgressDeadlineExceeded", f"{late}: {missing}")


def _analyze(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    """Analyzing: finish the step when its time is over and no metric fails, the last one when all metrics pass."""
    if edited := _follow_edit(schedule, run, inputs, now):
        return edited
    if run.step >= len(schedule.steps):
        return continue_state(run, "Scaling", now)
    step, last = schedule.steps[run.step], run.step == len(schedule.steps) - 1
    verdict = inputs.decision.verdict if inputs.decision else Verdict.NO_DATA
    # evidence grows over all steps, so that only the last one needs a decision
    good = verdict is Verdict.PASS or (verdict is Verdict.INCONCLUSIVE and not last)
    # without a sample at this weight, a clock that jumps ahead would end the step unseen
    if now >= run.since + step.min_duration and inputs.samples_at_weight and good:
        if step.gate:
            cause = Cause("StepPauses", "waits for `tandem rollout resume`")
            return change_state(run, "AwaitingApproval", now, cause)
        if last and inputs.decision:
            return advance_step(run, now, Cause("MetricsPassed", f"passed by {', '.join(inputs.decision.metrics)}"))
        return advance_step(run, now, Cause("StepPassed", ""))
    if run.deadline is None or now < run.deadline:
        return run
    return _time_out(schedule, run, verdict, now)


def _time_out(schedule: Schedule, run: Run, verdict: Verdict, now: float) -> Run:
    """The run after the timeout of its analysis."""
    message = f"timed out after {schedule.timeout:g} s without a decision: {verdict.value}"
    cause = Cause("AnalysisTimedOut", message)
    if schedule.on_timeout == "abort":
        return abort(run, now, cause, immediate_rollback=False)
    if schedule.on_timeout == "promote":
        cause = Cause("AnalysisTimedOut", f"{message}; promoted by onTimeout")
        return replace(change_state(run, "Scaling", now, cause), step=len(schedule.steps))
    return pause(run, now, cause)


def _follow_edit(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run | None:
    """The run after the weights of the route were edited; None if that changes nothing."""
    if not inputs.edited or inputs.routed is None or inputs.routed == run.weight or schedule.weight_drift == "enforce":
        return None
    cause = Cause("WeightEdited", f"the canary's weight was changed to {inputs.routed} % in the route")
    # with 0 or 100 % there is nothing to compare
    if schedule.weight_drift == "adopt" and 0 < inputs.routed < WHOLE:
        return replace(change_state(run, run.state, now, cause), weight=inputs.routed)
    return pause(run, now, cause)


def _await_approval(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    return _follow_edit(schedule, run, inputs, now) or run


def _stay_paused(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    return run


def _bake(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    if now < run.since + schedule.bake:
        return run
    # no verdict is needed: a metric that fails has ended the run before
    return replace(continue_state(run, "Promoted", now), weight=WHOLE)


def return_to_stable(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    """Aborting and RollingBack: take the canary's weight when stable is ready for all requests.

    Stable is ready when it has its pods back. If the canary is harmful, any ready pods of stable are enough.

    Args:
        schedule: The schedule of the spec.
        run: The run, which returns to stable.
        inputs: The inputs of the decision.
        now: Seconds since the epoch.
    """
    if not run.weight:
        # the run ends when the route has no weight for the canary, not when that was decided
        return run if inputs.routed else continue_state(run, RETURNS[run.state], now)
    harmful = not inputs.canary.running or inputs.canary.rejected is not None or inputs.deleted
    # pods that stable cannot get back must not delay an abort for ever
    immediate = run.immediate_rollback or harmful or now >= run.since + schedule.progress_deadline
    # a stable without pods would answer with errors only
    ready = inputs.stable.running and (immediate or inputs.stable.has(run.min_pods))
    return replace(run, weight=0) if ready else run


def _observe(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    """Observing: the run is completed at its horizon."""
    over = run.deadline is not None and now >= run.deadline
    return change_state(run, "Completed", now, Cause("HorizonReached", "the horizon was reached")) if over else run


MOVES: Final[dict[State, Move]] = {
    "Preparing": _scale,
    "Scaling": _scale,
    "Analyzing": _analyze,
    "AwaitingApproval": _await_approval,
    "Paused": _stay_paused,
    "Baking": _bake,
    "Aborting": return_to_stable,
    "RollingBack": return_to_stable,
    "Observing": _observe,
}
"""The move of each state in which a run has not ended."""
