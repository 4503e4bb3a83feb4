"""The beginning of a run, after the previous one has ended."""

from __future__ import annotations

from dataclasses import replace

from tandem_rollout.api.cause import Cause
from tandem_rollout.engine.commands import command_cause, invalid_state, unanswered
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.run import Command, Run, State
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.transitions import change_state


def was_tried(run: Run | None, specified: str, plan: str) -> bool:
    """Whether the last run had the version and the plan of the spec. Such a run is not repeated without a command.

    Args:
        run: The last run.
        specified: The revision that the spec specifies.
        plan: Hash of the plan of the spec.
    """
    return run is not None and (run.canary, run.plan) == (specified, plan)


def begin_run(schedule: Schedule, run: Run | None, inputs: RunInputs, now: float) -> Run | None:
    """The next run, if there is a reason to begin one; otherwise the last run.

    Args:
        schedule: The schedule of the spec.
        run: The last run, which has ended; None before the first.
        inputs: The inputs of the decision.
        now: Seconds since the epoch.
    """
    command = unanswered(run, inputs)
    if inputs.deleted:
        return run
    # first, as a spec that only observes must not prevent the rollback of a promoted version
    if run is not None and command and command.verb == "rollback" and run.state == "Promoted":
        return _roll_back(run, command, inputs, now)
    if schedule.observes:
        return _observe(schedule, run, inputs, now)
    restarts = command is not None and command.verb == "start"
    if run is not None and run.state == "Promoted" and inputs.serving == run.stable and not restarts:
        return run  # the route does not have the weights of the promotion yet: the next run begins from the canary
    again = was_tried(run, inputs.specified, inputs.plan)
    if not inputs.serving or not inputs.specified or inputs.specified == inputs.serving or (again and not restarts):
        return run.answering(command, _nothing_to_do(run, command, inputs)) if run is not None and command else run
    return _new(run, inputs, now, "Preparing", again=again)


def _roll_back(run: Run, command: Command, inputs: RunInputs, now: float) -> Run:
    """The promoted run on its way back to stable."""
    # some time after the promotion stable loses its pods
    if not inputs.stable.running:
        return run.answering(command, Cause("StableGone", f"cannot roll back: {run.stable} has no ready pods"))
    cause = command_cause(command, "RolledBackByUser", "rolled back")
    back = change_state(run, "RollingBack", now, cause, command.by)
    # the version works, and keeps its weight until stable has its pods back
    return replace(back, immediate_rollback=False).answering(command)


def _observe(schedule: Schedule, run: Run | None, inputs: RunInputs, now: float) -> Run | None:
    # an A/B test that has ended is not repeated for the same plan
    if not inputs.serving or inputs.specified in ("", inputs.serving) or (run is not None and run.plan == inputs.plan):
        command = unanswered(run, inputs)
        if run is None or command is None:
            return run
        return run.answering(command, invalid_state(run, command))
    # an absolute time, which a restart of the process does not extend
    return replace(_new(run, inputs, now, "Observing", again=False), deadline=now + schedule.timeout)


def _nothing_to_do(run: Run, command: Command, inputs: RunInputs) -> Cause:
    """The cause of the rejection of a command that begins no run."""
    if command.verb != "start":
        return invalid_state(run, command)
    if not inputs.serving:
        return Cause("NothingServes", "there is nothing to start: no version serves yet")
    return Cause("NothingToStart", "there is nothing to start: the version of the spec already serves")


def _new(run: Run | None, inputs: RunInputs, now: float, state: State, *, again: bool) -> Run:
    """A new run. ``again`` if the last run had the same version and plan."""
    command = unanswered(run, inputs)
    # a start command that the previous run accepted for this run
    pending = inputs.command if run and inputs.command and inputs.command.id == run.pending else None
    starter = pending or (command if command and command.verb == "start" else None)
    cause = Cause("SpecChanged", "")
    if starter is not None:
        cause = command_cause(starter, "RestartedByUser", "started again") if again else command_cause(starter)
    begun = Run(
        number=run.number + 1 if run else 1,
        stable=inputs.serving,
        canary=inputs.specified,
        plan=inputs.plan,
        state=state,
        started=now,
        since=now,
        by=starter.by if starter else "",
        reason=cause.reason,
        message=cause.message,
        started_by=starter.by if starter else "",
        start_comment=starter.comment if starter else "",
        # runs hand commands on, so that an old annotation that is applied again has no effect
        last_command=run.last_command if run else None,
        previous_commands=run.previous_commands if run else (),
    )
    if command is None:
        return begun
    return begun.answering(command, None if command is starter else invalid_state(run or begun, command))
