"""Builds the documents of ``tandem rollout status`` and ``history``."""

from __future__ import annotations

from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.base import CommandResult, RunVersion
from tandem_cli.rollout.output.documents.history import HistoryDocument, HistoryEntry
from tandem_cli.rollout.output.documents.status import AliasDetails, MetricEntry, RunDetails, StatusDocument
from tandem_cli.rollout.output.exit_codes import exit_code_of
from tandem_cli.rollout.snapshot import RolloutSnapshot
from tandem_rollout.analysis.record import Record
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.api.status import LastCommand, PastRun, RegistryStatus, RunStatus
from tandem_rollout.api.times import epoch
from tandem_rollout.engine.run import ENDS


def build_status(snapshot: RolloutSnapshot, record: Record | None) -> StatusDocument:
    """The status of a rollout.

    Args:
        snapshot: The rollout.
        record: Evidence of its run. Without it, the metrics are those of the status of the rollout.
    """
    run, status = snapshot.run, snapshot.status
    return StatusDocument(
        name=snapshot.name,
        namespace=snapshot.namespace,
        strategy=snapshot.spec.strategy.name if snapshot.spec else None,
        weights=status.weights,
        reason=status.reason or ("Invalid" if snapshot.spec is None else ""),
        message=status.message if status.reason else snapshot.spec_error,
        current=snapshot.is_observed,
        registry=_alias(status.registry) if status.registry else None,
        run=_run(snapshot, run) if run else None,
        metrics=build_metrics(snapshot, record),
        exit_code=exit_code_of(run.state if run else None),
    )


def build_metrics(snapshot: RolloutSnapshot, record: Record | None) -> list[MetricEntry]:
    """The results of the metrics: from the evidence, or else from the status of the rollout."""
    judgement = snapshot.judge(record)
    if judgement is not None:
        return [build_metric(line) for line in judgement[0]]
    return [
        MetricEntry(name=metric.name, verdict=metric.verdict, reason=metric.reason, message=metric.summary)
        for metric in snapshot.status.metrics
    ]


def build_metric(line: MetricResult) -> MetricEntry:
    """The result of one metric."""
    has_interval = line.ratio is not None or line.high is not None
    return MetricEntry(
        name=line.name,
        type=line.type,
        gate=line.gate,
        verdict=line.verdict.value,
        stable=line.stable,
        stable_requests=line.stable_requests,
        canary=line.canary,
        canary_requests=line.canary_requests,
        ratio=line.ratio,
        ratio_low=line.low if has_interval else None,
        ratio_high=line.high,
        limit=line.limit,
        passing_limit=line.passing,
        needed=line.needed,
        reason=line.reason,
        message=words.plain(line.message),
    )


def build_history(snapshot: RolloutSnapshot) -> HistoryDocument:
    """The runs of a rollout."""
    runs = [_history_entry(snapshot, run) for run in snapshot.runs()]
    return HistoryDocument(name=snapshot.name, namespace=snapshot.namespace, runs=runs)


def build_command_result(command: LastCommand | None) -> CommandResult | None:
    """The last command and its result; None before the first."""
    if command is None:
        return None
    return CommandResult(
        id=words.plain(command.id),
        verb=words.plain(command.verb),
        by=words.plain(command.by),
        result=command.result,
        reason=command.reason,
        message=words.plain(command.message),
    )


def _alias(registry: RegistryStatus) -> AliasDetails:
    return AliasDetails(
        model=registry.model,
        alias=registry.alias,
        version=registry.version,
        digest=registry.digest,
        reason=registry.reason,
        message=words.plain(registry.message),
    )


def _run(snapshot: RolloutSnapshot, run: RunStatus) -> RunDetails:
    return RunDetails(
        number=run.number,
        state=run.state,
        ended=run.state in ENDS,
        step=run.step + 1,
        steps=run.steps,
        weight=run.weight,
        measured=run.measured,
        stable=_version(snapshot, run.stable),
        canary=_version(snapshot, run.canary),
        started=run.started,
        since=run.since,
        deadline=run.deadline or None,
        paused_from=run.paused_from or None,
        verdict=run.verdict or None,
        reason=run.reason,
        message=run.message,
        by=run.by,
        started_by=run.started_by,
        start_comment=run.start_comment,
        last_command=build_command_result(run.last_command),
    )


def _version(snapshot: RolloutSnapshot, service: str) -> RunVersion:
    return RunVersion(service=service, version=snapshot.version(service))


def _history_entry(snapshot: RolloutSnapshot, run: PastRun) -> HistoryEntry:
    return HistoryEntry(
        number=run.number,
        outcome=run.outcome,
        stable=_version(snapshot, run.stable),
        canary=RunVersion(service=run.canary, version=run.version or snapshot.version(run.canary)),
        started=run.started,
        ended=run.ended or None,
        seconds=epoch(run.ended) - epoch(run.started) if run.ended and run.started else None,
        reason=run.reason,
        message=run.message,
        by=run.by,
        started_by=run.started_by,
        start_comment=run.start_comment,
    )
