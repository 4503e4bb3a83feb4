"""The one function that moves a run. See the table in :mod:`tandem_rollout.engine`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from tandem_rollout.analysis.verdict import Verdict
from tandem_rollout.api.cause import Cause, RunReason
from tandem_rollout.engine.desired import WHOLE, pods_for, size, target
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.run import RETURNS, Command, Run, State, Verb
from tandem_rollout.engine.schedule import Schedule

_STARTED: Final = frozenset({"Analyzing", "AwaitingApproval", "Scaling", "Paused", "Baking"})
"""States in which the canary may have weight."""

_USER: Final[Mapping[Verb, tuple[RunReason, str]]] = {
    "start": ("StartedByUser", "started"),
    "promote": ("PromotedByUser", "promoted without waiting for evidence"),
    "pause": ("PausedByUser", "paused"),
    "resume": ("ResumedByUser", "resumed"),
    "abort": ("AbortedByUser", "aborted"),
    "rollback": ("AbortedByUser", "aborted"),
}
"""Why a run is in a state that a command has brought it to."""


def decide(schedule: Schedule, run: Run | None, inputs: RunInputs, now: float) -> Run | None:
    """The run as it should be from now on.

    Args:
        schedule: What is planned, as the spec has it now.
        run: The run so far; None before the first.
        inputs: What is inputs.
        now: Seconds since the epoch.

    Returns:
        The run; the same object where nothing is to be done.
    """
    if run is None or run.ended:
        return _begin(schedule, run, inputs, now)
    answered = _answer(schedule, run, inputs, now)
    if answered is not run:
        return answered
    if (cause := _over(run, inputs)) is not None:
        return _over_by_spec(schedule, run, inputs, cause, now)
    if (cause := _broken(run, inputs)) is not None:
        return _let_go(schedule, _abort(run, now, cause, immediate_rollback=True), inputs, now)
    return _MOVES[run.state](schedule, run, inputs, now)


# beginnings


def was_tried(run: Run | None, wanted: str, plan: str) -> bool:
    """Whether what a spec asks for is what the last run was about: it does not begin by itself once more.

    Args:
        run: The last run.
        wanted: The revision that the spec asks for.
        plan: Hash of what it plans.
    """
    return run is not None and (run.canary, run.plan) == (wanted, plan)


def _begin(schedule: Schedule, run: Run | None, inputs: RunInputs, now: float) -> Run | None:
    """Another run, where there is reason for one."""
    command = _unanswered(run, inputs)
    if inputs.deleted:
        return run
    if run is not None and command and command.verb == "rollback" and run.state == "Promoted":
        if not inputs.stable.running:
            return run.answering(command, Cause("StableGone", f"cannot be rolled back: {run.stable} is gone"))
        back = _to(run, "RollingBack", now, _said(command, "RolledBackByUser", "rolled back"), command.by)
        return replace(back, immediate_rollback=False).answering(command)
    if schedule.observes:
        return _observe(schedule, run, inputs, now)
    anew = command is not None and command.verb == "start"
    if run is not None and run.state == "Promoted" and inputs.serving == run.stable and not anew:
        return run  # the route has not followed yet: what comes next begins from the canary
    again = was_tried(run, inputs.wanted, inputs.plan)
    if not inputs.serving or not inputs.wanted or inputs.wanted == inputs.serving or (again and not anew):
        return run.answering(command, _nothing(run, command, inputs)) if run is not None and command else run
    return _new(run, inputs, now, "Preparing", again=again)


def _observe(schedule: Schedule, run: Run | None, inputs: RunInputs, now: float) -> Run | None:
    if not inputs.serving or inputs.wanted in ("", inputs.serving) or (run is not None and run.plan == inputs.plan):
        command = _unanswered(run, inputs)
        if run is None or command is None:
            return run
        return run.answering(command, _unfit(run, command))
    return replace(_new(run, inputs, now, "Observing", again=False), deadline=now + schedule.timeout)


def _nothing(run: Run, command: Command, inputs: RunInputs) -> Cause:
    """Why a command to a run that has ended brings about nothing."""
    if command.verb != "start":
        return _unfit(run, command)
    if not inputs.serving:
        return Cause("NothingServes", "there is nothing to start: no version serves yet")
    return Cause("NothingToStart", "there is nothing to start: what the spec asks for serves already")


def _new(run: Run | None, inputs: RunInputs, now: float, state: State, *, again: bool) -> Run:
    """The run after one that has ended, or the first one; ``again`` if it is about what the last one was about."""
    command = _unanswered(run, inputs)
    # a start that the previous run has accepted and could only make room for
    pending = inputs.command if run and inputs.command and inputs.command.id == run.pending else None
    starter = pending or (command if command and command.verb == "start" else None)
    cause = Cause("SpecChanged", "")
    if starter is not None:
        cause = _said(starter, "RestartedByUser", "started again") if again else _said(starter)
    begun = Run(
        number=run.number + 1 if run else 1,
        stable=inputs.serving,
        canary=inputs.wanted,
        plan=inputs.plan,
        state=state,
        started=now,
        since=now,
        by=starter.by if starter else "",
        reason=cause.reason,
        message=cause.message,
        started_by=starter.by if starter else "",
        start_comment=starter.comment if starter else "",
        last_command=run.last_command if run else None,
        previous_commands=run.previous_commands if run else (),
    )
    if command is None:
        return begun
    return begun.answering(command, None if command is starter else _unfit(run or begun, command))


def _unanswered(run: Run | None, inputs: RunInputs) -> Command | None:
    """The command of a person, where no run has answered it yet."""
    return inputs.command if inputs.command and (run is None or not run.knows(inputs.command.id)) else None


# what a person says


def _answer(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    """The run after a command that it has not answered yet."""
    command = _unanswered(run, inputs)
    if command is None:
        return run
    if command.verb == "start" and _superseded(run, inputs):
        # the run that it starts begins when this one has ended, and is to say who wanted it and why
        return replace(run, pending=command.id).answering(command)
    after = _obey(schedule, run, command, now)
    if after is None:
        return run.answering(command, _unfit(run, command))
    return replace(after, by=command.by).answering(command)


def _unfit(run: Run, command: Command) -> Cause:
    """Why a command is rejected that does not fit the state of a run."""
    return Cause("InvalidState", f"cannot {command.verb} while {run.state}")


def _obey(schedule: Schedule, run: Run, command: Command, now: float) -> Run | None:
    if command.verb in ("abort", "rollback"):
        ending = run.returns or run.state == "Observing"
        return None if ending else _abort(run, now, _said(command), immediate_rollback=False)
    if command.verb == "pause" and run.state in ("Preparing", "Analyzing", "AwaitingApproval", "Scaling"):
        return replace(_to(run, "Paused", now, _said(command)), paused_from=run.state)
    if command.verb == "resume" and run.state == "Paused":
        return _resume(schedule, run, now, _said(command))
    if command.verb == "resume" and run.state == "AwaitingApproval":
        return replace(_next(run, now, _said(command)), deadline=_later(schedule, run, now))
    if command.verb == "promote" and run.state in ("Preparing", "Analyzing", "AwaitingApproval", "Scaling", "Paused"):
        return replace(_to(run, "Scaling", now, _said(command)), step=len(schedule.steps), paused_from=None)
    return None


def _resume(schedule: Schedule, run: Run, now: float, cause: Cause) -> Run:
    deadline = _later(schedule, run, now)
    return replace(_to(run, run.paused_from or "Analyzing", now, cause), paused_from=None, deadline=deadline)


def _later(schedule: Schedule, run: Run, now: float) -> float | None:
    """The deadline after a person was waited for: with the time that was left, or all of it where none was."""
    if run.deadline is None:
        return None
    left = run.deadline - run.since
    return now + (left if left > 0 else schedule.timeout)


def _said(command: Command, reason: RunReason | None = None, what: str = "") -> Cause:
    """Why a run is in a state that a command has brought it to, by default as the verb says."""
    usual, done = _USER[command.verb]
    by = f" by {command.by}" if command.by else ""
    comment = f": {command.comment}" if command.comment else ""
    return Cause(reason or usual, f"{what or done}{by}{comment}")


# what ends a run


def _over(run: Run, inputs: RunInputs) -> Cause | None:
    """Why the run has no more purpose; None where it has one."""
    if run.returns:
        return None
    if inputs.deleted:
        return Cause("RolloutDeleted", "the rollout is being deleted")
    if inputs.wanted == run.stable:
        return Cause("SpecReverted", f"the spec asks for {run.stable} again")
    if inputs.wanted != run.canary:
        return Cause("Superseded", f"superseded by {inputs.wanted}")
    return Cause("PlanChanged", "superseded by another plan") if inputs.plan != run.plan else None


def _superseded(run: Run, inputs: RunInputs) -> bool:
    """Whether the spec asks for something else than the two versions of the run, or by another plan."""
    if inputs.deleted or inputs.wanted in ("", run.stable):
        return False
    return (inputs.wanted, inputs.plan) != (run.canary, run.plan)


def _over_by_spec(schedule: Schedule, run: Run, inputs: RunInputs, cause: Cause, now: float) -> Run:
    if run.state == "Observing":
        return _to(run, "Completed", now, cause)
    if run.state == "Baking" and not inputs.deleted and inputs.wanted != run.stable:
        return replace(_to(run, "Promoted", now, cause), weight=WHOLE)
    return _let_go(schedule, _abort(run, now, cause, immediate_rollback=inputs.deleted), inputs, now)


def _broken(run: Run, inputs: RunInputs) -> Cause | None:
    """Why the canary must go at once; None where it may stay."""
    if run.returns or run.state == "Observing":
        return None
    if run.weight and not inputs.canary.running:
        return Cause("CanaryNotRunning", "the canary has weight and no ready pods")
    if inputs.canary.rejected is not None:
        return inputs.canary.rejected
    failed = inputs.decision is not None and inputs.decision.verdict is Verdict.FAIL
    if failed and inputs.decision is not None and run.state in _STARTED:
        return Cause("MetricsFailed", f"failed by {', '.join(inputs.decision.metrics)}")
    return None


def _abort(run: Run, now: float, cause: Cause, *, immediate_rollback: bool) -> Run:
    """On the way back; the weight goes as soon as stable can take it."""
    return replace(_to(run, "Aborting", now, cause), immediate_rollback=immediate_rollback, paused_from=None)


# one move of each state


def _scale(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    """Preparing and Scaling: the next weight, once the canary has the pods for it."""
    weight = target(schedule, run)
    needed = pods_for(size(schedule, run), run, inputs.stable, inputs.canary)
    if inputs.canary.fit and inputs.canary.has(needed):
        deadline = run.deadline if run.deadline is not None else now + schedule.timeout
        state: State = "Baking" if run.step >= len(schedule.steps) else "Analyzing"
        after = _stay(run, state, now) if state == "Baking" else _to(run, state, now, Cause("StepStarted", ""))
        # with the first weight stable begins to have less to do: from here on it keeps what it has
        min_pods = run.min_pods if run.weight else inputs.stable.pods
        return replace(after, weight=weight, deadline=deadline, min_pods=min_pods)
    if now < run.since + schedule.progress_deadline:
        return run
    missing = f"it has not {needed[0]} and {needed[1]} pods" if inputs.canary.fit else "it has not proved itself"
    missing = inputs.canary.problem.message if inputs.canary.problem is not None else missing
    late = f"the canary was not ready for {size(schedule, run)} % within {schedule.progress_deadline:g} s"
    cause = Cause("ProgressDeadlineExceeded", f"{late}: {missing}")
    if run.weight == 0:
        return _abort(run, now, cause, immediate_rollback=False)
    return replace(_to(run, "Paused", now, cause), paused_from=run.state)


def _analyse(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    if drifted := _drifted(schedule, run, inputs, now):
        return drifted
    if run.step >= len(schedule.steps):
        return _stay(run, "Scaling", now)
    step, last = schedule.steps[run.step], run.step == len(schedule.steps) - 1
    verdict = inputs.decision.verdict if inputs.decision else Verdict.NO_DATA
    good = verdict is Verdict.PASS or (verdict is Verdict.INCONCLUSIVE and not last)
    if now >= run.since + step.min_duration and inputs.samples_at_weight and good:
        if step.gate:
            return _to(run, "AwaitingApproval", now, Cause("StepPauses", "waits for `tandem rollout resume`"))
        if last and inputs.decision:
            return _next(run, now, Cause("MetricsPassed", f"passed by {', '.join(inputs.decision.metrics)}"))
        return _next(run, now, Cause("StepPassed", ""))
    if run.deadline is None or now < run.deadline:
        return run
    late = f"no decision within {schedule.timeout:g} s: {verdict.value}"
    cause = Cause("AnalysisTimedOut", late)
    if schedule.on_timeout == "abort":
        return _abort(run, now, cause, immediate_rollback=False)
    if schedule.on_timeout == "promote":
        cause = Cause("AnalysisTimedOut", f"{late}, promoted as onTimeout says")
        return replace(_to(run, "Scaling", now, cause), step=len(schedule.steps))
    return replace(_to(run, "Paused", now, cause), paused_from=run.state)


def _drifted(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run | None:
    """What follows when somebody else has changed the weights; None where nothing does."""
    if not inputs.edited or inputs.routed is None or inputs.routed == run.weight or schedule.weight_drift == "enforce":
        return None
    cause = Cause("WeightEdited", f"somebody has set the canary's weight to {inputs.routed} %")
    if schedule.weight_drift == "adopt" and 0 < inputs.routed < WHOLE:
        return replace(_to(run, run.state, now, cause), weight=inputs.routed)
    return replace(_to(run, "Paused", now, cause), paused_from=run.state)


def _gated(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    return _drifted(schedule, run, inputs, now) or run


def _paused(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    return run


def _bake(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    if now < run.since + schedule.bake:
        return run
    return replace(_stay(run, "Promoted", now), weight=WHOLE)


def _let_go(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    """On the way back: the weight goes when stable has its pods back, or, where the canary does harm, any pod."""
    if not run.weight:
        return run if inputs.routed else _stay(run, RETURNS[run.state], now)
    harmful = not inputs.canary.running or inputs.canary.rejected is not None or inputs.deleted
    immediate_rollback = run.immediate_rollback or harmful or now >= run.since + schedule.progress_deadline
    ready = inputs.stable.running and (immediate_rollback or inputs.stable.has(run.min_pods))
    return replace(run, weight=0) if ready else run


def _watch(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> Run:
    """Observing."""
    over = run.deadline is not None and now >= run.deadline
    return _to(run, "Completed", now, Cause("HorizonReached", "the horizon is over")) if over else run


_MOVES: Final[dict[State, Callable[[Schedule, Run, RunInputs, float], Run]]] = {
    "Preparing": _scale,
    "Scaling": _scale,
    "Analyzing": _analyse,
    "AwaitingApproval": _gated,
    "Paused": _paused,
    "Baking": _bake,
    "Aborting": _let_go,
    "RollingBack": _let_go,
    "Observing": _watch,
}


def _next(run: Run, now: float, cause: Cause) -> Run:
    return replace(_to(run, "Scaling", now, cause), step=run.step + 1)


def _to(run: Run, state: State, now: float, cause: Cause, by: str = "") -> Run:
    return replace(run, state=state, since=now, reason=cause.reason, message=cause.message, by=by)


def _stay(run: Run, state: State, now: float) -> Run:
    """The run in another state, for the same reason as before."""
    return replace(run, state=state, since=now)
