"""What a report says, in a form for programs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from tandem_cli.errors import AdvisedError
from tandem_cli.rollout import words
from tandem_cli.rollout.current import Current
from tandem_cli.rollout.forms import SCHEMA, Form, LastCommand, Metric, Past, PlannedStep
from tandem_cli.rollout.standing import history as history_of
from tandem_cli.rollout.standing import last_command, metric, metrics
from tandem_rollout.analysis.counts import NoData
from tandem_rollout.analysis.record import Counts, MetricEvidence, Note, Record, Sample
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Metric as Asked
from tandem_rollout.api.status import LastCommand as Answered
from tandem_rollout.api.times import stamp
from tandem_rollout.engine.schedule import plan_hash
from tandem_rollout.sources import ArmLocation, Arms
from tandem_rollout.sources.queries import at_gateway, names, own_promql, promql

_WORDS = {
    "latency": "requests slower than a quantile of stable's, of all requests, as the pods count them",
    "degraded": "answers with a feature from elsewhere than the store, of all rows, as the pods count them",
    "drift": "distance of the distributions of the predictions (population stability index)",
    "ratio": "two counters of one's own",
    "assignment": "the canary's share of the units, against its weight",
}


class Question(Form, frozen=True, kw_only=True):
    """What a metric asks, and what it is held against.

    Attributes:
        name: Name of the metric.
        type: Its type.
        gate: Whether it decides.
        what: What is counted, in words.
        queries: PromQL, or names of the series where the pods themselves are asked.
        margin: Ratio of rates at which a version is bad; null for drift and assignment.
        floor: A rate that nobody would mind; null for drift and assignment.
        limit: Distance from which drift is large, or seconds from which a request of stable is slow; null for others.
        canary_limit: Seconds from which a request of the canary is slow; null for others.
        alpha: Chance at most to roll back a version that is no worse.
        beta: Chance at most to promote a version at the margin.
        dispersion: How many times burstier than independent requests events came.
        min_requests: Requests of the canary without which it does not pass.
    """

    name: str
    type: str
    gate: bool
    what: str
    queries: list[str]
    margin: float | None
    floor: float | None
    limit: float | None
    canary_limit: float | None
    alpha: float
    beta: float
    dispersion: float
    min_requests: int


class Decided(Form, frozen=True, kw_only=True):
    """Something that was decided.

    Attributes:
        at: When.
        state: The state that the run came to.
        weight: The canary's percentage.
        reason: Why, as a code.
        message: The same in words.
        by: Who wanted it; empty for the controller.
        rejected: The command that was rejected then, where that is what happened; else null.
    """

    at: str
    state: str
    weight: int
    reason: str
    message: str
    by: str
    rejected: LastCommand | None


class Counted(Form, frozen=True, kw_only=True):
    """What one metric counted in one tick; for drift the distance so far stands in place of the canary's events.

    Attributes:
        canary_requests: Requests of the canary.
        canary_events: Events of the canary.
        stable_requests: Requests of stable.
        stable_events: Events of stable.
    """

    canary_requests: float
    canary_events: float
    stable_requests: float
    stable_events: float


class Tick(Form, frozen=True, kw_only=True):
    """One look at the counters.

    Attributes:
        at: When it ended.
        weight: The canary's percentage.
        metrics: By name of the metric.
    """

    at: str
    weight: int
    metrics: dict[str, Counted]


class Transition(Tick, frozen=True, kw_only=True):
    """A tick in which the weight changed, or in which a metric was not judged.

    Attributes:
        low: The least share of the requests that the canary may have had, from 0 to 1; null where the weight stayed.
        high: The greatest.
        reported: By name of the metric, what was counted and not judged.
    """

    low: float | None
    high: float | None
    reported: dict[str, Counted]


class Report(Form, frozen=True, kw_only=True):
    """``tandem rollout report``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        made: When the report was made.
        strategy: How versions reach clients.
        run: The run.
        plan: Hash of what was planned.
        same_plan: Whether the spec still plans the same; if not, steps, questions and verdicts are by what it plans
            now.
        evidence: SHA-256 of the evidence as JSON; null where there is none any more.
        verdict: What the metrics say together; null where there is no evidence.
        steps: The steps.
        metrics: What each metric says.
        questions: What each metric asks.
        decisions: What was decided, in order.
        ticks: Ticks that were counted.
        samples: The last of them.
        transitions: Those in which the weight changed, or in which a metric was not judged.
        unplaced: By name of the metric, what counters showed that had restarted in part: it is in no tick.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutReport"] = "RolloutReport"
    name: str
    namespace: str
    made: str
    strategy: str | None
    run: Past
    plan: str
    same_plan: bool
    evidence: str | None
    verdict: str | None
    steps: list[PlannedStep]
    metrics: list[Metric]
    questions: list[Question]
    decisions: list[Decided]
    ticks: int
    samples: list[Tick]
    transitions: list[Transition]
    unplaced: dict[str, Counted]


def report(current: Current, number: int | None, record: Record | None, now: float) -> Report:
    """The report of a run.

    Args:
        current: The rollout.
        number: Number of the run; None for the last one.
        record: Its evidence.
        now: Seconds since the epoch.

    Raises:
        AdvisedError: There is no such run.
    """
    runs = history_of(current).runs
    past = next((each for each in runs if number in (None, each.number)), None)
    if past is None:
        known = ", ".join(str(each.number) for each in runs)
        which = f"run {number}" if number is not None else "run"
        raise AdvisedError(
            f"{current.name} has no {which}", advice=f"choose one of {known}" if known else "wait for the first run"
        )
    present = current.run is not None and current.run.number == past.number
    judged = current.judged(record)
    schedule = current.schedule
    plan = record.plan if record else current.run.plan if present and current.run else ""
    return Report(
        name=current.name,
        namespace=current.namespace,
        made=stamp(now),
        strategy=current.spec.strategy.name if current.spec else None,
        run=past,
        plan=plan,
        same_plan=current.spec is not None and plan == plan_hash(current.spec, past.canary.service),
        evidence=hashlib.sha256(msgspec.json.encode(record)).hexdigest() if record else None,
        verdict=judged[1].verdict.value if judged else None,
        steps=[
            PlannedStep(
                weight=step.weight, min_duration_seconds=step.min_duration, gate=step.gate, canary_requests=None
            )
            for step in (schedule.steps if schedule else ())
        ],
        metrics=[metric(line) for line in judged[0]] if judged else metrics(current, None) if present else [],
        questions=[_question(current, each, past, record) for each in current.metrics] if current.spec else [],
        decisions=_decisions(record.notes if record else ()),
        ticks=record.sample_count if record else 0,
        samples=[_tick(sample) for sample in (record.samples if record else ())],
        transitions=[_transition(sample) for sample in (record.transitions if record else ())],
        unplaced={
            name: counted
            for name, gathered in (record.metrics if record else {}).items()
            for counted in _counted({name: gathered.unplaced}).values()
            if any(gathered.unplaced)
        },
    )


def _question(current: Current, metric: Asked, past: Past, record: Record | None) -> Question:
    gathered = (record.metrics.get(metric.full_name) if record else None) or MetricEvidence()
    rated = metric.type not in ("drift", "assignment")
    limit = metric.limit if metric.type == "drift" else gathered.limit.seconds if gathered.limit else None
    return Question(
        name=metric.full_name,
        type=metric.type,
        gate=metric.gate and metric.type != "assignment",
        what=_what(metric),
        queries=_queries(current, metric, past),
        margin=metric.margin if rated else None,
        floor=metric.effective_floor if rated else None,
        limit=limit,
        canary_limit=gathered.limit.canary_seconds if gathered.limit else None,
        alpha=metric.alpha,
        beta=metric.beta,
        dispersion=gathered.phi,
        min_requests=metric.min_requests,
    )


def _what(metric: Asked) -> str:
    if metric.type == "errors":
        return f"answers of 500 and above, of all answers, as the {metric.where} count{'s' * at_gateway(metric)} them"
    return _WORDS[metric.type]


def _queries(current: Current, metric: Asked, past: Past) -> list[str]:
    analysis = current.spec.analysis if current.spec else None
    if analysis is not None and analysis.source == "pods" and not own_promql(metric):
        return sorted(names(metric))
    asked = promql(
        metric,
        Arms(
            namespace=current.namespace or "default",
            # which position a version has at the gateway is known at the time of the run only
            stable=ArmLocation(service=past.stable.service, clusters=(f"CLUSTERS-OF-{past.stable.service}",)),
            canary=ArmLocation(service=past.canary.service, clusters=(f"CLUSTERS-OF-{past.canary.service}",)),
        ),
    )
    return [asked.message] if isinstance(asked, NoData | ProviderError) else list(asked)


def _decisions(notes: Sequence[Note]) -> list[Decided]:
    """What was decided; a command that was rejected changed nothing else."""
    earlier = [None, *(note.command for note in notes)]
    return [_decided(note, before) for note, before in zip(notes, earlier, strict=False)]


def _decided(note: Note, before: Answered | None) -> Decided:
    answer = note.command
    is_new = answer is not None and (before is None or before.id != answer.id)
    return Decided(
        at=stamp(note.at),
        state=words.plain(note.state),
        weight=note.weight,
        reason=words.plain(note.reason),
        message=words.plain(note.message),
        by=words.plain(note.by),
        rejected=last_command(answer) if answer is not None and is_new and answer.result == "Rejected" else None,
    )


def _tick(sample: Sample) -> Tick:
    return Tick(at=stamp(sample.at), weight=sample.weight, metrics=_counted(sample.counts))


def _transition(sample: Sample) -> Transition:
    return Transition(
        at=stamp(sample.at),
        weight=sample.weight,
        metrics=_counted(sample.counts),
        low=sample.low,
        high=sample.high,
        reported=_counted(sample.reported),
    )


def _counted(metrics: Mapping[str, Counts]) -> dict[str, Counted]:
    return {
        name: Counted(
            canary_requests=counts[0],
            canary_events=counts[1],
            stable_requests=counts[2],
            stable_events=counts[3],
        )
        for name, counts in metrics.items()
    }
