"""Commands of users to a run: whether they are accepted, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tandem_rollout.api.cause import Cause, RunReason
from tandem_rollout.engine.ending import is_superseded
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.run import Command, Run, State, Verb
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.transitions import abort, advance_step, change_state, pause

_PAUSABLE: Final[frozenset[State]] = frozenset({"Preparing", "Analyzing", "AwaitingApproval", "Scaling"})

_CAUSES: Final[Mapping[Verb, tuple[RunReason, str]]] = {
    "start": ("StartedByUser", "started"),
    "promote": ("PromotedByUser", "promoted without waiting for evidence"),
    "pause": ("PausedByUser", "paused"),
    "resume": ("ResumedByUser", "resumed"),
    "abort": ("AbortedByUser", "aborted"),
    # before the promotion a rollback is an abort
    "rollback": ("AbortedByUser", "aborted"),
}
"""Reason and message of the state that follows a command."""


def unanswered(run: Run | None, inputs: RunInputs) -> Command | None:
    """The command of the rollout; None if a run has already answered it."""
    return inputs.command if inputs.command and (run is None or not run.knows(inputs.command.id)) else None


def command_cause(command: Command, reason: RunReason | None = None, action: str = "") -> Cause:
    """The cause of a state that follows a command.

    Args:
        command: The command.
        reason: The reason; by default that of the verb.
        action: The first words of the message; by default those of the verb.
    """
    default_reason, default_action = _CAUSES[command.verb]
    by = f" by {command.by}" if command.by else ""
    comment = f": {command.comment}" if command.comment else ""
    return Cause(reason or default_reason, f"{action or default_action}{by}{comment}")


def invalid_state(run: Run, command: Command) -> Cause:
    """The cause of a rejection: the run is in a state in which the command is not possible."""
    return Cause("InvalidState", f"cannot {command.verb} while {run.state}")


def answer_command(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    """The run after it has answered a new command; the same run if there is none.

    Args:
        schedule: The schedule of the spec.
        run: The run, which has not ended.
        inputs: The inputs of the decision.
        now: Seconds since the epoch.
    """
    command = unanswered(run, inputs)
    if command is None:
        return run
    if command.verb == "start" and is_superseded(run, inputs):
        # the next run begins when this one has ended; it records who started it and why
        return replace(run, pending=command.id).answering(command)
    after = _carry_out(schedule, run, command, now)
    if after is None:
        return run.answering(command, invalid_state(run, command))
    return replace(after, by=command.by).answering(command)


def _carry_out(schedule: Schedule, run: Run, command: Command, now: float) -> Run | None:
    """The run after a command; None if the command is not possible in its state."""
    cause = command_cause(command)
    if command.verb in ("abort", "rollback"):
        # a run that observes has moved no weight
        return None if run.returns or run.state == "Observing" else abort(run, now, cause, immediate_rollback=False)
    if command.verb == "pause" and run.state in _PAUSABLE:
        return pause(run, now, cause)
    if command.verb == "resume" and run.state == "Paused":
        resumed = change_state(run, run.paused_from or "Analyzing", now, cause)
        # the time of the pause is not part of the timeout
        return replace(resumed, paused_from=None, deadline=_extended_deadline(schedule, run, now))
    if command.verb == "resume" and run.state == "AwaitingApproval":
        return replace(advance_step(run, now, cause), deadline=_extended_deadline(schedule, run, now))
    if command.verb == "promote" and run.state in (*_PAUSABLE, "Paused"):
        # a user replaces the evidence, not the pods, for which Scaling waits
        return replace(change_state(run, "Scaling", now, cause), step=len(schedule.steps), paused_from=None)
    return None


def _extended_deadline(schedule: Schedule, run: Run, now: float) -> float | None:
    """The deadline after a pause: with the remaining time, or the whole timeout if no time remained."""
    if run.deadline is None:
        return None
    # since is the time at which the pause began
    remaining = run.deadline - run.since
    return now + (remaining if remaining > 0 else schedule.timeout)
