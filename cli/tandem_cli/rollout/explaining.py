"""``tandem rollout explain``: why a rollout is where it is, what it waits for, and what to type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tandem_cli.rollout import words
from tandem_cli.rollout.current import Current
from tandem_cli.rollout.forms import Advice, Explanation, Metric
from tandem_cli.rollout.screen import ratio
from tandem_cli.rollout.standing import metrics
from tandem_rollout.analysis.record import Record
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.fields import seconds
from tandem_rollout.status import RunStatus
from tandem_rollout.times import epoch

_RULES: Final = {
    "Preparing": "The canary gets its first weight when it has proved itself and has the pods for it.",
    "Analysing": "A step is over when its hold is over, counters were read, and no metric fails or lacks data; after "
    "the last step every deciding metric has to pass. One that fails aborts at once.",
    "Gated": "The step pauses: somebody has to say that it goes on. A metric that fails aborts all the same.",
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
    "Concluded": "The run is over; the next one begins with another plan.",
}


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
            because=because or ["nothing has been decided yet"],
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


def _because(current: Current, run: RunStatus | None, forms: Sequence[Metric]) -> list[str]:
    said = []
    if not current.seen:
        said.append("the controller has not seen the latest spec yet: this is about the one before")
    if current.trouble:
        said.append(f"this program does not understand the spec: {current.trouble}")
    if current.status.message:
        said.append(current.status.message)
    said += [
        f"{each.type}: {each.message}"
        for each in current.status.conditions
        if each.status == "False" and each.message and each.message != current.status.message
    ]
    if run is not None and run.reason:
        said.append(run.reason)
    if run is not None and (run.started_by or run.start_reason):
        said.append(words.started(run.started_by, run.start_reason))
    if run is not None and run.state in ("Aborting", "Aborted"):
        said += [_apart(form) for form in forms if form.type == "drift" and form.gate and form.verdict == "fail"]
    return said


def _apart(form: Metric) -> str:
    """How far apart the predictions were, after an abort."""
    would = f"; a limit of {words.limit(form.passing_limit)} would have passed" if form.passing_limit else ""
    return (
        f"{form.name}: the distance was {form.canary or 0.0:.3f} by {form.canary_requests or 0.0:,.0f} rows of the "
        f"canary, the limit is {form.limit}{would}"
    )


def _without_run(current: Current, schedule: Schedule | None) -> list[str]:
    if current.spec is not None and schedule is None:
        return [f"nothing: the strategy {current.spec.strategy.name} decides nothing"]
    return ["a first version that serves" if not current.status.weights else "another bundle in the spec"]


# what each state waits for

_Waits = Callable[[Current, RunStatus, Schedule | None, Sequence[Metric], float], list[str]]


def _pods(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[str]:
    said = [f"pods of the canary for {_next_weight(run, schedule)}"]
    said += [
        f"{each.inference_service} is {each.phase}{f': {each.message}' if each.message else ''}"
        for each in current.status.variants
        if each.inference_service == run.canary and (each.phase != "Ready" or each.message)
    ]
    if schedule is not None:
        over = epoch(run.since) + schedule.progress_deadline - now
        then = "aborted" if run.weight == 0 else "paused"
        said.append(f"at most {words.span(over)} more, then it is {then}")
    return said


def _evidence(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[str]:
    said = []
    last = bool(run.steps) and run.step == run.steps - 1
    if schedule is not None and run.step < len(schedule.steps):
        left = epoch(run.since) + schedule.steps[run.step].hold - now
        if left > 0:
            said.append(f"the hold of step {run.step + 1}: {words.span(left)} more")
    said += [
        _missing(form)
        for form in forms
        if form.gate and form.verdict != "pass" and (last or form.verdict != "inconclusive")
    ]
    if not said:
        said.append("the next look at the metrics" if forms else "a first look at the metrics")
    if run.deadline and current.spec is not None and schedule is not None:
        left = epoch(run.deadline) - now
        said.append(f"at most {words.span(left)} more, then: {schedule.on_timeout}")
    return said


def _missing(form: Metric) -> str:
    if form.verdict in ("no-data", "provider-error"):
        return f"{form.name}, {form.verdict}: {form.message or 'nothing was counted yet'}"
    interval = f", ratio {shown}" if (shown := ratio(form)) else ""
    needed = f", about {form.needed:,} more requests of the canary" if form.needed else ""
    return f"{form.name}, {form.verdict}{interval}{f', limit {form.limit}' if form.limit else ''}{needed}"


def _person(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[str]:
    return ["a person's word"]


def _bake(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[str]:
    if schedule is None:
        return ["the end of the bake time"]
    held = f", with {100 - run.weight} % held back" if run.weight < 100 else ""
    return [f"the end of the bake time: {words.span(epoch(run.since) + schedule.bake - now)} more{held}"]


def _stable(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[str]:
    if not run.weight:
        return ["the route to let go of the canary"]
    if run.hurried or len(run.floor) != 2:
        return ["a ready pod of stable"]
    return [f"stable to have {run.floor[0]} transformers and {run.floor[1]} predictors again"]


def _horizon(
    current: Current, run: RunStatus, schedule: Schedule | None, forms: Sequence[Metric], now: float
) -> list[str]:
    return [f"the horizon: {words.span(epoch(run.deadline) - now)} more" if run.deadline else "another plan"]


_WAITS: Final[dict[str, _Waits]] = {
    "Preparing": _pods,
    "Scaling": _pods,
    "Analysing": _evidence,
    "Gated": _person,
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
        "Analysing": [watch, advice("pause", "holds it"), abort, promote],
        "Scaling": [watch, abort],
        "Gated": [resume, abort],
        "Paused": [resume, abort, promote],
        "Baking": [watch, abort],
        "Promoted": [report, *([rollback] if _kept(current, run) else [])],
        "Aborting": [watch],
        "Aborted": [report, *again],
        "RollingBack": [watch],
        "RolledBack": [report, *again],
        "Observing": [report],
        "Concluded": [report],
    }
    if run is not None and not commands.heard:
        return [report]
    if run is None:
        return [plan] if current.schedule is not None else []
    return by_state.get(run.state, [])


def _kept(current: Current, run: RunStatus | None) -> bool:
    """Whether the version before still has its pods."""
    kept = current.spec is not None and seconds(current.spec.keep_old_for) > 0
    return kept and any(
        run is not None and each.inference_service == run.stable and each.phase != "Refused" and not each.message
        for each in current.status.variants
    )
