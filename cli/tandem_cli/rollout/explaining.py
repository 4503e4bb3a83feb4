"""``tandem rollout explain``: why a rollout is where it is, what it waits for, and what to type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tandem_cli.rollout import words
from tandem_cli.rollout.current import Current
from tandem_cli.rollout.forms import Advice, Explanation, Metric, Said
from tandem_cli.rollout.screen import ratio
from tandem_cli.rollout.standing import metrics
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.fields import seconds
from tandem_rollout.api.status import RunStatus
from tandem_rollout.api.times import epoch
from tandem_rollout.engine.schedule import Schedule

_RULES: Final = {
    "Preparing": "The canary gets its first weight when it has proved itself and has the pods for it.",
    "Analyzing": "A step ends when its minimum duration is over, counters were read, and no metric fails or lacks "
    "data; after the last step every deciding metric has to pass. One that fails aborts at once.",
    "AwaitingApproval": "The step waits for `tandem rollout resume`. A failing canary is still rolled back.",
    "Scaling": "The next weight is set when the canary has the pods for it.",
    "Paused": "Weights stay until somebody resumes. A metric that fails aborts all the same.",
    "Baking": "The canary has all requests but what is held back: the version before keeps its pods, and that part "
    "to be compared with, until the bake time is over. A metric that fails aborts at once.",
    "Promoted": "The run is over; the next one begins with another bundle, template or plan.",
    "Aborting": "Stable gets all requests back as soon as it has its pods back; at once where the canary does harm.",
    "Aborted": "The run is over, and is not tried again until the spec asks for something else or somebody starts it.",
    "RollingBack": "The version was promoted, and stable gets all requests back as soon as it has its pods back.",
    "RolledBack": "The version was promoted and taken back, and is not tried again until the spec asks for something "
    "else or somebody starts it.",
    "Observing": "Weights stay as written; the report is final at the horizon.",
    "Completed": "The run is over; the next one begins with another plan.",
}


_STANDS: Final = frozenset({"Verified", "Retained"})
"""Reasons of a variant whose pods are ready, and about which there is nothing else to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """What there is to know of a target to name commands that it obeys.

    Attributes:
        options: Options of the command line that lead there.
        heard: Whether anything there carries out commands.
        wanted: The revision that the spec asks for; empty where that is not known.
    """

    options: str = ""
    heard: bool = True
    wanted: str = ""


def explanation(current: Current, record: Record | None, now: float, commands: Commands) -> Explanation:
    """Why a rollout is where it is.

    Args:
        current: The rollout.
        record: Evidence of its present run.
        now: Seconds since the epoch.
        commands: What can be typed.
    """
    run, schedule = current.run, current.schedule
    forms = metrics(current, record)
    because = _because(current, run, forms)
    if run is None:
        return Explanation(
            name=current.name,
            namespace=current.namespace,
            state=None,
            because=because or [Said(reason="NothingDecided", message="nothing has been decided yet")],
            waits_for=_without_run(current, schedule),
            rule="A run begins when the spec asks for another version than the one that serves.",
            next=_advise(current, None, commands),
        )
    waits = _WAITS.get(run.state)
    return Explanation(
        name=current.name,
        namespace=current.namespace,
        state=run.state,
        because=because,
        waits_for=waits(current, run, schedule, forms, now) if waits else [],
        rule=_RULES.get(run.state, ""),
        next=_advise(current, run, commands),
    )


def _because(current: Current, run: RunStatus | None, forms: Sequence[Metric]) -> list[Said]:
    said, status = [], current.status
    if not current.seen:
        message = "the controller has not seen the latest spec yet: this is about the one before"
        said.append(Said(reason="NotObserved", message=message))
    if current.spec is None:
        message = f"this program does not understand the spec: {current.trouble}"
        said.append(Said(reason="SpecNotUnderstood", message=message))
    if status.reason:
        said.append(Said(reason=status.reason, message=status.message))
    said += [
        Said(reason=each.reason, message=f"{each.type}: {each.message}")
        for each in status.conditions
        # nobody wants to read the same words twice
        if each.status == "False" and each.message != status.message
    ]
    if run is not None and run.message:
        said.append(Said(reason=run.reason, message=run.message))
    answer = run.last_command if run is not None else None
    if answer is not None and answer.result == "Rejected":
        said.append(Said(reason=answer.reason, message=f"the last command was refused: {answer.message}"))
    if run is not None and (run.started_by or run.start_comment):
        said.append(Said(reason="StartedByUser", message=words.started(run.started_by, run.start_comment)))
    if run is not None and run.state in ("Aborting", "Aborted"):
        said += [_apart(form) for form in forms if form.type == "drift" and form.gate and form.verdict == "fail"]
    return said


def _apart(form: Metric) -> Said:
    """How far apart the predictions were, after an abort."""
    would = f"; a limit of {words.limit(form.passing_limit)} would have passed" if form.passing_limit else ""
    return Said(
        reason="PredictionsApart",
        message=f"{form.name}: the distance was {form.canary or 0.0:.3f} by {form.canary_requests or 0.0:,.0f} rows of "
        f"the canary, the limit is {form.limit}{would}",
    )


def _without_run(current: Current, schedule: Schedule | None) -> list[Said]:
    if current.spec is not None and schedule is None:
        message = f"nothing: the strategy {current.spec.strategy.name} decides nothing"
        return [Said(reason="NoAnalysis", message=message)]
    if not current.status.weights:
        return [Said(reason="NothingServes", message="a first version that serves")]
    return [Said(reason="SpecUnchanged", message="another bundle in the spec")]


# what each state waits for

_Waits = Callable[[Current, RunStatus, Schedule | None, Sequence[Metric], float], list[Said]]


def _pods(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[Said]:
    said = [Said(reason="PodsNotReady", message=f"pods of the canary for {_next_weight(run, schedule)}")]
    said += [
        Said(
            reason=each.reason,
            message=f"{each.inference_service} is {each.phase}{f': {each.message}' if each.message else ''}",
        )
        for each in current.status.variants
        if each.inference_service == run.canary and (each.phase != "Ready" or each.reason not in _STANDS)
    ]
    if schedule is not None:
        over = epoch(run.since) + schedule.progress_deadline - now
        then = "aborted" if run.weight == 0 else "paused"
        said.append(Said(reason="ProgressDeadline", message=f"at most {words.span(over)} more, then it is {then}"))
    return said


def _evidence(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[Said]:
    said = []
    last = bool(run.steps) and run.step == run.steps - 1
    if schedule is not None and run.step < len(schedule.steps):
        left = epoch(run.since) + schedule.steps[run.step].min_duration - now
        if left > 0:
            said.append(
                Said(reason="StepHold", message=f"the minimum duration of step {run.step + 1}: {words.span(left)} more")
            )
    said += [
        _missing(form)
        for form in forms
        if form.gate and form.verdict != "pass" and (last or form.verdict != "inconclusive")
    ]
    if not said:
        message = "the next look at the metrics" if forms else "a first look at the metrics"
        said.append(Said(reason="NextSample", message=message))
    if run.deadline and current.spec is not None and schedule is not None:
        left = epoch(run.deadline) - now
        message = f"at most {words.span(left)} more, then: {schedule.on_timeout}"
        said.append(Said(reason="AnalysisTimeout", message=message))
    return said


def _missing(form: Metric) -> Said:
    if form.verdict in ("no-data", "provider-error"):
        message = f"{form.name}, {form.verdict}: {form.message or 'nothing was counted yet'}"
        return Said(reason=form.reason or "NothingRead", message=message)
    interval = f", ratio {shown}" if (shown := ratio(form)) else ""
    needed = f", about {form.needed:,} more requests of the canary" if form.needed else ""
    limit = f", limit {form.limit}" if form.limit else ""
    return Said(reason="MetricNotPassed", message=f"{form.name}, {form.verdict}{interval}{limit}{needed}")


def _person(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[Said]:
    return [Said(reason="UserCommand", message="a person's word")]


def _bake(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[Said]:
    if schedule is None:
        return [Said(reason="BakeTime", message="the end of the bake time")]
    held = f", with {100 - run.weight} % held back" if run.weight < 100 else ""
    left = epoch(run.since) + schedule.bake - now
    return [Said(reason="BakeTime", message=f"the end of the bake time: {words.span(left)} more{held}")]


def _stable(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[Said]:
    if not run.weight:
        return [Said(reason="RouteNotUpdated", message="the route to let go of the canary")]
    if run.immediate_rollback or len(run.min_pods) != 2:
        return [Said(reason="StableNotReady", message="a ready pod of stable")]
    message = f"stable to have {run.min_pods[0]} transformers and {run.min_pods[1]} predictors again"
    return [Said(reason="StableNotReady", message=message)]


def _horizon(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[Said]:
    if not run.deadline:
        return [Said(reason="SpecUnchanged", message="another plan")]
    return [Said(reason="Horizon", message=f"the horizon: {words.span(epoch(run.deadline) - now)} more")]


_WAITS: Final[dict[str, _Waits]] = {
    "Preparing": _pods,
    "Scaling": _pods,
    "Analyzing": _evidence,
    "AwaitingApproval": _person,
    "Paused": _person,
    "Baking": _bake,
    "Aborting": _stable,
    "RollingBack": _stable,
    "Observing": _horizon,
}


def _next_weight(run: RunStatus, schedule: Schedule | None) -> str:
    if schedule is None:
        return "its next weight"
    return f"{schedule.steps[run.step].weight} %" if run.step < len(schedule.steps) else "all requests"


# what to type


def _advise(current: Current, run: RunStatus | None, commands: Commands) -> list[Advice]:
    """Commands that are obeyed as it is now."""
    on = f" {commands.options}" if commands.options else ""

    def advice(verb: str, effect: str, more: str = "") -> Advice:
        return Advice(command=f"tandem rollout {verb} {current.name}{more}{on}", effect=effect)

    watch = advice("watch", "shows how it goes on")
    abort = advice("abort", "gives stable all requests back")
    resume = advice("resume", "goes on")
    why = ' --reason "…"'
    promote = advice("promote", "promotes the canary without evidence", why)
    start = advice("start", "tries it once more")
    report = advice("report", "writes the evidence down")
    plan = advice("plan", "shows what another version would go through")
    rollback = advice("rollback", "gives the version before all requests back")
    again = [start] if current.seen and commands.wanted not in ("", current.serving) else []
    by_state = {
        "Preparing": [watch, abort],
        "Analyzing": [watch, advice("pause", "holds it"), abort, promote],
        "Scaling": [watch, abort],
        "AwaitingApproval": [resume, abort],
        "Paused": [resume, abort, promote],
        "Baking": [watch, abort],
        "Promoted": [report, *([rollback] if _kept(current, run) else [])],
        "Aborting": [watch],
        "Aborted": [report, *again],
        "RollingBack": [watch],
        "RolledBack": [report, *again],
        "Observing": [report],
        "Completed": [report],
    }
    if run is not None and not commands.heard:
        return [report]
    if run is None:
        return [plan] if current.schedule is not None else []
    return by_state.get(run.state, [])


def _kept(current: Current, run: RunStatus | None) -> bool:
    """Whether the version before still has its pods."""
    kept = current.spec is not None and seconds(current.spec.scale_down_delay) > 0
    return kept and any(
        run is not None and each.inference_service == run.stable and each.phase != "Rejected" and each.reason in _STANDS
        for each in current.status.variants
    )
