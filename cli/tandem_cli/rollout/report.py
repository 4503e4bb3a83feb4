"""Builds the document of ``tandem rollout report``: the evidence of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from tandem_cli.errors import AdvisedError
from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.history import HistoryEntry
from tandem_cli.rollout.output.documents.plan import PlannedStep
from tandem_cli.rollout.output.documents.report import (
    DecisionEntry,
    MetricQuestion,
    ReportDocument,
    SampleCounts,
    SampleEntry,
    TransitionEntry,
)
from tandem_cli.rollout.snapshot import RolloutSnapshot
from tandem_cli.rollout.status import build_command_result, build_history, build_metric, build_metrics
from tandem_rollout.analysis.counts import NoData
from tandem_rollout.analysis.record import Counts, MetricEvidence, Note, Record, Sample
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Metric
from tandem_rollout.api.times import stamp
from tandem_rollout.engine.schedule import plan_hash
from tandem_rollout.sources import ArmLocation, Arms
from tandem_rollout.sources.queries import at_gateway, names, own_promql, promql

_COUNTED = {
    "latency": "requests slower than a quantile of stable's, of all requests, as the pods count them",
    "degraded": "answers with a feature that is not from the store, of all rows, as the pods count them",
    "drift": "distance of the distributions of the predictions (population stability index)",
    "ratio": "two counters of your own",
    "assignment": "the canary's share of the units, against its weight",
}
"""What is counted, by type of the metric."""


def build_report(snapshot: RolloutSnapshot, number: int | None, record: Record | None, now: float) -> ReportDocument:
    """The report of a run.

    Args:
        snapshot: The rollout.
        number: Number of the run; None for the last one.
        record: Its evidence; None without any.
        now: Seconds since the epoch.

    Raises:
        AdvisedError: if there is no such run.
    """
    run = _find_run(snapshot, number)
    is_current = snapshot.run is not None and snapshot.run.number == run.number
    plan = record.plan if record else snapshot.run.plan if is_current and snapshot.run else ""
    judgement = snapshot.judge(record)
    evidence = record or Record(run=run.number, plan=plan)
    return ReportDocument(
        name=snapshot.name,
        namespace=snapshot.namespace,
        created=stamp(now),
        strategy=snapshot.spec.strategy.name if snapshot.spec else None,
        run=run,
        plan=plan,
        same_plan=snapshot.spec is not None and plan == plan_hash(snapshot.spec, run.canary.service),
        evidence=hashlib.sha256(msgspec.json.encode(record)).hexdigest() if record else None,
        verdict=judgement[1].verdict.value if judgement else None,
        steps=list(_steps(snapshot)),
        metrics=[build_metric(line) for line in judgement[0]]
        if judgement
        else build_metrics(snapshot, None)
        if is_current
        else [],
        questions=[_question(snapshot, metric, run, evidence) for metric in snapshot.metrics] if snapshot.spec else [],
        decisions=list(_decisions(evidence.notes)),
        sample_count=evidence.sample_count,
        samples=[_sample(sample) for sample in evidence.samples],
        transitions=[_transition(sample) for sample in evidence.transitions],
        unplaced=_counts({name: metric.unplaced for name, metric in evidence.metrics.items() if any(metric.unplaced)}),
    )


def _find_run(snapshot: RolloutSnapshot, number: int | None) -> HistoryEntry:
    runs = build_history(snapshot).runs
    run = next((run for run in runs if number in (None, run.number)), None)
    if run is None:
        numbers = ", ".join(str(run.number) for run in runs)
        missing = f"run {number}" if number is not None else "run"
        advice = f"choose one of {numbers}" if numbers else "wait for the first run"
        raise AdvisedError(f"{snapshot.name} has no {missing}", advice=advice)
    return run


def _steps(snapshot: RolloutSnapshot) -> Iterator[PlannedStep]:
    for step in snapshot.schedule.steps if snapshot.schedule else ():
        yield PlannedStep(
            weight=step.weight, min_duration_seconds=step.min_duration, gate=step.gate, canary_requests=None
        )


def _question(snapshot: RolloutSnapshot, metric: Metric, run: HistoryEntry, record: Record) -> MetricQuestion:
    gathered = record.metrics.get(metric.full_name) or MetricEvidence()
    has_rates = metric.type not in ("drift", "assignment")
    limit = metric.limit if metric.type == "drift" else gathered.limit.seconds if gathered.limit else None
    return MetricQuestion(
        name=metric.full_name,
        type=metric.type,
        gate=metric.gate and metric.type != "assignment",
        what=_describe_counts(metric),
        queries=_queries(snapshot, metric, run),
        margin=metric.margin if has_rates else None,
        floor=metric.effective_floor if has_rates else None,
        limit=limit,
        canary_limit=gathered.limit.canary_seconds if gathered.limit else None,
        alpha=metric.alpha,
        beta=metric.beta,
        dispersion=gathered.phi,
        min_requests=metric.min_requests,
    )


def _describe_counts(metric: Metric) -> str:
    if metric.type == "errors":
        return f"answers of 500 and above, of all answers, as the {metric.where} count{'s' * at_gateway(metric)} them"
    return _COUNTED[metric.type]


def _queries(snapshot: RolloutSnapshot, metric: Metric, run: HistoryEntry) -> list[str]:
    if snapshot.analysis.source == "pods" and not own_promql(metric):
        return sorted(names(metric))
    queries = promql(
        metric,
        Arms(
            namespace=snapshot.namespace or "default",
            # the position of a version at the gateway is only known at the time of the run
            stable=ArmLocation(service=run.stable.service, clusters=(f"CLUSTERS-OF-{run.stable.service}",)),
            canary=ArmLocation(service=run.canary.service, clusters=(f"CLUSTERS-OF-{run.canary.service}",)),
        ),
    )
    return [queries.message] if isinstance(queries, NoData | ProviderError) else list(queries)


def _decisions(notes: Sequence[Note]) -> Iterator[DecisionEntry]:
    """The decisions, each with the command that was rejected then."""
    earlier = [None, *(note.command for note in notes)]
    for note, before in zip(notes, earlier, strict=False):
        command = note.command
        is_new = command is not None and (before is None or before.id != command.id)
        is_rejected = command is not None and is_new and command.result == "Rejected"
        yield DecisionEntry(
            at=stamp(note.at),
            state=words.plain(note.state),
            weight=note.weight,
            reason=words.plain(note.reason),
            message=words.plain(note.message),
            by=words.plain(note.by),
            rejected=build_command_result(command) if is_rejected else None,
        )


def _sample(sample: Sample) -> SampleEntry:
    return SampleEntry(at=stamp(sample.at), weight=sample.weight, metrics=_counts(sample.counts))


def _transition(sample: Sample) -> TransitionEntry:
    return TransitionEntry(
        at=stamp(sample.at),
        weight=sample.weight,
        metrics=_counts(sample.counts),
        low=sample.low,
        high=sample.high,
        reported=_counts(sample.reported),
    )


def _counts(counts: Mapping[str, Counts]) -> dict[str, SampleCounts]:
    return {
        name: SampleCounts(
            canary_requests=canary_requests,
            canary_events=canary_events,
            stable_requests=stable_requests,
            stable_events=stable_events,
        )
        for name, (canary_requests, canary_events, stable_requests, stable_events) in counts.items()
    }
