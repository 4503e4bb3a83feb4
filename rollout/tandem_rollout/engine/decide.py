"""The function that decides how a run continues. See the table in :mod:`tandem_rollout.engine`."""

from __future__ import annotations

from dataclasses import replace

from tandem_rollout.api.cause import Cause
from tandem_rollout.engine.begin import begin_run
from tandem_rollout.engine.commands import answer_command
from tandem_rollout.engine.desired import WHOLE
from tandem_rollout.engine.ending import fault_cause, obsolete_cause
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.moves import MOVES, return_to_stable
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.transitions import abort, change_state


def decide(schedule: Schedule, run: Run | None, inputs: RunInputs, now: float) -> Run | None:
    """Decide how a run continues; returns the same object if nothing changes.

    Args:
        schedule: The schedule of the spec.
        run: The current run, or the last one; None before the first.
        inputs: The inputs of the decision.
        now: Seconds since the epoch.
    """
    if run is None or run.ended:
        return begin_run(schedule, run, inputs, now)
    answered = answer_command(schedule, run, inputs, now)
    # one change at a time: the answer is recorded before the next decision
    if answered is not run:
        return answered
    if (cause := obsolete_cause(run, inputs)) is not None:
        return _end_obsolete(schedule, run, inputs, cause, now)
    # before the move of the state: no step may end with a canary that fails
    if (cause := fault_cause(run, inputs)) is not None:
        return return_to_stable(schedule, abort(run, now, cause, immediate_rollback=True), inputs, now)
    return MOVES[run.state](schedule, run, inputs, now)


def _end_obsolete(schedule: Schedule, run: Run, inputs: RunInputs, cause: Cause, now: float) -> Run:
    """End a run that the spec has made obsolete. A canary that bakes is promoted, unless the spec specifies stable."""
    if run.state == "Observing":
        return change_state(run, "Completed", now, cause)
    if run.state == "Baking" and not inputs.deleted and inputs.specified != run.stable:
        # it bakes, so that its metrics have passed
        return replace(change_state(run, "Promoted", now, cause), weight=WHOLE)
    # a deletion must not wait for pods of stable
    return return_to_stable(schedule, abort(run, now, cause, immediate_rollback=inputs.deleted), inputs, now)
