"""Builds the document of ``tandem rollout explain``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tandem_cli.rollout.next_commands import TargetFacts, list_next_commands
from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.documents.base import Statement
from tandem_cli.rollout.output.documents.explanation import ExplanationDocument
from tandem_cli.rollout.output.documents.status import MetricEntry
from tandem_cli.rollout.snapshot import RolloutSnapshot
from tandem_cli.rollout.status import build_metrics
from tandem_cli.rollout.wait_conditions import list_conditions_without_run, list_wait_conditions
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.status import RunStatus

_NEXT_RUN: Final = "A run begins when the spec changes to another version than the one that serves."

_RULES: Final = {
    "Preparing": "The canary gets its first weight when it is verified and has the pods for it.",
    "Analyzing": "A step ends when its minimum duration is over, counters were read, and no metric fails or lacks "
    "data. After the last step, every deciding metric must pass. A metric that fails aborts the run at once.",
    "AwaitingApproval": "The step waits for `tandem rollout resume`. A failing canary is still rolled back.",
    "Scaling": "The next weight is set when the canary has the pods for it.",
    "Paused": "Weights stay until `tandem rollout resume`. A failing canary is still rolled back.",
    "Baking": "The canary gets all requests except those that stable keeps for comparison. Stable keeps its pods until "
    "the bake time is over. A metric that fails aborts the run at once.",
    "Promoted": "The run is over. The next one begins when the bundle, the template or the plan changes.",
    "Aborting": "Stable gets all requests back when it has its pods back; at once if the canary does harm.",
    "Aborted": "The run is over. This version is tried again when `tandem rollout start` is used, or after the spec "
    "has changed.",
    "RollingBack": "The version was promoted. Stable gets all requests back when it has its pods back.",
    "RolledBack": "The version was promoted and then rolled back. It is tried again when `tandem rollout start` is "
    "used, or after the spec has changed.",
    "Observing": "Weights stay as in the spec. The report is final at the horizon.",
    "Completed": "The run is over. The next one begins when the plan changes.",
}


def build_explanation(
    snapshot: RolloutSnapshot, record: Record | None, now: float, facts: TargetFacts
) -> ExplanationDocument:
    """Explain why a rollout is in its state.

    Args:
        snapshot: The rollout.
        record: Evidence of its run; None without any.
        now: Seconds since the epoch.
        facts: What is known of the target.
    """
    run = snapshot.run
    metrics = build_metrics(snapshot, record)
    because = list(_reasons(snapshot, run, metrics))
    if run is None:
        undecided = Statement(reason="NothingDecided", message="nothing has been decided yet")
        return ExplanationDocument(
            name=snapshot.name,
            namespace=snapshot.namespace,
            state=None,
            because=because or [undecided],
            waits_for=list_conditions_without_run(snapshot),
            rule=_NEXT_RUN,
            next=list_next_commands(snapshot, facts),
        )
    return ExplanationDocument(
        name=snapshot.name,
        namespace=snapshot.namespace,
        state=run.state,
        because=because,
        waits_for=list_wait_conditions(snapshot, run, metrics, now),
        rule=_RULES.get(run.state, ""),
        next=list_next_commands(snapshot, facts),
    )


def _reasons(snapshot: RolloutSnapshot, run: RunStatus | None, metrics: Sequence[MetricEntry]) -> Iterator[Statement]:
    status = snapshot.status
    if not snapshot.is_observed:
        message = "the controller has not observed the latest spec yet: this is about the previous spec"
        yield Statement(reason="NotObserved", message=message)
    if snapshot.spec is None:
        message = f"this version of the command does not understand the spec: {snapshot.spec_error}"
        yield Statement(reason="SpecNotUnderstood", message=message)
    if status.reason:
        yield Statement(reason=status.reason, message=status.message)
    for condition in status.conditions:
        # the message of the status is not repeated
        if condition.status == "False" and condition.message != status.message:
            yield Statement(reason=condition.reason, message=f"{condition.type}: {condition.message}")
    if run is not None:
        yield from _run_reasons(run, metrics)


def _run_reasons(run: RunStatus, metrics: Sequence[MetricEntry]) -> Iterator[Statement]:
    if run.message:
        yield Statement(reason=run.reason, message=run.message)
    command = run.last_command
    if command is not None and command.result == "Rejected":
        yield Statement(reason=command.reason, message=f"the last command was rejected: {command.message}")
    if run.started_by or run.start_comment:
        yield Statement(reason="StartedByUser", message=words.started(run.started_by, run.start_comment))
    if run.state in ("Aborting", "Aborted"):
        for metric in metrics:
            if metric.type == "drift" and metric.gate and metric.verdict == "fail":
                yield _predictions_apart(metric)


def _predictions_apart(metric: MetricEntry) -> Statement:
    """The distance of the predictions, after an abort."""
    passing = f"; a limit of {words.limit(metric.passing_limit)} would have passed" if metric.passing_limit else ""
    return Statement(
        reason="PredictionsApart",
        message=f"{metric.name}: the distance was {metric.canary or 0.0:.3f} in {metric.canary_requests or 0.0:,.0f} "
        f"rows of the canary, the limit is {metric.limit}{passing}",
    )
