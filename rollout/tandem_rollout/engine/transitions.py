"""Changes of the state of a run that several moves share."""

from __future__ import annotations

from dataclasses import replace

from tandem_rollout.api.cause import Cause
from tandem_rollout.engine.run import Run, State


def change_state(run: Run, state: State, now: float, cause: Cause, by: str = "") -> Run:
    """The run in another state.

    Args:
        run: The run.
        state: The new state.
        now: Seconds since the epoch.
        cause: Cause of the change.
        by: User who caused the change; empty for the engine.
    """
    return replace(run, state=state, since=now, reason=cause.reason, message=cause.message, by=by)


def continue_state(run: Run, state: State, now: float) -> Run:
    """The run in another state, with its previous cause.

    Args:
        run: The run.
        state: The new state.
        now: Seconds since the epoch.
    """
    return replace(run, state=state, since=now)


def advance_step(run: Run, now: float, cause: Cause) -> Run:
    """The run on its way to the weight of the next step."""
    return replace(change_state(run, "Scaling", now, cause), step=run.step + 1)


def pause(run: Run, now: float, cause: Cause) -> Run:
    """The paused run. It is resumed in its present state."""
    return replace(change_state(run, "Paused", now, cause), paused_from=run.state)


def abort(run: Run, now: float, cause: Cause, *, immediate_rollback: bool) -> Run:
    """The run on its way back to stable.

    Args:
        run: The run.
        now: Seconds since the epoch.
        cause: Cause of the abort.
        immediate_rollback: Whether the canary loses its weight before stable has its pods back.
    """
    aborting = change_state(run, "Aborting", now, cause)
    # an abort is final: nothing is left to resume
    return replace(aborting, immediate_rollback=immediate_rollback, paused_from=None)
